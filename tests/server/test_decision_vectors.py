"""The tables of decisions, replayed over gRPC on a server with a catalogue file."""

import grpc
import pytest
import yaml

from pullgate.v1 import decision_pb2, mapping, policy_decision_pb2
from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import Clock, Serve, Service
from tests.stores import put_policy
from tests.vectors import ORGANIZATION, Case, read_cases


def catalogue(case: Case) -> str:
    """What the row's sources know, as a catalogue file."""

    def word(evidence: CategoryEvidence) -> str:
        return (evidence.community_class or evidence.category).name

    assert CommunityClass.SPONSORED_OPEN_SOURCE.name == "SPONSORED_OPEN_SOURCE"
    entries = [
        {
            "repository" if "/" in name else "namespace": name,
            "category": word(evidence),
            "source": "the table",
            "retrieved_at": "2026-01-01T00:00:00Z",
        }
        for name, evidence in case.categories.items()
        if evidence.category is not Category.UNKNOWN
    ]
    return yaml.safe_dump({"entries": entries})


async def store_with(case: Case) -> MemoryStore:
    """A store with the row's policies."""
    store = MemoryStore()
    for policy in case.policies.values():
        await put_policy(store, policy)
    return store


def told(message: decision_pb2.Decision) -> dict[str, object]:
    """The decision in the words of the tables."""
    return {
        "effect": decision_pb2.Effect.Name(message.effect).removeprefix("EFFECT_"),
        "policy_effect": decision_pb2.Effect.Name(message.policy_effect).removeprefix("EFFECT_"),
        "enforced": message.enforced,
        "reason": decision_pb2.Reason.Name(message.reason).removeprefix("REASON_"),
        "message": message.message,
        "help": message.help,
        "category": decision_pb2.ImageCategory.Name(message.category).removeprefix("IMAGE_CATEGORY_"),
        "reference": message.reference,
        "organization": message.organization,
    }


def request(case: Case) -> policy_decision_pb2.DecideRequest:
    """The row's question, asked by a caller that stands for acme."""
    return policy_decision_pb2.DecideRequest(
        identity=mapping.identity_to_message(case.identity), reference=case.reference, organizations=[ORGANIZATION]
    )


async def answers(service: Service, case: Case) -> list[decision_pb2.Decision]:
    """The row's decision by Decide, twice (the second is a ready answer), BatchDecide and StreamDecide."""
    one = request(case)
    unary = [(await service.call(service.decisions.Decide, one)).decision for _ in range(2)]
    batch = policy_decision_pb2.BatchDecideRequest(
        identity=one.identity, references=[case.reference], organizations=one.organizations
    )
    (item,) = (await service.call(service.decisions.BatchDecide, batch)).decisions
    question = policy_decision_pb2.StreamDecideRequest(
        identity=one.identity, reference=case.reference, organizations=one.organizations
    )
    stream = service.decisions.StreamDecide(iter([question]), metadata=service.metadata)
    streamed = [response.decision async for response in stream]
    return [*unary, item.decision, *streamed]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in read_cases()])
async def test_decision(case: Case, serve: Serve) -> None:
    """Every method decides each row as the table says, and ends or marks the ones without a decision."""
    async with serve(
        store=await store_with(case), clock=Clock(case.now), catalogue=catalogue(case), category_sources="catalogue"
    ) as service:
        if "error" in case.expect:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await service.call(service.decisions.Decide, request(case))

            assert case.expect["error"] == raised.value.code().name
            return
        decisions = await answers(service, case)

    assert len(decisions) == 4
    for decision in decisions:
        assert dict(case.expect) == {name: told(decision)[name] for name in case.expect}
