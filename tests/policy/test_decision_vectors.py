"""The tables of decisions, replayed on the pure function."""

import pytest

from pullgate_policy import (
    CategoryEvidence,
    CategoryNeeded,
    Decision,
    HubRepository,
    InvalidReferenceError,
    decide,
    organizations_concerned,
    parse_reference,
)
from tests.vectors import ORGANIZATION, Case, read_cases


def decide_case(case: Case) -> Decision:
    """The row's decision; a category is handed in once it is asked for."""
    organizations = organizations_concerned(case.identity, [ORGANIZATION])
    reference = parse_reference(case.reference)
    known: dict[HubRepository, CategoryEvidence] = {}
    while True:
        answer = decide(organizations, case.policies, case.identity, reference, known, case.now)
        if not isinstance(answer, CategoryNeeded):
            return answer
        assert answer.repository not in known
        known[answer.repository] = case.category_of(answer.repository)


def told(decision: Decision) -> dict[str, object]:
    """The decision in the words of the tables."""
    return {
        "effect": decision.effect.name,
        "policy_effect": decision.policy_effect.name,
        "enforced": decision.enforced,
        "reason": decision.reason.name,
        "message": decision.message,
        "help": decision.help,
        "category": decision.evidence.category.name if decision.evidence else None,
        "reference": str(decision.reference),
        "organization": decision.organization,
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in read_cases()])
def test_decision(case: Case) -> None:
    """The pure function decides each row as the table says."""
    if case.expect.get("error"):
        with pytest.raises(InvalidReferenceError):
            decide_case(case)
        return
    decision = told(decide_case(case))

    assert dict(case.expect) == {field: decision[field] for field in case.expect}
