"""A server and a client that nobody here wrote: Cerbos, which is a gRPC server in Go, and `buf curl`.

Cerbos comes from npm (`npm install cerbos`); the tests want it on the PATH, or PULLGATE_TEST_CERBOS to name it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pullgate.local import OPERATOR_TOKEN_FILE
from tests.conftest import SOON, ServerProcess
from tests.pgcurl.running import SERVICE, Outcome, pgcurl
from tests.pgcurl.streaming_server import running_server
from tests.server.test_tls import LOCALHOST, Issued, issue

BUF = Path(sys.executable).parent / "buf"
CHECK = "cerbos.svc.v1.CerbosService/CheckResources"
QUESTION = json.dumps(
    {
        "requestId": "1",
        "principal": {"id": "ada", "roles": ["dev"]},
        "resources": [{"actions": ["pull", "push"], "resource": {"kind": "image", "id": "nginx"}}],
    }
)
POLICY = """\
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: image
  rules:
    - {actions: [pull], effect: EFFECT_ALLOW, roles: [dev]}
"""


@dataclass(frozen=True, kw_only=True)
class Cerbos:
    """A running server.

    Attributes:
        socket: the path of its unix socket.
    """

    socket: Path

    def pgcurl(self, *flags: str, method: str = CHECK) -> Outcome:
        """Call it."""
        *before, last = (*flags, method)
        return pgcurl("-unix", *before, str(self.socket), *last.split(" "))


@contextmanager
def running_cerbos(directory: Path, certificate: Issued | None = None) -> Iterator[Cerbos]:
    """Run one on a unix socket, with TLS if there is a certificate; skips when it is not installed."""
    command = os.environ.get("PULLGATE_TEST_CERBOS") or shutil.which("cerbos")
    if command is None:
        pytest.skip(
            "cerbos is not installed (npm install cerbos); it is looked for on PATH and in PULLGATE_TEST_CERBOS"
        )
    policies = directory / "policies"
    policies.mkdir()
    (policies / "image.yaml").write_text(POLICY)
    settings: dict[str, object] = {
        "httpListenAddr": f"unix:{directory}/http",
        "grpcListenAddr": f"unix:{directory}/grpc",
    }
    if certificate is not None:
        (directory / "server.pem").write_bytes(certificate.pem)
        (directory / "server.key").write_bytes(certificate.key_pem)
        settings["tls"] = {"cert": f"{directory}/server.pem", "key": f"{directory}/server.key"}
    storage = {"driver": "disk", "disk": {"directory": str(policies), "watchForChanges": False}}
    configuration = {"server": settings, "storage": storage, "telemetry": {"disabled": True}}
    (directory / "cerbos.json").write_text(json.dumps(configuration))
    # What npm installs is a script that starts the program, so both are ended as a group.
    process = subprocess.Popen(
        [command, "server", "--config", str(directory / "cerbos.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "Starting HTTP server" in line:
                break
        else:
            raise AssertionError(f"cerbos did not start:\n{''.join(said)}")
        yield Cerbos(socket=directory / "grpc")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=SOON)


@pytest.fixture(scope="module")
def cerbos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cerbos]:
    """A server without TLS."""
    with running_cerbos(tmp_path_factory.mktemp("cerbos")) as server:
        yield server


def test_a_server_in_go_is_listed_and_described(cerbos: Cerbos) -> None:
    """Its services, methods, and descriptors with options that pgcurl has never heard of."""
    services = cerbos.pgcurl("-plaintext", method="list").out.split()
    methods = cerbos.pgcurl("-plaintext", method="list cerbos.svc.v1.CerbosService").out.split()
    message = cerbos.pgcurl("-plaintext", method="describe cerbos.request.v1.CheckResourcesRequest").out

    assert {"cerbos.svc.v1.CerbosService", "grpc.health.v1.Health"} <= set(services)
    assert "cerbos.svc.v1.CerbosService.CheckResources" in methods
    assert message.startswith(
        "cerbos.request.v1.CheckResourcesRequest is a message:\nmessage CheckResourcesRequest {\n"
    )
    assert "(.buf.validate.field) = { required: true }" in message


def test_all_of_a_server_in_go_is_described(cerbos: Cerbos) -> None:
    """Every service has a text."""
    services = cerbos.pgcurl("-plaintext", method="list").out.split()
    outcome = cerbos.pgcurl("-plaintext", method="describe")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count(" is a service:\n") == len(services)


def test_a_server_in_go_is_called(cerbos: Cerbos) -> None:
    """Unary and streaming calls, with statuses and the details that come with them."""
    answer = json.loads(cerbos.pgcurl("-plaintext", "-d", QUESTION).out)
    refused = cerbos.pgcurl("-plaintext", "-d", "{}")
    healthy = cerbos.pgcurl("-plaintext", method="grpc.health.v1.Health/Check")

    assert answer["results"][0]["actions"] == {"pull": "EFFECT_ALLOW", "push": "EFFECT_DENY"}
    assert refused.code == 67
    assert refused.err.startswith("ERROR:\n  Code: InvalidArgument\n  Message: validation errors:\n")
    assert '"@type": "type.googleapis.com/buf.validate.Violations"' in refused.err
    assert '"fieldName": "principal"' in refused.err
    assert json.loads(healthy.out) == {"status": "SERVING"}


def test_a_batch_on_a_server_in_go(cerbos: Cerbos, tmp_path: Path) -> None:
    """Several calls, over one connection."""
    calls = tmp_path / "calls"
    calls.write_text(f'{{"method": "{CHECK}", "data": {QUESTION}}}\n' * 3)
    outcome = pgcurl("-plaintext", "-unix", "-batch", str(calls), str(cerbos.socket))

    assert [json.loads(line)["status"]["code"] for line in outcome.out.splitlines()] == ["OK"] * 3


def test_written_descriptors_of_a_server_in_go(cerbos: Cerbos, tmp_path: Path) -> None:
    """A call with them is the same as one with reflection."""
    protoset = tmp_path / "cerbos.protoset"
    cerbos.pgcurl("-plaintext", "-protoset-out", str(protoset), method="list cerbos.svc.v1.CerbosService")
    outcome = cerbos.pgcurl("-plaintext", "-protoset", str(protoset), "-d", QUESTION)

    assert json.loads(outcome.out)["requestId"] == "1"


def test_a_server_in_go_with_tls(tmp_path: Path) -> None:
    """Verified, unverified, and in words what does not fit."""
    authority = issue("authority")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    with running_cerbos(tmp_path, issue("server", authority, names=LOCALHOST)) as server:
        verified = server.pgcurl("-cacert", str(ca), "-d", QUESTION)
        unverified = server.pgcurl("-insecure", "-d", QUESTION)
        untrusted = server.pgcurl("-d", QUESTION)
        wrong_name = server.pgcurl("-cacert", str(ca), "-authority", "elsewhere.invalid")
        plaintext = server.pgcurl("-plaintext")

    assert (verified.code, unverified.code) == (0, 0), (verified.err, unverified.err)
    assert [json.loads(outcome.out)["requestId"] for outcome in (verified, unverified)] == ["1", "1"]
    assert {untrusted.code, wrong_name.code, plaintext.code} == {1}
    assert "unable to get local issuer certificate; -cacert names the authority to trust" in untrusted.err
    assert "certificate is not valid for 'elsewhere.invalid'" in wrong_name.err
    assert plaintext.err.endswith("the server speaks TLS there; leave out -plaintext\n")


def buf_curl(*arguments: str) -> Outcome:
    """What `buf curl` prints over plaintext HTTP/2."""
    result = subprocess.run(
        [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Outcome(code=result.returncode, out=result.stdout, err=result.stderr)


@pytest.mark.parametrize("defaults", [False, True])
def test_buf_curl_prints_the_same_of_a_server_in_go(cerbos: Cerbos, *, defaults: bool) -> None:
    """The text of the answer is the same to the last character, but for the id of the call."""
    theirs = buf_curl(
        "--unix-socket", str(cerbos.socket), *(["--emit-defaults"] if defaults else []), "--data", QUESTION,
        f"http://localhost/{CHECK}",
    )  # fmt: skip
    ours = cerbos.pgcurl("-plaintext", *(["-emit-defaults"] if defaults else []), "-d", QUESTION)

    def without_id(text: str) -> list[str]:
        return [line for line in text.splitlines() if "cerbosCallId" not in line]

    assert theirs.code == 0, theirs.err
    assert without_id(ours.out) == without_id(theirs.out)


REQUEST = json.dumps(
    {
        "text": "ä <&> \u2028", "number": -7, "largeNumber": "9007199254740993", "flag": True, "data": "AP8=",
        "ratio": 1e-9,
        "tone": "TONE_LOUD", "words": ["b", "a"], "counts": {"z": 1, "a": 0}, "detail": {"inner": {"note": "x"}},
        "details": [{}, {"note": "y"}], "id": "0", "time": "2026-11-01T00:00:00.120Z", "perhaps": "",
        "structure": {"list": [1, 1.5, None, True, "s", {}], "b": {"a": 1}},
        "anything": {"@type": "type.googleapis.com/pgcurl.testing.v1.Detail", "note": "packed"},
    }
)  # fmt: skip


@pytest.mark.parametrize("request_text", ["{}", REQUEST])
@pytest.mark.parametrize(("theirs", "ours"), [((), ()), (("--emit-defaults",), ("-emit-defaults",))])
def test_buf_curl_prints_the_same_of_our_test_server(
    request_text: str, theirs: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    """Every kind of field means the same in both."""
    with running_server() as server:
        expected = buf_curl(*theirs, "--data", request_text, f"http://{server.address}/{SERVICE}/Echo")
        outcome = pgcurl("-plaintext", *ours, "-d", request_text, server.address, f"{SERVICE}/Echo")

    assert expected.code == 0, expected.err
    assert json.loads(outcome.out) == json.loads(expected.out)


def test_buf_curl_prints_the_same_of_pullgate(server_process: ServerProcess) -> None:
    """A decision, but for its id; what pgcurl adds by default are the defaults."""
    token = Path(server_process.data_dir, OPERATOR_TOKEN_FILE).read_text().strip()
    question = '{"identity": {"username": "dev", "memberships": [{"organization": "acme"}]}, "reference": "nginx"}'
    method = "pullgate.v1.PolicyDecisionService/Decide"
    header = f"Authorization: Bearer {token}"
    expected = buf_curl(
        "--header", header, "--reflect-header", header, "--data", question, f"http://{server_process.address}/{method}"
    )

    def ours(*flags: str) -> str:
        return pgcurl(*flags, "-d", question, method, environment=server_process.environment()).out

    changing = ("decisionId", "evaluatedAt", "decidedAt")

    def steady(text: str) -> dict[str, object]:
        decision = dict(json.loads(text)["decision"])
        return {name: value for name, value in decision.items() if name not in changing}

    assert steady(ours("-emit-defaults=false")) == steady(expected.out)
    assert steady(expected.out).items() <= steady(ours()).items()
