"""What holds for every decision, whatever the policy, the identity, the image and the time."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from pullgate_policy import (
    CategoryEvidence,
    CategoryNeeded,
    Decision,
    Effect,
    HubRepository,
    Identity,
    Membership,
    Mode,
    Policy,
    Reason,
    Role,
    decide,
    parse_reference,
)
from pullgate_policy.pins import Pins
from pullgate_policy.policy import TeamGrant
from pullgate_policy.repository_rules import RepositoryRules
from tests.policy import strategies as of

Categories = Mapping[HubRepository, CategoryEvidence]
GIVEN = given(of.policies(), of.identities, of.references, of.categories, of.moments)
DENIED_FOR_MISSING_MEMBERSHIP = {Reason.SIGN_IN_REQUIRED, Reason.CREDENTIAL_NOT_SUPPORTED}


def ask(policy: Policy, identity: Identity, reference: str, categories: Categories, now: datetime) -> Decision:
    """The decision of one organization; every category that can be needed is known."""
    decision = decide(
        [policy.organization], {policy.organization: policy}, identity, parse_reference(reference), categories, now
    )
    assert not isinstance(decision, CategoryNeeded)
    return decision


def with_image_access(policy: Policy, **changes: object) -> Policy:
    """The policy with other settings of image access."""
    return dataclasses.replace(policy, image_access=dataclasses.replace(policy.image_access, **changes))  # type: ignore[arg-type]


@GIVEN
def test_total(policy: Policy, identity: Identity, reference: str, categories: Categories, now: datetime) -> None:
    """There is always an answer, it is of one piece, and asking again gives it again."""
    decision = ask(policy, identity, reference, categories, now)

    assert decision == ask(policy, identity, reference, categories, now)
    assert (decision.policy_effect is Effect.DENY) == bool(decision.message)
    assert decision.enforced == (decision.effect is decision.policy_effect)
    assert decision.organization == "acme"


@GIVEN
def test_needs_only_what_it_asks_for(
    policy: Policy, identity: Identity, reference: str, categories: Categories, now: datetime
) -> None:
    """With nothing known the answer is a decision, or the one category that is needed for the same decision."""
    full = ask(policy, identity, reference, categories, now)
    first = decide(["acme"], {"acme": policy}, identity, parse_reference(reference), {}, now)
    if isinstance(first, CategoryNeeded):
        known = {first.repository: categories[first.repository]}
        first_with = decide(["acme"], {"acme": policy}, identity, parse_reference(reference), known, now)
        assert full == first_with
    else:
        assert full == first


@given(of.policies(), of.identities, of.references, of.categories, of.moments, of.allowed_repositories)
def test_an_allowlist_entry_only_widens(policy, identity, reference, categories, now, entry) -> None:
    """One more entry on the allowlist never turns ALLOW into DENY."""
    access = policy.image_access
    longer = dataclasses.replace(
        access.allowlist, repositories=RepositoryRules([*access.allowlist.repositories.rules, entry])
    )
    before = ask(policy, identity, reference, categories, now)
    after = ask(with_image_access(policy, allowlist=longer), identity, reference, categories, now)

    assert not (before.effect is Effect.ALLOW and after.effect is Effect.DENY)


@given(of.policies(), of.identities, of.references, of.categories, of.moments, st.sampled_from(of.TEAMS), of.grants)
def test_a_team_grant_only_widens(policy, identity, reference, categories, now, team, grant) -> None:
    """A grant to a team that had none never turns ALLOW into DENY."""
    assume(team not in policy.image_access.teams)
    teams: dict[str, TeamGrant] = {**policy.image_access.teams, team: grant}
    before = ask(policy, identity, reference, categories, now)
    after = ask(with_image_access(policy, teams=teams), identity, reference, categories, now)

    assert not (before.effect is Effect.ALLOW and after.effect is Effect.DENY)


@given(of.policies(), of.identities, of.references, of.categories, of.moments, of.blocked_repositories)
def test_a_blocklist_entry_only_narrows(policy, identity, reference, categories, now, entry) -> None:
    """One more entry on the blocklist never turns DENY into ALLOW."""
    longer = RepositoryRules([*policy.image_access.blocklist.rules, entry])
    before = ask(policy, identity, reference, categories, now)
    after = ask(with_image_access(policy, blocklist=longer), identity, reference, categories, now)

    assert not (before.effect is Effect.DENY and after.effect is Effect.ALLOW)


@GIVEN
def test_monitor_mode_never_denies(policy, identity, reference, categories, now) -> None:
    """Monitor mode allows, and says all else that enforcing says."""
    enforcing = ask(with_image_access(policy, mode=Mode.ENFORCE), identity, reference, categories, now)
    monitoring = ask(with_image_access(policy, mode=Mode.MONITOR), identity, reference, categories, now)

    assert Effect.ALLOW is monitoring.effect
    assert enforcing == dataclasses.replace(monitoring, effect=monitoring.policy_effect, enforced=True)


@GIVEN
def test_owners_are_never_denied_once_rule_5_is_reached(policy, identity, reference, categories, now) -> None:
    """An owner is denied by rules 2 to 4 alone."""
    owner = Membership(organization="acme", role=Role.OWNER)
    identity = Identity(username="boss", memberships=(owner,), credential=identity.credential)
    decision = ask(policy, identity, reference, categories, now)

    assert decision.policy_effect is Effect.ALLOW or decision.reason in DENIED_FOR_MISSING_MEMBERSHIP


@given(
    of.policies("acme"),
    of.policies("globex"),
    of.identities,
    of.references,
    of.categories,
    of.pins.map(Pins),
    of.moments,
    of.moments,
)
def test_nothing_changes_before_valid_until(acme, globex, identity, reference, categories, pins, now, later) -> None:
    """Until the moment that a decision names, time does not change it, however many organizations have a say."""
    now, later = sorted((now, later))
    policies = {"acme": acme, "globex": globex}
    for organizations in (["acme"], ["acme", "globex"]):
        first, second = (
            decide(organizations, policies, identity, parse_reference(reference), categories, moment, pins=pins)
            for moment in (now, later)
        )
        assert isinstance(first, Decision)
        assert isinstance(second, Decision)
        if first.valid_until is None or later < first.valid_until:
            assert first == second


@given(of.policies("acme"), of.policies("globex"), of.identities, of.references, of.categories, of.moments)
def test_any_denial_wins(acme, globex, identity, reference, categories, now) -> None:
    """Among organizations the first denial is the answer; without one the answer allows."""
    policies = {"acme": acme, "globex": globex}
    together = decide(["acme", "globex"], policies, identity, parse_reference(reference), categories, now)
    alone = [ask(policy, identity, reference, categories, now) for policy in (acme, globex)]
    denials = [decision for decision in alone if decision.effect is Effect.DENY]

    assert isinstance(together, Decision)
    timeless = [dataclasses.replace(decision, valid_until=None) for decision in alone]
    assert dataclasses.replace(together, valid_until=None) in timeless
    if denials:
        assert together.organization == denials[0].organization
    assert (Effect.DENY if denials else Effect.ALLOW) is together.effect
