"""What a Decide costs without its transport: the handler, called in a loop in this process, and what it keeps.

Prints microseconds per call, medians of several loops: for a request of the same bytes as an earlier one, for one that
differs in its request id alone, and for an image that was not asked about before.
"""

import asyncio
import gc
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import structlog

from benchmarks.decide import DEV
from pullgate.local import DEFAULT_ADDRESS
from pullgate.v1 import mapping, policy_decision_pb2
from pullgate_client.connection import local_token
from pullgate_policy import Preset, preset_policy
from pullgate_server.composition import World, compose, ensure_operator_token, open_secrets
from pullgate_server.configuration import Configuration
from pullgate_server.stores.category_knowledge import MemoryCategoryKnowledge
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import Authorship

CALLS = 10_000
LOOPS = 5


async def microseconds(call: Callable[[bytes], Any], requests: list[bytes]) -> float:
    """The time of one call."""
    started = time.perf_counter()
    for request in requests:
        await call(request)
    return (time.perf_counter() - started) / len(requests) * 1e6


async def measure(directory: Path) -> dict[str, float]:
    """The figures, by name."""
    store, world = MemoryStore(), World()
    hasher = await open_secrets(Configuration(), store, directory, world)
    await ensure_operator_token(store, hasher, directory, world)
    written = Authorship(author="", caller_id="", origin="", written_at=world.clock())
    await store.write_policy("acme", lambda _: preset_policy(Preset.STRICT, "acme"), written)
    metadata = (("authorization", f"Bearer {local_token(DEFAULT_ADDRESS, directory)}"),)
    details: Any = SimpleNamespace(method="/pullgate.v1.PolicyDecisionService/Decide", invocation_metadata=metadata)
    numbers = itertools.count()
    identity = mapping.identity_to_message(DEV)

    def request(reference: str, request_id: str = "") -> bytes:
        message = policy_decision_pb2.DecideRequest(identity=identity, reference=reference, request_id=request_id)
        return message.SerializeToString()

    async with compose(
        Configuration(category_sources="catalogue,starter"), directory, store, MemoryCategoryKnowledge(), hasher, world
    ) as application:
        handler: Any = next(filter(None, (handlers.service(details) for handlers in application.handlers)))

        def call(data: bytes) -> Any:
            return handler.unary_unary(data, SimpleNamespace(time_remaining=lambda: None))

        makers: dict[str, Callable[[], bytes]] = {
            "same bytes": lambda: request("nginx"),
            "same question, another request id": lambda: request("nginx", str(next(numbers))),
            "another image": lambda: request(f"image{next(numbers)}"),
        }
        await call(request("nginx"))
        figures = {}
        for name, make in makers.items():
            gc.collect()
            before = psutil.Process().memory_info().rss
            loops = [await microseconds(call, [make() for _ in range(CALLS)]) for _ in range(LOOPS)]
            figures[f"{name}, us"] = round(statistics.median(loops), 1)
        gc.collect()
        kept = psutil.Process().memory_info().rss - before
        figures["memory of an image that is kept ready, bytes"] = round(kept / (CALLS * LOOPS))
    return figures


def main() -> None:
    """Measure and print as JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asyncio.run(measure(Path(directory))), indent=2))


if __name__ == "__main__":
    main()
