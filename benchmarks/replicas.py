"""How soon a write is known everywhere: three servers on one PostgreSQL, and one write at a time.

From the moment at which a write is acknowledged to the moment at which the last server has answered from it, with hints
(LISTEN/NOTIFY) and without, at `--store-poll 1`. The servers are asked without end, so that none is made to look, and
what is measured includes one call. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.decide import DEV, started_server
from pullgate_client import Client
from pullgate_policy import Preset, preset_policy
from tests.postgresql import running_postgresql

SERVERS = 3


def seen_at(client: Client, revision: int) -> float:
    """When a server first answered from a revision."""
    while client.decide(DEV, "nginx").policy_revision < revision:
        pass
    return time.perf_counter()


def measure(clients: Sequence[Client], writes: int) -> list[float]:
    """Milliseconds from each acknowledgement until the last server answered from the write."""
    delays = []
    with ThreadPoolExecutor(len(clients)) as pool:
        for number in range(writes):
            policy = preset_policy(list(Preset)[number % 3], "acme")
            revision = clients[number % len(clients)].put_policy(policy).revision
            acknowledged = time.perf_counter()
            last = max(pool.map(lambda client, wanted=revision: seen_at(client, wanted), clients))
            delays.append((last - acknowledged) * 1e3)
    return delays


def figures(database: str, folder: Path, writes: int, *options: str) -> dict[str, float]:
    """What so many writes took, on servers with these options."""
    with ExitStack() as closing:
        clients = []
        for _ in range(SERVERS):
            # One data directory, and so one token and one key for all.
            server = started_server(folder, "--database", database, "--store-poll", "1", *options)
            _, connection = closing.enter_context(server)
            clients.append(closing.enter_context(Client(connection)))
        delays = measure(clients, writes)
    return {
        "p50 ms": round(statistics.median(delays), 1),
        "p99 ms": round(statistics.quantiles(delays, n=100, method="inclusive")[98], 1),
        "max ms": round(max(delays), 1),
        "writes": writes,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=500, help="writes with hints; without, a tenth")
    writes = parser.parse_args().writes
    found = {}
    for name, number, options in (
        ("with hints", writes, ()),
        ("without, polling each second", max(writes // 10, 2), ("--no-store-hints",)),
    ):
        # A token of the operator is made with each database, so each has one of its own.
        with tempfile.TemporaryDirectory() as folder, running_postgresql() as postgresql:
            url = f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres"
            found[name] = figures(url, Path(folder), number, *options)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
