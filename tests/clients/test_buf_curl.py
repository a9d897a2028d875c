"""A client that nobody here wrote: `buf curl` finds the services by reflection and gets the same decision."""

import json
import subprocess
import sys
from pathlib import Path

from pullgate.local import OPERATOR_TOKEN_FILE
from tests.conftest import ServerProcess, run_pullgate

BUF = Path(sys.executable).parent / "buf"


def buf_curl(server: ServerProcess, *arguments: str) -> str:
    """What `buf curl` prints; the token goes with the call and with reflection."""
    token = (server.data_dir / OPERATOR_TOKEN_FILE).read_text().strip()
    headers = [
        part for option in ("--header", "--reflect-header") for part in (option, f"Authorization: Bearer {token}")
    ]
    if "--list-services" in arguments:
        headers = headers[2:]
    result = subprocess.run(
        [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *headers, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=server.data_dir,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_services_are_listed_by_reflection(server_process: ServerProcess) -> None:
    """`buf curl --list-services` lists them."""
    listed = buf_curl(server_process, "--list-services", f"http://{server_process.address}").split()

    assert {"pullgate.v1.PolicyDecisionService", "pullgate.v1.PolicyAdminService"} <= set(listed)


def test_a_json_request_gets_the_same_decision(server_process: ServerProcess) -> None:
    """The decision by JSON is the one that `pullgate decide` prints."""
    preset = run_pullgate("policy", "preset", "strict", "--org", "acme").stdout
    run_pullgate("policy", "apply", "--yes", "-f", "-", environment=server_process.environment(), stdin=preset)
    question = {
        "identity": {"username": "dev", "memberships": [{"organization": "acme"}]},
        "reference": "someuser/custom-image",
    }
    url = f"http://{server_process.address}/pullgate.v1.PolicyDecisionService/Decide"
    ours = run_pullgate(
        "decide", "--org", "acme", "--user", "dev", "--json", "someuser/custom-image",
        environment=server_process.environment(),
    )  # fmt: skip
    theirs = json.loads(buf_curl(server_process, "--data", json.dumps(question), url))["decision"]
    decision = json.loads(ours.stdout)

    assert f"EFFECT_{decision['effect']}" == theirs["effect"]
    assert f"REASON_{decision['reason']}" == theirs["reason"]
    assert f"IMAGE_CATEGORY_{decision['category']}" == theirs["category"]
    assert (decision["message"], decision["reference"]) == (theirs["message"], theirs["reference"])
