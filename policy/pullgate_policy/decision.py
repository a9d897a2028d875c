"""The decision: may this identity use this image?

A pure function of the policies, the pins, the identity, the reference, what is known of categories, and the time. The
same inputs give the same answer in the server, in a sidecar and in a client's own process. Nothing here waits: where a
category is needed that was not handed in, the answer is `CategoryNeeded`, and the caller asks again with it.

The rules are tried in the order in which they stand in `_judge`; the first that applies decides. The order is the
product: owners before lists, blocklist before allowlist, lists before categories.
"""

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.category import Category, CategoryEvidence
from pullgate_policy.docker_hub import HubRepository, hub_repository
from pullgate_policy.identity import CredentialKind, Identity, Membership, Role
from pullgate_policy.pins import NO_PINS, Pins
from pullgate_policy.policy import Effect, Mode, Policy
from pullgate_policy.reference import OFFICIAL_NAMESPACE, Reference, canonical_registry


class Reason(enum.Enum):
    """Which rule decided."""

    POLICY_DISABLED = enum.auto()
    """The organization restricts nothing."""
    SIGN_IN_REQUIRED = enum.auto()
    """Nobody is signed in with the organization, and it requires that."""
    NOT_SIGNED_IN = enum.auto()
    """Nobody is signed in with the organization, and it does not require that."""
    CREDENTIAL_NOT_SUPPORTED = enum.auto()
    """Signed in with a kind of credential that the policy does not admit."""
    ORGANIZATION_OWNER = enum.auto()
    """Owners are exempt."""
    REGISTRY_NOT_ALLOWED = enum.auto()
    """The registry may not be contacted."""
    NOT_GOVERNED = enum.auto()
    """Not an image of Docker Hub, or image access is not restricted."""
    BLOCKLISTED = enum.auto()
    """On the blocklist."""
    ALLOWLISTED = enum.auto()
    """On the allowlist."""
    CATEGORY_ALLOWED = enum.auto()
    """Its category is allowed."""
    CATEGORY_UNKNOWN = enum.auto()
    """Nobody can tell its category, and the policy says what holds then."""
    CATEGORY_NOT_ALLOWED = enum.auto()
    """Its category is not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answer, and everything that explains it.

    Attributes:
        effect: what to do.
        policy_effect: what the policy says; differs from `effect` only in monitor mode.
        enforced: False where monitor mode turned a denial into ALLOW.
        reason: which rule decided.
        message: the sentence for the person who pulls; empty where nothing is denied.
        help: the organization's own text, with every denial.
        evidence: the category and how it is known; None where no rule needed it.
        reference: as it was read, normalised.
        repository: the Docker Hub repository that was judged; None if it is none.
        organization: whose policy this is.
        matched_rule: where in the policy the rule stands.
        valid_until: when time alone may change the answer, in whichever organization; None for never.
    """

    effect: Effect
    policy_effect: Effect
    enforced: bool
    reason: Reason
    message: str
    help: str
    evidence: CategoryEvidence | None
    reference: Reference
    repository: HubRepository | None
    organization: str
    matched_rule: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class CategoryNeeded:
    """No answer yet: ask again with this repository's category among the known ones."""

    repository: HubRepository


_DECIDED_BY_POLICY = frozenset(Reason) - {
    Reason.POLICY_DISABLED,
    Reason.SIGN_IN_REQUIRED,
    Reason.NOT_SIGNED_IN,
    Reason.CREDENTIAL_NOT_SUPPORTED,
    Reason.CATEGORY_NOT_ALLOWED,
}
"""Rules 5 to 12: among several organizations that allow, the first one of these is named."""


def organizations_concerned(identity: Identity, asked: Iterable[str]) -> tuple[str, ...]:
    """The organizations that have a say, each once: those signed in with, then those asked about."""
    return tuple(dict.fromkeys([*(membership.organization for membership in identity.memberships), *asked]))


