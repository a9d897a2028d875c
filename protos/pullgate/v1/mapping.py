"""Where messages of pullgate.v1 end: every one becomes a value of `pullgate_policy` here, or is made from one.

Reading checks: what is wrong with a message is raised as the error that the value itself would raise, with the path
of the field.
"""

import enum
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf import json_format, timestamp_pb2

from pullgate.v1 import decision_pb2, identity_pb2, policy_admin_pb2, policy_pb2
from pullgate_policy import (
    Category,
    CategoryEvidence,
    CommunityClass,
    CredentialKind,
    Decision,
    Effect,
    HubRepository,
    Identity,
    InvalidIdentityError,
    InvalidPolicyError,
    Membership,
    Policy,
    Problem,
    Reason,
    Role,
    parse_policy,
    parse_reference,
    policy_data,
)
from pullgate_policy.answer import Answer
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy

E = TypeVar("E", bound=enum.Enum)

_POLICY_ENUMS = {
    ("image_access", "mode"): policy_pb2.PolicyMode,
    ("image_access", "on_unknown_category"): policy_pb2.PolicyChoice,
    ("sign_in", "organization_access_tokens"): policy_pb2.PolicyChoice,
}
_POLICY_ENUM_PREFIXES = {policy_pb2.PolicyMode: "POLICY_MODE_", policy_pb2.PolicyChoice: "POLICY_CHOICE_"}


def _numbers(values: type[E], messages: Any, prefix: str) -> dict[E, int]:
    """The number on the wire of each member, by name; fails at import if the contract lacks one."""
    return {member: messages.Value(prefix + member.name) for member in values if member.name != "UNSPECIFIED"}


_EFFECTS = _numbers(Effect, decision_pb2.Effect, "EFFECT_")
_REASONS = _numbers(Reason, decision_pb2.Reason, "REASON_")
_CATEGORIES = _numbers(Category, decision_pb2.ImageCategory, "IMAGE_CATEGORY_")
_COMMUNITY_CLASSES = _numbers(CommunityClass, decision_pb2.CommunityClass, "COMMUNITY_CLASS_")
_ROLES = _numbers(Role, identity_pb2.Role, "ROLE_")
_CREDENTIALS = {
    CredentialKind.UNSPECIFIED: 0,
    **_numbers(CredentialKind, identity_pb2.CredentialKind, "CREDENTIAL_KIND_"),
}
_ROLE_OF = {0: Role.MEMBER, **{number: role for role, number in _ROLES.items()}}
_CREDENTIAL_OF = {number: kind for kind, number in _CREDENTIALS.items()}
_EFFECT_OF = {number: effect for effect, number in _EFFECTS.items()}
_REASON_OF = {number: reason for reason, number in _REASONS.items()}
_CATEGORY_OF = {number: category for category, number in _CATEGORIES.items()}
_COMMUNITY_CLASS_OF = {number: word for word, number in _COMMUNITY_CLASSES.items()}


def identity_from_message(message: identity_pb2.Identity) -> Identity:
    """The identity, `token` left aside; raises InvalidIdentityError."""
    memberships = []
    for index, membership in enumerate(message.memberships):
        if membership.role not in _ROLE_OF:
            raise InvalidIdentityError(f"memberships[{index}].role", f"{membership.role} is no role")
        memberships.append(
            Membership(
                organization=membership.organization,
                role=_ROLE_OF[membership.role],
                teams=frozenset(membership.teams),
            )
        )
    if message.credential not in _CREDENTIAL_OF:
        raise InvalidIdentityError("credential", f"{message.credential} is no kind of credential")
    return Identity(
        username=message.username,
        memberships=tuple(memberships),
        credential=_CREDENTIAL_OF[message.credential],
    )


def identity_to_message(identity: Identity) -> identity_pb2.Identity:
    """The message for an identity."""
    return identity_pb2.Identity(
        username=identity.username,
        memberships=[
            identity_pb2.Membership(
                organization=membership.organization,
                role=identity_pb2.Role.ValueType(_ROLES[membership.role]),
                teams=sorted(membership.teams),
            )
            for membership in identity.memberships
        ],
        credential=identity_pb2.CredentialKind.ValueType(_CREDENTIALS[identity.credential]),
    )


