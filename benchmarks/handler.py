"""What a Decide costs without its transport: the handler, called in a loop in this process, and what it keeps.

Prints microseconds per call, medians of several loops: for a request of the same bytes as an earlier one, for one that
differs in its request id alone, for an image that was not asked about before, and for a question of Envoy's.
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
from pullgate.envoy.v3 import external_authorization_pb2
from pullgate.local import DEFAULT_ADDRESS
from pullgate.v1 import mapping, policy_decision_pb2
from pullgate_client.connection import local_token
from pullgate_policy import Preset, preset_policy
from pullgate_server.composition import World, compose, ensure_operator_token, open_secrets
from pullgate_server.configuration import Configuration
from pullgate_server.rpc.external_authorization import ENVOY_SERVICE
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


def asked_by_envoy() -> external_authorization_pb2.CheckRequest:
    """What Envoy asks when a client reads a manifest, with the headers that such clients send."""
    attributes = external_authorization_pb2.AttributeContext
    headers = {
        ":authority": "registry.internal",
        ":method": "GET",
        ":path": "/v2/library/nginx/manifests/latest",
        ":scheme": "https",
        "accept": "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json",
        "user-agent": "containerd/2.1.0",
        "x-forwarded-proto": "https",
        "x-request-id": "0198f6d2-6a43-7c55-9a31-b1c9b6a1f0e7",
    }
    http = attributes.HttpRequest(method="GET", path="/v2/library/nginx/manifests/latest", headers=headers)
    return external_authorization_pb2.CheckRequest(
        attributes=attributes(
            request=attributes.Request(http=http),
            context_extensions={
                "pullgate.registry": "docker.io",
                "pullgate.organization": "acme",
                "pullgate.user": "dev",
            },
        )
    )


async def measure(directory: Path) -> dict[str, float]:
    """The figures, by name."""
    store, world = MemoryStore(), World()
    hasher = await open_secrets(Configuration(), store, directory, world)
    await ensure_operator_token(store, hasher, directory, world)
    written = Authorship(author="", caller_id="", origin="", written_at=world.clock())
    await store.write_policy("acme", lambda _: preset_policy(Preset.STRICT, "acme"), written)
    metadata = (("authorization", f"Bearer {local_token(DEFAULT_ADDRESS, directory)}"),)
    numbers = itertools.count()
    identity = mapping.identity_to_message(DEV)

    def request(reference: str, request_id: str = "") -> bytes:
        message = policy_decision_pb2.DecideRequest(identity=identity, reference=reference, request_id=request_id)
        return message.SerializeToString()

    async with compose(
        Configuration(category_sources="catalogue,starter"), directory, store, MemoryCategoryKnowledge(), hasher, world
    ) as application:

        def handler(method: str) -> Callable[[bytes], Any]:
            details: Any = SimpleNamespace(method=method, invocation_metadata=metadata)
            found: Any = next(filter(None, (handlers.service(details) for handlers in application.handlers)))
            return lambda data: found.unary_unary(data, SimpleNamespace(time_remaining=lambda: None))

        decide, check = handler("/pullgate.v1.PolicyDecisionService/Decide"), handler(f"/{ENVOY_SERVICE}/Check")
        makers: dict[str, tuple[Callable[[bytes], Any], Callable[[], bytes]]] = {
            "same bytes": (decide, lambda: request("nginx")),
            "same question, another request id": (decide, lambda: request("nginx", str(next(numbers)))),
            "Envoy's Check": (check, asked_by_envoy().SerializeToString),
            "another image": (decide, lambda: request(f"image{next(numbers)}")),
        }
        await decide(request("nginx"))
        figures = {}
        for name, (call, make) in makers.items():
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
