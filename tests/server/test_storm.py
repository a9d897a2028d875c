"""A storm of writes while decisions are asked for: every answer is of one revision, the one that it states."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pullgate.v1 import decision_pb2, mapping
from pullgate.v1 import policy_admin_pb2 as admin
from pullgate.v1 import policy_decision_pb2 as decisions
from pullgate_policy import parse_policy
from pullgate_server.stores.port import Store
from tests.conftest import SOON, Serve, Service
from tests.postgresql import PostgresqlServer
from tests.server.test_authorization import identity_in
from tests.server.test_watch import NEVER
from tests.stores import KINDS, open_store
from tests.watching import begun, known_of, watching

ORGANIZATIONS = ("acme", "globex", "initech")
WRITES = 60

History = dict[str, list[tuple[int, int]]]
"""By organization: the revisions of its writes, in order, each with its number."""


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgresqlServer) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    async with open_store(request.param, tmp_path, postgresql) as store:
        yield store


async def put(service: Service, organization: str, number: int) -> tuple[int, int]:
    """A write by whose number one knows what it decides: odd ones allow official images, even ones say their number."""
    policy = parse_policy(
        {
            "organization": organization,
            "image_access": {
                "enabled": True,
                "allow": {"official_images": number % 2 == 1},
                "help": f"write {number}",
            },
        }
    )
    request = admin.PutPolicyRequest(policy=mapping.policy_to_message(policy))
    return (await service.call(service.administration.PutPolicy, request)).policy.revision, number


def expected(history: History, organization: str, revision: int) -> tuple[int, str]:
    """The effect, and the help, that the newest write up to a revision leads to."""
    writes = history[organization]
    number = writes[bisect_right(writes, revision, key=lambda write: write[0]) - 1][1]
    return (decision_pb2.EFFECT_ALLOW, "") if number % 2 else (decision_pb2.EFFECT_DENY, f"write {number}")


async def test_every_answer_is_of_the_revision_that_it_states(serve: Serve, store: Store) -> None:
    """Decide, BatchDecide and StreamDecide amid writes: the answer is what its revision decides, never a mixture."""
    answers: list[tuple[str, Any]] = []
    finished = asyncio.Event()

    async def write(service: Service, organization: str) -> list[tuple[int, int]]:
        return [await put(service, organization, number) for number in range(1, WRITES + 1)]

    async def decide(service: Service, organization: str) -> None:
        request = decisions.DecideRequest(identity=identity_in(organization), reference="nginx")
        while not finished.is_set():
            answers.append((organization, (await service.call(service.decisions.Decide, request)).decision))

    async def decide_many(service: Service, organization: str) -> None:
        references = ["nginx", "redis", "nginx:1.27", "postgres"]
        request = decisions.BatchDecideRequest(identity=identity_in(organization), references=references)
        while not finished.is_set():
            answer = await service.call(service.decisions.BatchDecide, request)
            assert {item.decision.policy_revision for item in answer.decisions} == {answer.policy_revision}
            answers.extend((organization, item.decision) for item in answer.decisions)

    async def decide_again_and_again(service: Service, organization: str) -> None:
        stream = service.decisions.StreamDecide(metadata=service.metadata)
        while not finished.is_set():
            await stream.write(decisions.StreamDecideRequest(identity=identity_in(organization), reference="nginx"))
            answers.append((organization, (await stream.read()).decision))
        await stream.done_writing()

    async with serve(store=store, watch_bookmark=NEVER) as service, watching(service) as watcher:
        await begun(watcher)
        history = {organization: [await put(service, organization, 1)] for organization in ORGANIZATIONS}
        asking = [
            asyncio.ensure_future(ask(service, organization))
            for organization in ORGANIZATIONS
            for ask in (decide, decide_many, decide_again_and_again)
        ]
        written = await asyncio.gather(*(write(service, organization) for organization in ORGANIZATIONS))
        finished.set()
        async with asyncio.timeout(SOON):
            await asyncio.gather(*asking)
        for organization, writes in zip(ORGANIZATIONS, written, strict=True):
            history[organization] += writes
        await watcher.up_to(await store.revision())
        assert watcher.known == known_of(service.application.snapshots.current)

    assert len({decision.policy_revision for _, decision in answers}) > WRITES / 2
    wrong = [
        (organization, decision)
        for organization, decision in answers
        if (decision.effect, decision.help) != expected(history, organization, decision.policy_revision)
    ]
    assert wrong == []
