"""What remembered categories cost: up to a million namespaces in memory, looked up in random order.

Each size is filled into a server's own memory (the aiocache one, bounded by entries), and what is known is asked for as
a decision does. What is compared is the time per question at each size with the time at the smallest, in one run; and
the memory of the process before and after, per namespace. Prints JSON.
"""

import asyncio
import gc
import json
import statistics
import time
from datetime import timedelta
from random import Random

import psutil
import structlog
from prometheus_client import CollectorRegistry

from pullgate_policy import Category, CommunityClass, HubRepository
from pullgate_server.categories.chain import Categories
from pullgate_server.categories.freshness import Lifetimes
from pullgate_server.categories.memories import BoundedMemoryCache, CachedCategories
from pullgate_server.categories.metrics import CategoryMetrics
from pullgate_server.categories.remembering import RememberedSource
from pullgate_server.categories.scripted import ScriptedSource
from pullgate_server.clock import system_clock
from pullgate_server.stores.category_knowledge import MemoryCategoryKnowledge, Remembered

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUESTIONS = 20_000
LOOPS = 5
KINDS = (
    (Category.VERIFIED_PUBLISHER, None, "badge verified_publisher"),
    (Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE, "badge open_source"),
    (Category.COMMUNITY, None, "a user's namespace"),
)


async def measure(size: int) -> dict[str, float]:
    """The figures of one size."""
    random = Random(size)
    gc.collect()
    before = psutil.Process().memory_info().rss
    memory = CachedCategories("memory", BoundedMemoryCache(size))
    source = RememberedSource(
        ScriptedSource(),
        memory=memory,
        shared=[],
        lasting=MemoryCategoryKnowledge(),
        lifetimes=Lifetimes(known=timedelta(days=1), unknown=timedelta(minutes=5), max_stale=timedelta(days=7), salt=7),
        on_change=lambda: None,
        has_evicted=lambda: False,
        metrics=CategoryMetrics(CollectorRegistry()),
        random=random,
        clock=system_clock,
    )
    started = time.perf_counter()
    for number in range(size):
        category, community_class, detail = KINDS[number % len(KINDS)]
        learnt = Remembered(category, community_class, detail, system_clock())
        await memory.put(source.identity, f"namespace-{number}", learnt, 60)
    filled = time.perf_counter() - started
    gc.collect()
    used = psutil.Process().memory_info().rss - before
    categories = Categories([source], wait=timedelta(0), clock=system_clock)
    loops = []
    for _ in range(LOOPS):
        names = [HubRepository(f"namespace-{random.randrange(size)}/app") for _ in range(QUESTIONS)]
        started = time.perf_counter()
        for name in names:
            found = await categories.category_of(name, "acme", 0.0)
        loops.append((time.perf_counter() - started) / QUESTIONS * 1e6)
        assert found.evidence.category is not Category.UNKNOWN
    return {
        "bytes per namespace": round(used / size),
        "us per namespace to fill": round(filled / size * 1e6, 1),
        "us per question, median": round(statistics.median(loops), 1),
        "us per question, best": round(min(loops), 1),
    }


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    figures = {str(size): asyncio.run(measure(size)) for size in SIZES}
    smallest = figures[str(SIZES[0])]["us per question, median"]
    growth = {size: round(found["us per question, median"] / smallest, 2) for size, found in figures.items()}
    print(json.dumps({"namespaces": figures, "time per question, relative to the smallest": growth}, indent=2))


if __name__ == "__main__":
    main()