def decide(
    organizations: Sequence[str],
    policies: Mapping[str, Policy],
    identity: Identity,
    reference: Reference,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: Pins = NO_PINS,
) -> Decision | CategoryNeeded:
    """Whether `identity` may use `reference`, as far as `organizations` have a say (at least one).

    Each is decided on its own. Any denial wins, and the answer names the organization that denied. With no denial the
    answer names the first organization in which rules 5 to 12 applied, else the first that would have denied had it
    not been in monitor mode, else the first.

    Args:
        categories: what the sources say; images of `library` are official where it says nothing of them.
    """
    decisions: list[Decision] = []
    for organization in organizations:
        decision = _decide_in(organization, policies.get(organization), identity, reference, categories, now, pins)
        if isinstance(decision, CategoryNeeded):
            return decision
        decisions.append(decision)
        if decision.effect is Effect.DENY:
            break
    if len(decisions) == 1:
        return decisions[0]
    changes = [decision.valid_until for decision in decisions if decision.valid_until is not None]
    return dataclasses.replace(_named(decisions), valid_until=min(changes, default=None))


def _named(decisions: Sequence[Decision]) -> Decision:
    """Of several organizations' decisions the one that the answer names; a denial is the last of them."""
    if decisions[-1].effect is Effect.DENY:
        return decisions[-1]
    by_policy = (decision for decision in decisions if decision.reason in _DECIDED_BY_POLICY)
    monitored = (decision for decision in decisions if not decision.enforced)
    return next(by_policy, None) or next(monitored, None) or decisions[0]


