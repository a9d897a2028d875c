"""A running server: health, reflection, and a stop that finishes what is in flight."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from pullgate.v1 import policy_decision_pb2
from pullgate_policy import Preset, preset_policy
from pullgate_server.composition import World, compose
from pullgate_server.configuration import Configuration
from pullgate_server.deciding import Decider
from pullgate_server.errors import StartupError
from pullgate_server.listening import RunningServer
from pullgate_server.stores.category_knowledge import MemoryCategoryKnowledge
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.token_secrets import SecretHasher
from tests.conftest import SOON, Clock, Serve, Service
from tests.server.test_policy_decision_service import DEV, question, strict_store
from tests.stores import put_policy

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(service: Service) -> Any:
    """A stub for health; calls need no token."""
    return health_pb2_grpc.HealthStub(service.channel)


async def statuses(service: Service, name: str = "") -> AsyncIterator[int]:
    """The statuses that a watcher is told."""
    async for response in health(service).Watch(health_pb2.HealthCheckRequest(service=name), timeout=SOON):
        yield response.status


@pytest.mark.parametrize("name", ["", "pullgate.v1.PolicyDecisionService", "pullgate.v1.PolicyAdminService"])
async def test_health_is_known_for_every_service(serve: Serve, name: str) -> None:
    """The server and each of its services are SERVING once calls are answered; no token is needed."""
    async with serve() as service:
        response = await health(service).Check(health_pb2.HealthCheckRequest(service=name), timeout=SOON)

        assert response.status == SERVING


async def test_health_of_what_is_not_here(serve: Serve) -> None:
    """A service that is not here is NOT_FOUND to Check and SERVICE_UNKNOWN to Watch, as the protocol says."""
    async with serve() as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health(service).Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=SOON)
        first = await anext(statuses(service, "no.such"))

        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert first == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_health_follows_the_store(serve: Serve) -> None:
    """When the store is gone past its limit health turns, and it turns back when the store is back."""
    async with serve(store_grace=30.0) as service:
        watch = statuses(service)
        told = [await anext(watch)]
        service.store.available = False  # type: ignore[attr-defined]
        service.clock.advance(seconds=31)
        told.append(await anext(watch))
        decided = await service.call(service.decisions.Decide, question())
        service.store.available = True  # type: ignore[attr-defined]
        told.append(await anext(watch))

        assert told == [SERVING, NOT_SERVING, SERVING]
        assert decided.decision.effect == 1
        await watch.aclose()  # type: ignore[attr-defined]


async def test_a_store_gone_for_a_moment_does_not_turn_health(serve: Serve) -> None:
    """Within the limit health stays, and the outage is logged once."""
    async with serve(store_grace=30.0) as service:
        with structlog.testing.capture_logs() as logs:
            service.store.available = False  # type: ignore[attr-defined]
            service.clock.advance(seconds=29)
            for _ in range(5):
                await service.application.snapshots.look()
            service.store.available = True  # type: ignore[attr-defined]
            await service.application.snapshots.look()

        assert service.application.health.serving
        assert [entry["event"] for entry in logs] == ["store out of reach", "store back in reach"]


async def test_a_write_by_somebody_else_is_taken_in(serve: Serve) -> None:
    """What another process writes into the same store holds here after a look."""
    async with serve() as service:
        before = (await service.call(service.decisions.Decide, question("a/b"))).decision
        await put_policy(service.store, preset_policy(Preset.STRICT, "acme"))
        after = (await service.call(service.decisions.Decide, question("a/b", min_revision=1))).decision

        assert (before.effect, after.effect) == (1, 2)


async def test_a_store_that_goes_back_is_believed(serve: Serve) -> None:
    """After a backup was put in place nothing is left of what was written since."""
    async with serve(store=await strict_store(), store_poll=3600.0) as service:
        snapshots, store = service.application.snapshots, service.store
        for preset in (Preset.OPEN, Preset.STANDARD):
            await put_policy(store, preset_policy(preset, "globex"))
        await snapshots.look()
        before = set(snapshots.current.policies)
        store.__dict__.update((await strict_store()).__dict__)
        await snapshots.look()

        assert ({"acme", "globex"}, {"acme"}) == (before, set(snapshots.current.policies))
        assert snapshots.current.revision == 1


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes(serve: Serve, version: str) -> None:
    """Both versions of reflection list every service and describe it with all it depends on, themselves included."""
    async with serve() as service:
        method = service.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        symbols = ["pullgate.v1.PolicyDecisionService", "grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health"]
        requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
        requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
        responses = [response async for response in method(iter(requests), metadata=service.metadata, timeout=SOON)]

    assert {
        "pullgate.v1.PolicyDecisionService",
        "pullgate.v1.PolicyWatchService",
        "pullgate.v1.PolicyAdminService",
        "pullgate.envoy.v3.ExternalAuthorizationService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } == {item.name for item in responses[0].list_services_response.service}
    for response in responses[1:]:
        assert response.file_descriptor_response.file_descriptor_proto


Held = tuple[asyncio.Event, asyncio.Event]


@pytest.fixture
def held_decisions(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Decisions that wait: the first event says that one has begun, the second lets all of them go on."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    decide = Decider.decide

    async def slow(*arguments: Any) -> Any:
        entered.set()
        await go_on.wait()
        return await decide(*arguments)

    monkeypatch.setattr(Decider, "decide", slow)
    return entered, go_on


async def test_a_stop_finishes_what_is_in_flight(serve: Serve, held_decisions: Held) -> None:
    """A call that is open when the server is told to stop gets its answer; health says NOT_SERVING meanwhile."""
    entered, go_on = held_decisions
    async with serve(store=await strict_store()) as service, asyncio.timeout(SOON):
        call = asyncio.ensure_future(service.call(service.decisions.Decide, question()))
        await entered.wait()
        watch = statuses(service)
        before = await anext(watch)
        stopping = asyncio.ensure_future(service.server.stop())
        during = await anext(watch)
        go_on.set()

        assert [before, during] == [SERVING, NOT_SERVING]

        assert (await call).decision.effect == 1
        await stopping


async def test_a_stop_ends_streams_after_answering_what_was_read(serve: Serve, held_decisions: Held) -> None:
    """A stream whose client has more to ask gets the answers it is owed, then UNAVAILABLE with a time to retry."""
    entered, go_on = held_decisions
    async with serve(store=await strict_store(), stop_grace=SOON) as service, asyncio.timeout(SOON):
        stream = service.decisions.StreamDecide(metadata=service.metadata)
        await stream.write(policy_decision_pb2.StreamDecideRequest(identity=DEV, reference="nginx", request_id="owed"))
        await entered.wait()
        stopping = asyncio.ensure_future(service.server.stop())
        await asyncio.sleep(0)
        go_on.set()
        answer = await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stream.read()
        await stopping
    info = error_details_pb2.ErrorInfo()

    assert (answer.request_id, answer.decision.effect) == ("owed", 1)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert rpc_status.from_call(raised.value).details[0].Unpack(info)
    assert info.reason == "SERVER_STOPPING"


async def test_a_hurried_stop_cuts_the_drain_delay_short(serve: Serve) -> None:
    """Who asks a second time does not wait for load balancers to notice."""
    async with serve(drain_delay=3600.0) as service, asyncio.timeout(SOON):
        stopping = asyncio.ensure_future(service.server.stop())
        await asyncio.sleep(0)
        await service.server.cancel()
        await stopping


async def test_a_health_watch_does_not_hold_up_a_stop(serve: Serve) -> None:
    """A watcher is told NOT_SERVING and its stream ends, so that the stop need not wait out its grace."""
    async with serve(stop_grace=3600.0) as service, asyncio.timeout(SOON):
        watch = statuses(service)
        told = [await anext(watch)]
        await asyncio.gather(service.server.stop(), take_all(watch, told))

        assert told == [SERVING, NOT_SERVING]


async def take_all(watch: AsyncIterator[int], told: list[int]) -> None:
    """Note every status that still comes."""
    told.extend([status async for status in watch])


async def test_two_servers_do_not_share_a_port(serve: Serve, tmp_path: Path) -> None:
    """A port that is taken is an error that says so, and not half of the calls."""
    async with serve() as service:
        configuration = Configuration(listen=service.server.address, data_dir=tmp_path)
        hasher = SecretHasher(b"key")
        async with compose(
            configuration, tmp_path, MemoryStore(), MemoryCategoryKnowledge(), hasher, World(clock=Clock())
        ) as application:
            with pytest.raises(StartupError, match="is another server running there"):
                await RunningServer(application, configuration).start()


async def test_a_unix_socket_serves(serve: Serve, tmp_path: Path) -> None:
    """A server on a unix socket answers like any other."""
    async with serve(listen=f"unix:{tmp_path}/pullgate.sock", store=await strict_store()) as service:
        answered = await service.call(service.decisions.Decide, question())

        assert answered.decision.effect == 1
