"""In-process decisions: how many a second one core makes with a local decider that follows a server of its own.

Prints decisions a second, the best and the median of several loops: of one image asked for again and again, of the 144
Docker Official Images in turn, and of images that were not asked about before; each also by equal identities that are
objects of their own.
"""

import asyncio
import gc
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.decide import DEV, pullgate_server
from pullgate_client import AsyncClient, Connection
from pullgate_client.local import AsyncLocalDecider
from pullgate_policy import Identity, Membership

CALLS = 200_000
LOOPS = 7
OFFICIAL_IMAGES = Path(__file__).parent.parent / "tests/clients/official_images.txt"


def per_second(ask: Callable[[Identity, str], object], questions: Iterable[tuple[Identity, str]], calls: int) -> float:
    """Decisions a second."""
    asked = list(itertools.islice(questions, calls))
    gc.collect()
    started = time.perf_counter()
    for identity, reference in asked:
        ask(identity, reference)
    return calls / (time.perf_counter() - started)


def fresh_identities() -> Iterable[Identity]:
    """Identities that are equal, and objects of their own."""
    while True:
        yield Identity(username=DEV.username, memberships=tuple(map(_copy, DEV.memberships)), credential=DEV.credential)


def _copy(membership: Membership) -> Membership:
    return Membership(organization=membership.organization, role=membership.role, teams=membership.teams)


async def measure(connection: Connection) -> dict[str, dict[str, int]]:
    """The figures, by name."""
    official = OFFICIAL_IMAGES.read_text().split()
    numbers = itertools.count()
    figures: dict[str, dict[str, int]] = {}
    async with AsyncClient(connection) as client, AsyncLocalDecider(client) as decider:
        await decider.ready(30)
        for reference in official:
            assert decider.decide_now(DEV, reference) is not None
        for name, questions, calls in (
            ("one image", zip(itertools.repeat(DEV), itertools.repeat("nginx"), strict=False), CALLS),
            ("official images in turn", zip(itertools.repeat(DEV), itertools.cycle(official), strict=False), CALLS),
            (
                "official images in turn, identities of their own",
                zip(fresh_identities(), itertools.cycle(official), strict=False),
                CALLS // 5,
            ),
            (
                "images not asked about before",
                ((DEV, f"nginx:{number}") for number in numbers),
                CALLS // 20,
            ),
        ):
            rates = [per_second(decider.decide_now, questions, calls) for _ in range(LOOPS)]
            figures[name] = {"median": round(statistics.median(rates)), "best": round(max(rates))}
    return figures


def main() -> None:
    """Measure and print as JSON."""
    with tempfile.TemporaryDirectory() as directory, pullgate_server(Path(directory)) as (_, connection, _):
        print(json.dumps(asyncio.run(measure(connection)), indent=2))


if __name__ == "__main__":
    main()