def answer_to_message(answer: Answer) -> decision_pb2.Decision:
    """The message for an answer."""
    decision = answer.decision
    message = decision_pb2.Decision(
        effect=decision_pb2.Effect.ValueType(_EFFECTS[decision.effect]),
        policy_effect=decision_pb2.Effect.ValueType(_EFFECTS[decision.policy_effect]),
        enforced=decision.enforced,
        reason=decision_pb2.Reason.ValueType(_REASONS[decision.reason]),
        message=decision.message,
        help=decision.help,
        reference=str(decision.reference),
        organization=decision.organization,
        matched_rule=decision.matched_rule,
        policy_revision=answer.policy_revision,
        decision_id=answer.decision_id,
        repository="" if decision.repository is None else str(decision.repository),
    )
    message.cacheable_for.FromTimedelta(answer.cacheable_for)
    evidence = decision.evidence
    if evidence is not None:
        message.category = decision_pb2.ImageCategory.ValueType(_CATEGORIES[evidence.category])
        message.evidence.source = evidence.source
        message.evidence.detail = evidence.detail
        message.evidence.stale = evidence.stale
        if evidence.checked_at is not None:
            message.evidence.checked_at.FromDatetime(evidence.checked_at)
        if evidence.community_class is not None:
            number = _COMMUNITY_CLASSES[evidence.community_class]
            message.evidence.community_class = decision_pb2.CommunityClass.ValueType(number)
    return message


def answer_from_message(message: decision_pb2.Decision) -> Answer:
    """The answer that a service sent."""
    evidence = None
    if message.category:
        evidence = CategoryEvidence(
            category=_CATEGORY_OF[message.category],
            community_class=_COMMUNITY_CLASS_OF.get(message.evidence.community_class),
            source=message.evidence.source,
            detail=message.evidence.detail,
            checked_at=_moment(message.evidence.checked_at) if message.evidence.HasField("checked_at") else None,
            stale=message.evidence.stale,
        )
    decision = Decision(
        effect=_EFFECT_OF[message.effect],
        policy_effect=_EFFECT_OF[message.policy_effect],
        enforced=message.enforced,
        reason=_REASON_OF[message.reason],
        message=message.message,
        help=message.help,
        evidence=evidence,
        reference=parse_reference(message.reference),
        repository=HubRepository(message.repository.partition("/")[2]) if message.repository else None,
        organization=message.organization,
        matched_rule=message.matched_rule,
        valid_until=None,
    )
    return Answer(
        decision=decision,
        policy_revision=message.policy_revision,
        decision_id=message.decision_id,
        cacheable_for=message.cacheable_for.ToTimedelta(),
    )


def policy_from_message(message: policy_pb2.Policy) -> Policy:
    """The policy; raises InvalidPolicyError with every problem and its path, as for a YAML document."""
    try:
        data: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError) as error:
        raise InvalidPolicyError([Problem("", f"a time is out of range: {error}")]) from error
    for (section, key), messages in _POLICY_ENUMS.items():
        word = data.get(section, {}).get(key)
        if isinstance(word, str):
            data[section][key] = word.removeprefix(_POLICY_ENUM_PREFIXES[messages]).lower()
    return parse_policy(data)


def policy_to_message(policy: Policy) -> policy_pb2.Policy:
    """The message for a policy, with every setting spelled out."""
    data: Any = policy_data(policy)
    for (section, key), messages in _POLICY_ENUMS.items():
        data[section][key] = _POLICY_ENUM_PREFIXES[messages] + data[section][key].upper()
    return json_format.ParseDict(data, policy_pb2.Policy())


def pin_from_message(message: policy_admin_pb2.CategoryPin, *, author: str, now: datetime) -> CategoryPin:
    """The pin that `author` asks for; raises InvalidPinError."""
    return CategoryPin.checked(
        name=message.name,
        category=_CATEGORY_OF.get(message.category),
        community_class=_COMMUNITY_CLASS_OF.get(message.community_class),
        reason=message.reason,
        author=author,
        written_at=now,
    )


def pin_to_message(pin: CategoryPin) -> policy_admin_pb2.CategoryPin:
    """The message for a pin."""
    community_class = 0 if pin.community_class is None else _COMMUNITY_CLASSES[pin.community_class]
    return policy_admin_pb2.CategoryPin(
        name=pin.name,
        category=decision_pb2.ImageCategory.ValueType(_CATEGORIES[pin.category]),
        community_class=decision_pb2.CommunityClass.ValueType(community_class),
        reason=pin.reason,
        author=pin.author,
        written_at=_timestamp(pin.written_at),
    )


def pin_as_stored(message: policy_admin_pb2.CategoryPin) -> CategoryPin:
    """The pin that a service sent."""
    return pin_from_message(message, author=message.author, now=_moment(message.written_at))


def stored_policy_to_message(stored: StoredPolicy) -> policy_admin_pb2.StoredPolicy:
    """The message for a policy as it was written."""
    return policy_admin_pb2.StoredPolicy(
        policy=policy_to_message(stored.policy),
        revision=stored.revision,
        author=stored.author,
        written_at=_timestamp(stored.written_at),
        comment=stored.comment,
    )


def stored_policy_from_message(message: policy_admin_pb2.StoredPolicy) -> StoredPolicy:
    """The policy that a service sent."""
    return StoredPolicy(
        policy=policy_from_message(message.policy),
        revision=message.revision,
        author=message.author,
        written_at=_moment(message.written_at),
        comment=message.comment,
    )


def _moment(message: timestamp_pb2.Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message
