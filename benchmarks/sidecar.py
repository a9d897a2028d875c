"""What a sidecar costs beside a pod: its memory, and how soon it decides from disk while its server is away.

With the preset `standard` for so many organizations. Wall-clock seconds of this machine; memory is the resident set of
the process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.decide import pullgate_server
from pullgate_client import Client, ClientError, Connection
from pullgate_policy import Identity, Membership, Preset, parse_policy, policy_data, preset_policy

NOWHERE = "127.0.0.1:1"
DEV = Identity(username="dev", memberships=(Membership(organization="org0"),))
PATIENCE = 60.0


@contextmanager
def sidecar(upstream: Connection, directory: Path) -> Iterator[tuple[int, Connection, float]]:
    """A sidecar: its process, how to reach it, and when it was started."""
    started = time.perf_counter()
    listen = f"unix:{directory}/bench.sock"
    options = ["--upstream", upstream.address, "--listen", listen, "--state-dir", str(directory / "state")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", "sidecar", *options],
        env={**os.environ, "PULLGATE_TOKEN": upstream.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid, Connection(address=listen), started
    finally:
        process.terminate()
        process.wait()


def until_decided(connection: Connection, revision: int) -> None:
    """Wait until it decides from this revision."""
    give_up = time.perf_counter() + PATIENCE
    while True:
        try:
            with Client(replace(connection, attempts=1)) as client:
                client.decide(DEV, "nginx", min_revision=revision)
        except ClientError:
            if time.perf_counter() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def megabytes(pid: int) -> float:
    """The resident set of a process."""
    return float(round(psutil.Process(pid).memory_info().rss / 1024 / 1024, 1))


def main() -> None:
    """Measure and print as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--organizations", type=int, nargs="+", default=[1, 1000])
    figures: dict[str, float] = {}
    for count in arguments.parse_args().organizations:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            with pullgate_server(directory / "data") as (_, connection, _):
                with Client(connection) as client:
                    for number in range(count):
                        document = policy_data(preset_policy(Preset.STANDARD, f"org{number}"))
                        client.put_policy(parse_policy(document))
                    revision = max(stored.revision for stored in client.list_policies())
                with sidecar(connection, directory) as (pid, beside, _):
                    until_decided(beside, revision)
                    figures[f"MB with {count} policies, following"] = megabytes(pid)
            with sidecar(Connection(address=NOWHERE, token="none"), directory) as (pid, beside, started):
                until_decided(beside, revision)
                figures[f"seconds to first decision from disk, {count} policies"] = round(
                    time.perf_counter() - started, 2
                )
                figures[f"MB with {count} policies, from disk"] = megabytes(pid)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
