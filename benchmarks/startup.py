"""How long a newcomer waits: from `pullgate serve` to the first decision, and for one `pullgate decide`.

Wall-clock seconds of this machine, medians of several runs; the first start migrates an empty database.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.decide import DEV, pullgate_server, started_server
from pullgate_client import Client

RUNS = 7
OFFICIAL_IMAGES = Path(__file__).parent.parent / "tests/clients/official_images.txt"


def seconds_to_first_decision(directory: Path) -> float:
    """From starting the process until it has answered a Decide."""
    started = time.perf_counter()
    with started_server(directory) as (_, connection), Client(connection) as client:
        client.decide(DEV, "nginx")
        return time.perf_counter() - started


def seconds_of(arguments: list[str], stdin: str, environment: dict[str, str]) -> float:
    """The wall-clock time of one command."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pullgate_cli", *arguments],
        input=stdin,
        text=True,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure and print as JSON."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        first = [seconds_to_first_decision(Path(directory, str(run))) for run in range(RUNS)]
        again = [seconds_to_first_decision(Path(directory, "0")) for _ in range(RUNS)]
        figures["serve to first decision, empty data directory"] = statistics.median(first)
        figures["serve to first decision, restart"] = statistics.median(again)
        with pullgate_server(Path(directory, "cli")) as (_, connection, _):
            reach = {"PULLGATE_ADDRESS": connection.address, "PULLGATE_TOKEN": connection.token}
            environment = {**os.environ, **reach}
            asking = ["decide", "--org", "acme", "--user", "dev"]
            one = [seconds_of([*asking, "nginx"], "", environment) for _ in range(RUNS)]
            listed = OFFICIAL_IMAGES.read_text()
            many = [seconds_of([*asking, "-"], listed, environment) for _ in range(RUNS)]
        figures["pullgate decide, one image"] = statistics.median(one)
        figures[f"pullgate decide -, {len(listed.split())} official images"] = statistics.median(many)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