def _decide_in(
    organization: str,
    policy: Policy | None,
    identity: Identity,
    reference: Reference,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: Pins,
) -> Decision | CategoryNeeded:
    if policy is None:
        judgement = _Judgement(Effect.ALLOW, Reason.POLICY_DISABLED)
        repository = hub_repository(reference)
    else:
        repository = hub_repository(reference, policy.docker_hub.mirrors)
        membership = identity.membership_in(organization)
        judged = _judge(policy, membership, identity, reference, repository, categories, now, pins)
        if isinstance(judged, CategoryNeeded):
            return judged
        judgement = judged
    denied = judgement.effect is Effect.DENY
    monitored = denied and policy is not None and policy.image_access.mode is Mode.MONITOR
    return Decision(
        effect=Effect.ALLOW if monitored else judgement.effect,
        policy_effect=judgement.effect,
        enforced=not monitored,
        reason=judgement.reason,
        message=judgement.message,
        help=policy.image_access.help if denied and policy is not None else "",
        evidence=judgement.evidence,
        reference=reference,
        repository=repository,
        organization=organization,
        matched_rule=judgement.matched_rule,
        valid_until=judgement.valid_until,
    )


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What one policy says, before monitor mode."""

    effect: Effect
    reason: Reason
    matched_rule: str = ""
    message: str = ""
    evidence: CategoryEvidence | None = None
    valid_until: datetime | None = None


def _judge(
    policy: Policy,
    membership: Membership | None,
    identity: Identity,
    reference: Reference,
    repository: HubRepository | None,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: Pins,
) -> _Judgement | CategoryNeeded:
    access = policy.image_access
    if not access.enabled and not policy.registry_access.enabled:
        return _Judgement(Effect.ALLOW, Reason.POLICY_DISABLED, "image_access.enabled")
    if membership is None or not identity.username:
        if policy.sign_in.required:
            message = f"image access denied: sign-in with organization {policy.organization} is required"
            return _Judgement(Effect.DENY, Reason.SIGN_IN_REQUIRED, "sign_in.required", message)
        return _Judgement(Effect.ALLOW, Reason.NOT_SIGNED_IN, "sign_in.required")
    by_organization_token = identity.credential is CredentialKind.ORGANIZATION_ACCESS_TOKEN
    if by_organization_token and policy.sign_in.organization_access_tokens is Effect.DENY:
        message = "image access denied: organization access tokens are not supported, use a personal access token"
        rule = "sign_in.organization_access_tokens"
        return _Judgement(Effect.DENY, Reason.CREDENTIAL_NOT_SUPPORTED, rule, message)
    if membership.role is Role.OWNER:
        return _Judgement(Effect.ALLOW, Reason.ORGANIZATION_OWNER, "role: owner")
    if policy.registry_access.enabled:
        registry = canonical_registry(reference.registry) or reference.registry
        if registry not in policy.registry_access.allowed:
            message = f"registry access to {registry} is not allowed"
            return _Judgement(Effect.DENY, Reason.REGISTRY_NOT_ALLOWED, "registry_access.allowed", message)
    if not access.enabled:
        return _Judgement(Effect.ALLOW, Reason.NOT_GOVERNED, "image_access.enabled")
    if repository is None:
        return _Judgement(Effect.ALLOW, Reason.NOT_GOVERNED, "docker_hub.mirrors")
    return (
        _judge_by_lists(policy, membership, reference, repository, now)
        or _judge_by_category(policy, membership, repository, categories, now, pins)
    )  # fmt: skip


def _judge_by_lists(
    policy: Policy, membership: Membership, reference: Reference, repository: HubRepository, now: datetime
) -> _Judgement | None:
    access = policy.image_access
    for index, blocked in access.blocklist.about(repository):
        message = f"image access denied: {repository} is blocked by organization {policy.organization}"
        rule = f"image_access.blocklist[{index}]: {blocked.repository}"
        return _Judgement(Effect.DENY, Reason.BLOCKLISTED, rule, message)
    if not access.allowlist.enabled:
        return None
    for index, allowed in access.allowlist.repositories.about(repository):
        for_everyone_or_a_team = not allowed.teams or not allowed.teams.isdisjoint(membership.teams)
        expired = allowed.expires_at is not None and allowed.expires_at <= now
        if for_everyone_or_a_team and not expired and allowed.repository.matches_tag(reference.tag, reference.digest):
            rule = f"image_access.allowlist.repositories[{index}]: {allowed.repository}"
            return _Judgement(Effect.ALLOW, Reason.ALLOWLISTED, rule, valid_until=allowed.expires_at)
    return None


def _judge_by_category(
    policy: Policy,
    membership: Membership,
    repository: HubRepository,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: Pins,
) -> _Judgement | CategoryNeeded:
    access = policy.image_access
    evidence, known_until = _category(policy, repository, categories, now, pins)
    if evidence is None:
        return CategoryNeeded(repository)
    if evidence.category is Category.UNKNOWN:
        rule = "image_access.on_unknown_category"
        message = ""
        if access.on_unknown_category is Effect.DENY:
            message = f"image access denied: category of {repository} could not be determined"
        return _Judgement(access.on_unknown_category, Reason.CATEGORY_UNKNOWN, rule, message, evidence, known_until)
    setting, allowed = access.allow.setting_for(evidence.category, evidence.community_class)
    rule = f"image_access.allow.{setting}"
    if not allowed:
        for team in sorted(membership.teams & access.teams.keys()):
            granted_setting, granted = access.teams[team].setting_for(evidence.category, evidence.community_class)
            if granted:
                allowed, rule = True, f"image_access.teams.{team}.{granted_setting}"
                break
    if allowed:
        return _Judgement(Effect.ALLOW, Reason.CATEGORY_ALLOWED, rule, "", evidence, known_until)
    message = f"image access denied: {evidence.category.value} images not allowed"
    return _Judgement(Effect.DENY, Reason.CATEGORY_NOT_ALLOWED, rule, message, evidence, known_until)


def _category(
    policy: Policy,
    repository: HubRepository,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: Pins,
) -> tuple[CategoryEvidence | None, datetime | None]:
    """What the category is, if that can be told, and when time alone changes that."""
    evidence, known_until = known_without_sources(policy.organization, policy.namespaces, repository, pins, now)
    if evidence is None or evidence is _OFFICIAL:
        return categories.get(repository, evidence), None
    return evidence, known_until


def known_without_sources(
    organization: str, namespaces: frozenset[str], repository: HubRepository, pins: Pins, now: datetime
) -> tuple[CategoryEvidence | None, datetime | None]:
    """What a repository's category is for an organization with these namespaces, if no source need be asked.

    Returns:
        The category, and when time alone changes that.
    """
    if repository.namespace in namespaces:
        return _OWN_NAMESPACE, None
    pin = pins.holding(organization, repository, now)
    if pin is not None:
        return pin.evidence, pin.expires_at
    return (_OFFICIAL if repository.namespace == OFFICIAL_NAMESPACE else None), None


_OWN_NAMESPACE = CategoryEvidence(
    category=Category.ORGANIZATION, source="namespace", detail="a namespace of the organization itself"
)

_OFFICIAL = CategoryEvidence(
    category=Category.OFFICIAL, source="namespace", detail="the namespace of Docker Official Images"
)
