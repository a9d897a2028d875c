"""Those who decide for the Docker Engine plugin: the service, and a decider beside it, with the same answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pullgate_client import AsyncClient, AsyncLocalDecider, Connection
from pullgate_docker.deciders import Decider, LocalDecider, NoDecisionError, QuestionRefusedError, ServiceDecider
from pullgate_policy import Effect, Identity, Membership, parse_policy
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import SOON, Serve, Service
from tests.stores import put_policy

DEV = Identity(username="dev", memberships=(Membership(organization="acme"),))
STRICT = {"organization": "acme", "image_access": {"enabled": True, "allow": {"official_images": True}}}
CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: seen, retrieved_at: 2026-01-01T00:00:00Z}
"""
NGINX, CUSTOM = "docker.io/library/nginx:latest", "docker.io/someuser/x:1"


@asynccontextmanager
async def deciding(kind: str, service: Service, *, token: str = "") -> AsyncIterator[Decider]:
    """A decider of either kind, that knows all it will."""
    connection = Connection(address=service.server.address, token=token or service.token)
    async with AsyncClient(connection, deadline=SOON) as client:
        if kind == "service":
            yield ServiceDecider(client, ["acme"])
            return
        async with AsyncLocalDecider(client) as local:
            if not token:
                await local.ready(SOON)
            yield LocalDecider(local, ["acme"])


@pytest.fixture
async def service(serve: Serve) -> AsyncIterator[Service]:
    """A server in which acme is strict."""
    store = MemoryStore()
    await put_policy(store, parse_policy(STRICT))
    async with serve(store=store, catalogue=CATALOGUE, category_sources="catalogue") as service:
        yield service


@pytest.mark.parametrize("kind", ["service", "local"])
@pytest.mark.parametrize("references", [[NGINX], [CUSTOM], [NGINX, CUSTOM], [CUSTOM, NGINX, CUSTOM]])
async def test_answers(kind: str, references: list[str], service: Service) -> None:
    """There is an answer for each reference, in their order."""
    async with deciding(kind, service) as decider:
        answers = await decider.decide(DEV, references)

    assert [str(answer.decision.reference) for answer in answers] == references
    expected = {NGINX: Effect.ALLOW, CUSTOM: Effect.DENY}
    assert [answer.decision.effect for answer in answers] == [expected[reference] for reference in references]


@pytest.mark.parametrize("kind", ["service", "local"])
@pytest.mark.parametrize("references", [["Bad/Name"], [NGINX, "Bad/Name"]])
async def test_questions_that_are_wrong(kind: str, references: list[str], service: Service) -> None:
    """What is no reference will never be decided, and that is told from there being no decision now."""
    async with deciding(kind, service) as decider:
        with pytest.raises(QuestionRefusedError, match="must be lowercase"):
            await decider.decide(DEV, references)


@pytest.mark.parametrize("kind", ["service", "local"])
async def test_a_token_that_is_not_taken(kind: str, service: Service) -> None:
    """Without a token that the service takes there is no decision."""
    async with deciding(kind, service, token="wrong") as decider:
        with pytest.raises(NoDecisionError):
            await decider.decide(DEV, [NGINX])


async def test_a_service_that_is_not_there() -> None:
    """Where nobody answers a sentence says where."""
    async with AsyncClient(Connection(address="127.0.0.1:1", attempts=1)) as client:
        for references in ([NGINX], [NGINX, CUSTOM]):
            with pytest.raises(NoDecisionError, match=r"^no pullgate service answers on 127\.0\.0\.1:1$"):
                await ServiceDecider(client, ["acme"]).decide(DEV, references)
