"""What an acknowledged write costs: policies written by one client and by four at once, on SQLite and on PostgreSQL.

The two databases take turns, round after round, and what is compared is the ratio within a round. A write is on disk
when it is acknowledged, so this measures the disk as much as the program. Prints JSON.
"""

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.decide import started_server
from pullgate_client import Client, Connection
from pullgate_policy import Preset, preset_policy
from tests.postgresql import running_postgresql

ROUNDS = 5
WRITES = 100
WRITERS = (1, 4)


def seconds_of_writes(connection: Connection, organization: str, number: int) -> list[float]:
    """How long each of so many writes of one organization's policy took."""
    seconds = []
    with Client(connection) as client:
        for index in range(number):
            policy = preset_policy(list(Preset)[index % 3], organization)
            started = time.perf_counter()
            client.put_policy(policy)
            seconds.append(time.perf_counter() - started)
    return seconds


def measure(connection: Connection, writers: int) -> tuple[float, float, float]:
    """Writes per second, and their median and 99th percentile in milliseconds."""
    started = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        tasks = [
            pool.submit(seconds_of_writes, connection, f"org{number}", WRITES // writers) for number in range(writers)
        ]
        seconds = [item for task in tasks for item in task.result()]
    rate = len(seconds) / (time.perf_counter() - started)
    return rate, statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=100)[98] * 1e3


def main() -> None:
    """Measure and print."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory, running_postgresql() as postgresql:
        url = f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres"
        with (
            started_server(Path(directory, "sqlite")) as (_, sqlite),
            started_server(Path(directory, "postgresql"), "--database", url) as (_, other),
        ):
            for writers in WRITERS:
                rounds = [(measure(sqlite, writers), measure(other, writers)) for _ in range(ROUNDS)]
                for name, side in (("sqlite", 0), ("postgresql", 1)):
                    rate, median, slow = (statistics.median(pair[side][item] for pair in rounds) for item in range(3))
                    figures[f"{name}, {writers} at once"] = {
                        "writes per second": round(rate),
                        "median ms": round(median, 1),
                        "p99 ms": round(slow, 1),
                    }
                ratio = statistics.median(pair[1][0] / pair[0][0] for pair in rounds)
                figures[f"postgresql / sqlite, {writers} at once"] = {"writes per second": round(ratio, 2)}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
