"""`pullgate sidecar` as a process of its own, beside a server that comes and goes."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pullgate.v1.policy_decision_pb2 import DecideRequest
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from tests.conftest import SOON, ServerProcess, clean_environment, run_pullgate, start_server, stop_server

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens: a port that only root could have taken, and nobody does."""

MAX_RESIDENT_MEGABYTES = 100
"""Far above what a sidecar takes, and far below what one with a database's libraries and their caches would."""


@dataclass(frozen=True)
class SidecarProcess:
    """`pullgate sidecar` as a process of its own."""

    process: "subprocess.Popen[str]"
    address: str
    announced: str
    log: Path

    def decide(self, *references: str) -> tuple[int, list[dict[str, Any]], str]:
        """Ask it about dev in acme: exit code, answers, and why there are no others."""
        command = ["decide", "--address", self.address, "--org", "acme", "--user", "dev", "--json"]
        result = run_pullgate(*command, *references)
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        problems = [answer["error"]["message"] for answer in answers if "error" in answer]
        return result.returncode, [answer for answer in answers if "error" not in answer], "\n".join(problems)

    def decided(self, reference: str = "nginx") -> dict[str, Any]:
        """Its one answer about an image."""
        _, (answer,), _ = self.decide(reference)
        return answer

    def statuses(self) -> Iterator[int]:
        """The statuses that a watcher of health is told."""
        with grpc.insecure_channel(self.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for response in stub.Watch(health_pb2.HealthCheckRequest(), timeout=SOON, wait_for_ready=True):
                yield response.status

    def stop(self) -> int:
        """Ask it to stop, and give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=SOON)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


StartSidecar = Callable[..., SidecarProcess]


@pytest.fixture
def start_sidecar(tmp_path: Path) -> Iterator[StartSidecar]:
    """Start sidecars of a server or an address; they are stopped in the end."""
    started: list[SidecarProcess] = []

    def start(
        upstream: ServerProcess | str,
        *options: str,
        environment: dict[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "pullgate_cli"),
    ) -> SidecarProcess:
        log = tmp_path / f"sidecar{len(started)}.log"
        given = environment or clean_environment()
        if isinstance(upstream, ServerProcess):
            given = {**given, "PULLGATE_DATA_DIR": str(upstream.data_dir)}
        with log.open("w") as log_file:
            process = subprocess.Popen(
                [sys.executable, *program, "sidecar"]
                + ["--upstream", upstream if isinstance(upstream, str) else upstream.address]
                + ([] if "--listen" in options else ["--listen", f"unix://{tmp_path}/p{len(started)}.sock"])
                + ([] if "--state-dir" in options else ["--state-dir", str(tmp_path / "state")])
                + list(options),
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                env=given,
            )
        assert process.stdout is not None
        announced = ""
        for line in process.stdout:
            announced += line
            if " decide --address " in line:
                break
        answering = re.search(r"answers on (\S+);", announced)
        assert answering, f"the sidecar did not start:\n{log.read_text()}"
        started.append(SidecarProcess(process, answering[1], announced, log))
        return started[-1]

    yield start
    for sidecar in started:
        sidecar.stop()


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in which acme is strict, and that a test may kill."""
    server = start_server(tmp_path / "data")
    apply_policy(server)
    yield server
    if server.process.poll() is None:
        stop_server(server)
    elif server.process.stdout is not None:
        server.process.stdout.close()


def apply_policy(server: ServerProcess, preset: str = "strict") -> None:
    """Give acme a preset."""
    policy = run_pullgate("policy", "preset", preset, "--org", "acme").stdout
    applied = run_pullgate("policy", "apply", "--yes", "-f", "-", environment=server.environment(), stdin=policy)
    assert applied.returncode == 0, applied.stderr


def until(statuses: Iterator[int], wanted: int) -> None:
    """Wait for a status."""
    for status in statuses:
        if status == wanted:
            return
    raise AssertionError("the watch has ended")


def kill(server: ServerProcess) -> None:
    """End it without a word."""
    server.process.kill()
    server.process.wait(timeout=SOON)


@pytest.fixture
def state_of_a_former_run(upstream: ServerProcess, start_sidecar: StartSidecar, tmp_path: Path) -> Path:
    """The state directory of a sidecar that has stopped, with acme's strict policy in it; the server is away since."""
    sidecar = start_sidecar(upstream, "--state-dir", str(tmp_path / "former"))
    until(sidecar.statuses(), SERVING)
    assert sidecar.stop() == 0
    kill(upstream)
    return tmp_path / "former"


def test_a_sidecar_follows_and_decides(upstream: ServerProcess, start_sidecar: StartSidecar) -> None:
    """A sidecar answers as its server, says what to type next, hears of a new policy, and ends with 0 on SIGTERM."""
    sidecar = start_sidecar(upstream, "--name", "beside-the-proxy")
    until(sidecar.statuses(), SERVING)
    code, before, problem = sidecar.decide("nginx", "someuser/tool", "ghcr.io/a/b", "Bad/Name")
    central = run_pullgate(
        "decide", "--org", "acme", "--user", "dev", "--json", "nginx", "someuser/tool", "ghcr.io/a/b", "Bad/Name",
        environment=upstream.environment(),
    )  # fmt: skip
    answers = [answer for line in central.stdout.splitlines() if "error" not in (answer := json.loads(line))]
    for answer in (*answers, *before):
        answer.pop("decision_id")

    assert (code, before) == (central.returncode, answers)
    assert "must be lowercase" in problem
    assert f"healthcheck --address {sidecar.address.replace('unix://', 'unix:')}" in sidecar.announced

    apply_policy(upstream, "open")
    with grpc.insecure_channel(sidecar.address) as channel:
        stub: Any = PolicyDecisionServiceStub(channel)
        question = DecideRequest(reference="ghcr.io/a/b", organizations=["acme"], min_revision=2)
        newer = stub.Decide(question, timeout=SOON).decision
    socket = Path(sidecar.address.removeprefix("unix://"))

    assert newer.policy_revision == 2
    assert socket.is_socket()
    assert sidecar.stop() == 0
    assert not socket.exists()


def test_the_centre_is_away_at_start(state_of_a_former_run: Path, start_sidecar: StartSidecar) -> None:
    """A sidecar that cannot reach its server decides from disk, denials too, and each answer says how old that is."""
    sidecar = start_sidecar(NOWHERE, "--state-dir", str(state_of_a_former_run))
    code, (allowed, denied), _ = sidecar.decide("nginx", "someuser/tool")
    shown = run_pullgate("decide", "--address", sidecar.address, "--org", "acme", "--user", "dev", "nginx")

    assert code == 1
    assert (allowed["effect"], allowed["policy_revision"], denied["effect"]) == ("ALLOW", 1, "DENY")
    assert allowed["known_as_of"]
    assert "known     as of " in shown.stdout
    assert "knows revision 1" in sidecar.announced
    assert run_pullgate("healthcheck", "--address", sidecar.address).stdout == "SERVING\n"


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_corrupted_state_is_refused(state_of_a_former_run: Path, start_sidecar: StartSidecar, where: str) -> None:
    """A state file with one byte changed is not used, not in part either: decisions are UNAVAILABLE and say why."""
    (file,) = state_of_a_former_run.iterdir()
    content = bytearray(file.read_bytes())
    index = {"first": 0, "middle": len(content) // 2, "last": -2}[where]
    content[index] ^= 1
    file.write_bytes(content)
    sidecar = start_sidecar(NOWHERE, "--state-dir", str(state_of_a_former_run))
    code, _, said = sidecar.decide("nginx")

    assert code == 3
    assert "no policy is known yet" in said
    assert str(file) in said
    assert run_pullgate("healthcheck", "--address", sidecar.address).returncode == 1
    assert str(file) in sidecar.log.read_text()
    assert "knows nothing yet" in sidecar.announced


@pytest.mark.parametrize(
    ("past", "allowed", "denied"),
    [("closed", None, None), ("open", "ALLOW", "ALLOW"), ("last_known", "ALLOW", "DENY")],
)
def test_past_the_maximum_age(
    state_of_a_former_run: Path, start_sidecar: StartSidecar, past: str, allowed: str | None, denied: str | None
) -> None:
    """What is older than --max-age is used as --past-max-age says: not at all, as if all were allowed, or as it is."""
    sidecar = start_sidecar(
        NOWHERE, "--state-dir", str(state_of_a_former_run), "--max-age", "0s", "--past-max-age", past
    )
    _, answers, said = sidecar.decide("nginx", "someuser/tool")

    assert [answer.get("effect") for answer in answers] == [effect for effect in (allowed, denied) if effect]
    assert ("may be used for 0 seconds" in said) is (past == "closed")
    if past == "open":
        assert answers[1]["policy_effect"] == "DENY"
        assert "allowed by failing open" in answers[1]["notes"][0]


@pytest.mark.parametrize(("past", "effect"), [("closed", None), ("open", "ALLOW"), ("last_known", None)])
def test_nothing_is_known(start_sidecar: StartSidecar, past: str, effect: str | None) -> None:
    """Without a state on disk, and with the server away, only a sidecar that fails open makes decisions."""
    sidecar = start_sidecar(NOWHERE, "--token", "x", "--past-max-age", past)
    code, answers, said = sidecar.decide("nginx")

    assert [answer.get("effect") for answer in answers] == ([effect] if effect else [])
    assert code == (0 if effect else 3)
    assert ("no policy is known yet" in said) is (effect is None)


def test_readiness_follows_the_maximum_age(upstream: ServerProcess, start_sidecar: StartSidecar) -> None:
    """Health turns when what is known is too old, and turns back when the server is back; each is logged once."""
    sidecar = start_sidecar(upstream, "--max-age", "1s", "--log-format", "json")
    watch = sidecar.statuses()
    until(watch, SERVING)
    kill(upstream)
    until(watch, NOT_SERVING)
    _, _, refused = sidecar.decide("nginx")
    again = start_server(upstream.data_dir, "--listen", upstream.address)
    try:
        until(watch, SERVING)
        decided = sidecar.decided()
    finally:
        stop_server(again)
    sidecar.stop()
    logged = [json.loads(line) for line in sidecar.log.read_text().splitlines()]
    told = [entry["status"] for entry in logged if entry["event"].endswith("the service")]

    assert "may be used for 1 seconds" in refused
    assert (decided["effect"], decided.get("known_as_of")) == ("ALLOW", None)
    assert told[:4] == ["ready", "stale", "error", "ready"]


def test_a_port_takes_the_own_token(upstream: ServerProcess, start_sidecar: StartSidecar) -> None:
    """On TCP the token that the sidecar has for its server is the one that its callers need, and no other."""
    token = (upstream.data_dir / "operator.token").read_text().strip()
    environment = {**clean_environment(), "PULLGATE_TOKEN": token}
    sidecar = start_sidecar(upstream.address, "--listen", "127.0.0.1:0", environment=environment)
    until(sidecar.statuses(), SERVING)
    ask = ["decide", "--address", sidecar.address, "--org", "acme", "--user", "dev", "nginx"]
    same = run_pullgate(*ask, environment=environment)
    other = run_pullgate(*ask, environment={**clean_environment(), "PULLGATE_TOKEN": "another"})

    assert same.returncode == 0, same.stderr
    assert other.returncode == 3
    assert "not the one that this sidecar itself has" in other.stderr


def test_a_token_file(upstream: ServerProcess, start_sidecar: StartSidecar, tmp_path: Path) -> None:
    """The token may come from a file, as Kubernetes and systemd give it."""
    file = tmp_path / "token"
    shutil.copy(upstream.data_dir / "operator.token", file)
    sidecar = start_sidecar(upstream.address, "--token-file", str(file))
    until(sidecar.statuses(), SERVING)

    assert sidecar.decided()["effect"] == "ALLOW"


def test_two_sidecars_on_one_socket(upstream: ServerProcess, start_sidecar: StartSidecar) -> None:
    """A second sidecar does not take the socket from one that lives, and takes that of one that was killed."""
    first = start_sidecar(upstream)
    second = run_pullgate(
        "sidecar", "--listen", first.address, "--state-dir", str(upstream.data_dir / "state"), "--token", "x"
    )
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(timeout=SOON)
    third = start_sidecar(upstream, "--listen", first.address)
    until(third.statuses(), SERVING)

    assert second.returncode == 2
    assert "another process is listening there" in second.stderr
    assert third.decided()["effect"] == "ALLOW"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--listen", "0.0.0.0:50052"], "can be reached by other machines"),
        (["--listen", "127.0.0.1:0"], "takes a token that its callers present"),
        (["--state-dir", "/dev/null/state"], "see --state-dir"),
        (["--socket-mode", "rw"], "is not a mode such as 0600"),
        (["--max-age", "long"], "is not a length of time"),
        (["--token", "x", "--token-file", "/dev/null"], "are both given"),
        (["--ca", "/no/such/file"], "/no/such/file cannot be read"),
        (["--cert", __file__, "--key", "/no/such/file"], "/no/such/file cannot be read"),
        (["--cert", __file__], "a client certificate needs its key"),
    ],
)
def test_what_cannot_start_says_why(options: list[str], problem: str, tmp_path: Path) -> None:
    """Wrong options end the start with 2 and a sentence."""
    environment = {**clean_environment(), "XDG_STATE_HOME": str(tmp_path), "PULLGATE_DATA_DIR": str(tmp_path)}
    result = run_pullgate("sidecar", "--listen", f"unix:{tmp_path}/p.sock", *options, environment=environment)

    assert result.returncode == 2
    assert problem in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_sidecar_is_small(upstream: ServerProcess, start_sidecar: StartSidecar) -> None:
    """A running sidecar has loaded no database, driver or HTTP client, and its memory is that of a small process."""
    program = (
        "import atexit, sys\n"
        "heavy = 'sqlalchemy alembic aiosqlite asyncpg httpx aiocache redis jwt cryptography'.split()\n"
        "atexit.register(lambda: print('loaded:', sorted(set(heavy) & set(sys.modules)), file=sys.stderr))\n"
        "from pullgate_cli.main import main; main(prog_name='pullgate')"
    )
    sidecar = start_sidecar(upstream, program=("-c", program))
    until(sidecar.statuses(), SERVING)
    sidecar.decide("nginx", "someuser/tool")
    resident = psutil.Process(sidecar.process.pid).memory_info().rss / 1024 / 1024
    print(f"a sidecar with one policy has {resident:.0f} MB")  # noqa: T201 - shown with -s
    sidecar.stop()

    assert "loaded: []" in sidecar.log.read_text()
    assert resident < MAX_RESIDENT_MEGABYTES


def test_without_the_server_part_it_says_what_to_install() -> None:
    """With the SDK alone `pullgate sidecar` says which extra it needs."""
    script = "import sys; sys.modules['structlog'] = None\nfrom pullgate_cli.main import main\nmain(['sidecar'])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=clean_environment()
    )

    assert result.returncode == 2
    assert "pip install 'pullgate[server]'" in result.stderr
