"""A PostgreSQL that goes away and comes back: what goes on, what is refused, and what is said of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pullgate.v1 import policy_admin_pb2
from pullgate_policy import Preset, preset_policy
from tests.conftest import SOON, Serve, Service
from tests.postgresql import running_postgresql
from tests.server.test_policy_admin_service import put
from tests.server.test_policy_decision_service import question
from tests.stores import put_policy, store_at

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def statuses(service: Service) -> AsyncIterator[int]:
    """The server's health, whenever it changes."""
    health = health_pb2_grpc.HealthStub(service.channel)
    async for response in health.Watch(health_pb2.HealthCheckRequest(), timeout=SOON):
        yield response.status


async def get(service: Service) -> policy_admin_pb2.GetPolicyResponse:
    """Read the policy of acme."""
    request = policy_admin_pb2.GetPolicyRequest(organization="acme")
    response: policy_admin_pb2.GetPolicyResponse = await service.call(service.administration.GetPolicy, request)
    return response


async def decide(service: Service) -> tuple[int, str]:
    """Decide about nginx; the effect, and as of when the policy is known."""
    decision = (await service.call(service.decisions.Decide, question())).decision
    return decision.effect, decision.known_as_of.ToJsonString() if decision.HasField("known_as_of") else ""


async def test_a_database_goes_away_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    """Reads and decisions go on and say their age, writes are UNAVAILABLE, health turns off past the limit and back."""
    with running_postgresql() as postgresql:
        url = await postgresql.new_database()
        async with (
            store_at("postgresql", tmp_path, url) as store,
            serve(store=store, store_grace=30.0, store_poll=0.05) as service,
        ):
            health = statuses(service)
            await put_policy(store, preset_policy(Preset.STRICT, "acme"))
            await service.application.snapshots.look()
            assert (await decide(service), await anext(health)) == ((1, ""), SERVING)
            before = await get(service)

            postgresql.stop("immediate")
            await service.application.snapshots.look()
            service.clock.advance(seconds=20)
            assert await decide(service) == (1, "2026-06-01T00:00:00Z")
            during = await get(service)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await put(service, comment="lost")
            status = rpc_status.from_call(raised.value)
            retry = error_details_pb2.RetryInfo()
            assert any(detail.Unpack(retry) for detail in status.details)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert retry.retry_delay.ToMilliseconds() == 1000

            service.clock.advance(seconds=11)
            assert await anext(health) == NOT_SERVING
            assert await decide(service) == (1, "2026-06-01T00:00:00Z")

            postgresql.start()
            assert await anext(health) == SERVING
            assert await decide(service) == (1, "")
            after = await get(service)
            written = await put(service, comment="back")

            assert during.policy == before.policy == after.policy
            assert (before.HasField("known_as_of"), after.HasField("known_as_of")) == (False, False)
            assert during.known_as_of.ToJsonString() == "2026-06-01T00:00:00Z"
            assert written.revision == 2
            await health.aclose()  # type: ignore[attr-defined]
