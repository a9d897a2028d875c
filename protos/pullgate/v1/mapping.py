"""Where messages of pullgate.v1 end: every one becomes a value of `pullgate_policy` here, or is made from one.

Reading checks: what is wrong with a message is raised as the error that the value itself would raise, with the path
of the field.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor

from pullgate.v1 import (
    access_token_pb2,
    decision_pb2,
    event_pb2,
    identity_pb2,
    member_pb2,
    policy_admin_pb2,
    policy_pb2,
    policy_watch_pb2,
)
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
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.caller import Caller
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory, LookupStep, Outcome
from pullgate_policy.changes import SettingChange
from pullgate_policy.document import Plain
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member, parse_members
from pullgate_policy.pins import CategoryPin, InvalidPinError, PinKey
from pullgate_policy.policy_state import StateChange
from pullgate_policy.stored_policy import PolicyRevision, StoredPolicy
from pullgate_policy.subscriber import Subscriber
from pullgate_policy.watch import (
    Bookmark,
    CategoriesFound,
    Changed,
    GoAway,
    GoAwayReason,
    Opened,
    SnapshotEnd,
    SnapshotPart,
    WatchEvent,
)

E = TypeVar("E", bound=enum.Enum)

Setting = tuple[str, ...]
"""Where a setting stands in a policy, key by key."""

_KEY = re.compile(r'"([^"]+)"|([^."]+)')

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
_OUTCOMES = _numbers(Outcome, policy_admin_pb2.CategoryLookupOutcome, "CATEGORY_LOOKUP_OUTCOME_")
_ROLES = _numbers(Role, identity_pb2.Role, "ROLE_")
_CREDENTIALS = {
    CredentialKind.UNSPECIFIED: 0,
    **_numbers(CredentialKind, identity_pb2.CredentialKind, "CREDENTIAL_KIND_"),
}
_CALLER_ROLES = _numbers(CallerRole, access_token_pb2.CallerRole, "CALLER_ROLE_")
_CALLER_ROLE_OF = {number: role for role, number in _CALLER_ROLES.items()}
_GO_AWAY_REASONS = _numbers(GoAwayReason, policy_watch_pb2.GoAwayReason, "GO_AWAY_REASON_")
_GO_AWAY_REASON_OF = {number: reason for reason, number in _GO_AWAY_REASONS.items()}
_SUBJECTS = _numbers(EventSubject, event_pb2.EventSubject, "EVENT_SUBJECT_")
_SUBJECT_OF = {number: subject for subject, number in _SUBJECTS.items()}
_ROLE_OF = {0: Role.MEMBER, **{number: role for role, number in _ROLES.items()}}
_CREDENTIAL_OF = {number: kind for kind, number in _CREDENTIALS.items()}
_EFFECT_OF = {number: effect for effect, number in _EFFECTS.items()}
_REASON_OF = {number: reason for reason, number in _REASONS.items()}
_CATEGORY_OF = {number: category for category, number in _CATEGORIES.items()}
_OUTCOME_OF = {number: outcome for outcome, number in _OUTCOMES.items()}
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
    message.notes.extend(answer.notes)
    if answer.known_as_of is not None:
        message.known_as_of.FromDatetime(answer.known_as_of)
    if decision.evidence is not None:
        message.category = category_to_message(decision.evidence.category)
        message.evidence.CopyFrom(evidence_to_message(decision.evidence))
    return message


def category_to_message(category: Category) -> decision_pb2.ImageCategory.ValueType:
    """The number of a category."""
    return decision_pb2.ImageCategory.ValueType(_CATEGORIES[category])


def evidence_to_message(evidence: CategoryEvidence) -> decision_pb2.CategoryEvidence:
    """The message for what is known of a category; the category itself stands beside it."""
    message = decision_pb2.CategoryEvidence(
        source=evidence.source,
        detail=evidence.detail,
        stale=evidence.stale,
        checked_at=timestamp(evidence.checked_at),
        refresh_at=timestamp(evidence.refresh_at),
    )
    if evidence.community_class is not None:
        number = _COMMUNITY_CLASSES[evidence.community_class]
        message.community_class = decision_pb2.CommunityClass.ValueType(number)
    return message


def evidence_from_message(
    category: decision_pb2.ImageCategory.ValueType, message: decision_pb2.CategoryEvidence
) -> CategoryEvidence:
    """What is known of a category, from the category and what stands beside it. A newer contract's is UNKNOWN here."""
    return CategoryEvidence(
        category=_CATEGORY_OF.get(category, Category.UNKNOWN),
        community_class=_COMMUNITY_CLASS_OF.get(message.community_class),
        source=message.source,
        detail=message.detail,
        checked_at=moment_of(message, "checked_at"),
        stale=message.stale,
        refresh_at=moment_of(message, "refresh_at"),
    )


def category_from_message(number: decision_pb2.ImageCategory.ValueType) -> Category | None:
    """The category; None for a number that stands for none."""
    return _CATEGORY_OF.get(number)


def category_lookup_to_message(lookup: CategoryLookup) -> policy_admin_pb2.CategoryLookup:
    """The message for what is known of a name, and who was asked."""
    return policy_admin_pb2.CategoryLookup(
        name=lookup.name,
        category=category_to_message(lookup.evidence.category),
        evidence=evidence_to_message(lookup.evidence),
        steps=[
            policy_admin_pb2.CategoryLookupStep(
                source=step.source,
                outcome=policy_admin_pb2.CategoryLookupOutcome.ValueType(_OUTCOMES[step.outcome]),
                detail=step.detail,
                actions=step.actions,
            )
            for step in lookup.steps
        ],
        whole_namespace=lookup.whole_namespace,
    )


def category_lookup_from_message(message: policy_admin_pb2.CategoryLookup) -> CategoryLookup:
    """What is known of a name, and who was asked."""
    return CategoryLookup(
        name=message.name,
        evidence=evidence_from_message(message.category, message.evidence),
        steps=tuple(
            LookupStep(
                source=step.source, outcome=_OUTCOME_OF[step.outcome], detail=step.detail, actions=tuple(step.actions)
            )
            for step in message.steps
        ),
        whole_namespace=message.whole_namespace,
    )


def known_category_to_message(known: KnownCategory) -> policy_admin_pb2.KnownCategory:
    """The message for what is known of a name."""
    return policy_admin_pb2.KnownCategory(
        name=known.name,
        category=category_to_message(known.evidence.category),
        evidence=evidence_to_message(known.evidence),
    )


def known_category_from_message(message: policy_admin_pb2.KnownCategory) -> KnownCategory:
    """What is known of a name."""
    return KnownCategory(name=message.name, evidence=evidence_from_message(message.category, message.evidence))


class UnknownEffectError(ValueError):
    """A decision has an effect that this version of the contract does not know."""


def answer_from_message(message: decision_pb2.Decision) -> Answer:
    """The answer that a service sent.

    A reason of a newer contract stands as CATEGORY_UNKNOWN, the one that goes with either effect, and a note says so.

    Raises:
        UnknownEffectError: of effects none is taken for another.
    """
    notes = list(message.notes)
    if message.reason not in _REASON_OF:
        notes.append(f"the service's reason has the number {message.reason}, which is newer than this program")
    evidence = evidence_from_message(message.category, message.evidence) if message.category else None
    decision = Decision(
        effect=_effect_from_message(message.effect),
        policy_effect=_effect_from_message(message.policy_effect),
        enforced=message.enforced,
        reason=_REASON_OF.get(message.reason, Reason.CATEGORY_UNKNOWN),
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
        notes=tuple(notes),
        known_as_of=moment_of(message, "known_as_of"),
    )


def _effect_from_message(number: int) -> Effect:
    if number not in _EFFECT_OF:
        raise UnknownEffectError(f"its effect has the number {number}, which is none that is known here")
    return _EFFECT_OF[number]


def policy_from_message(message: policy_pb2.Policy) -> Policy:
    """The policy; raises InvalidPolicyError with every problem and its path, as for a YAML document."""
    return parse_policy(_plain(message))


def _plain(message: policy_pb2.Policy) -> dict[str, Any]:
    """The message as the document it stands for."""
    try:
        data: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError) as error:
        raise InvalidPolicyError([Problem("", f"a time is out of range: {error}")]) from error
    for (section, key), messages in _POLICY_ENUMS.items():
        word = data.get(section, {}).get(key)
        if isinstance(word, str):
            data[section][key] = word.removeprefix(_POLICY_ENUM_PREFIXES[messages]).lower()
    return data


def policy_patched(policy: Policy, message: policy_pb2.Policy, settings: Iterable[Setting]) -> Policy:
    """`policy` with some settings as in `message`; what is unset there takes its default. Raises InvalidPolicyError."""
    data, patch = _plain(message), policy_data(policy)
    for setting in settings:
        target: Any = patch
        for key in setting[:-1]:
            target = target.setdefault(key, {})
        value: Any = data
        for key in setting:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            target.pop(setting[-1], None)
        else:
            target[setting[-1]] = value
    return parse_policy(patch)


def setting_at(path: str) -> Setting | None:
    """The setting that a field mask's path names; None if there is none that can be changed.

    A name with a dot in it stands in quotes, as in image_access.teams."web.eu".community_images.
    """
    keys = tuple(quoted or plain for quoted, plain in _KEY.findall(path))
    remaining = list(keys)
    if keys in {(), ("organization",)} or _KEY.sub("", path) != "." * (len(keys) - 1):
        return None
    descriptor: Descriptor | None = policy_pb2.Policy.DESCRIPTOR
    while remaining:
        field = None if descriptor is None else descriptor.fields_by_name.get(remaining.pop(0))
        if field is None:
            return None
        descriptor = field.message_type
        if descriptor is not None and descriptor.GetOptions().map_entry:
            descriptor = descriptor.fields_by_name["value"].message_type
            del remaining[:1]
        elif field.is_repeated and remaining:
            return None
    return keys


def policy_to_message(policy: Policy) -> policy_pb2.Policy:
    """The message for a policy, with every setting spelled out."""
    data: Any = policy_data(policy)
    for (section, key), messages in _POLICY_ENUMS.items():
        data[section][key] = _POLICY_ENUM_PREFIXES[messages] + data[section][key].upper()
    return json_format.ParseDict(data, policy_pb2.Policy())


def pin_from_message(message: policy_admin_pb2.CategoryPin, *, author: str, now: datetime) -> CategoryPin:
    """The pin that `author` asks for; raises InvalidPinError."""
    try:
        expires_at = moment_of(message, "expires_at")
    except (ValueError, OverflowError) as error:
        raise InvalidPinError("expires_at", f"is out of range: {error}") from error
    return CategoryPin.checked(
        name=message.name,
        category=_CATEGORY_OF.get(message.category),
        community_class=_COMMUNITY_CLASS_OF.get(message.community_class),
        reason=message.reason,
        author=author,
        written_at=now,
        organization=message.organization,
        expires_at=expires_at,
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
        written_at=timestamp(pin.written_at),
        organization=pin.organization,
        expires_at=timestamp(pin.expires_at),
    )


def pin_as_stored(message: policy_admin_pb2.CategoryPin) -> CategoryPin:
    """The pin that a service sent."""
    return pin_from_message(message, author=message.author, now=_moment(message.written_at))


def change_to_message(change: SettingChange) -> policy_admin_pb2.SettingChange:
    """The message for one change of a policy."""
    return policy_admin_pb2.SettingChange(
        path=change.path, before=_value(change.before), after=_value(change.after), meaning=change.meaning
    )


def change_from_message(message: policy_admin_pb2.SettingChange) -> SettingChange:
    """The change that a service sent."""
    return SettingChange(
        path=message.path,
        before=json_format.MessageToDict(message.before),
        after=json_format.MessageToDict(message.after),
        meaning=message.meaning,
    )


def member_to_message(member: Member) -> member_pb2.Member:
    """The message for a member."""
    return member_pb2.Member(
        username=member.username, role=identity_pb2.Role.ValueType(_ROLES[member.role]), teams=sorted(member.teams)
    )


def members_from_messages(messages: Iterable[member_pb2.Member]) -> tuple[Member, ...]:
    """The members; raises InvalidMembersError with every problem and its path."""
    roles = {number: role.value for number, role in _ROLE_OF.items()}
    return parse_members(
        [
            {
                "username": message.username,
                "role": roles.get(message.role, f"{message.role}"),
                "teams": list(message.teams),
            }
            for message in messages
        ]
    )


def member_change_to_message(before: Member | None, after: Member | None) -> member_pb2.MemberChange:
    """The message for somebody's entry before and after a write."""
    return member_pb2.MemberChange(
        before=None if before is None else member_to_message(before),
        after=None if after is None else member_to_message(after),
    )


def member_change_from_message(message: member_pb2.MemberChange) -> tuple[Member | None, Member | None]:
    """The entry before and after a write that a service sent."""
    before, after = (
        members_from_messages([getattr(message, side)])[0] if message.HasField(side) else None
        for side in ("before", "after")
    )
    return before, after


def caller_role_from_message(number: int) -> CallerRole | None:
    """The role; None for what is none."""
    return _CALLER_ROLE_OF.get(number)


def caller_role_to_message(role: CallerRole) -> access_token_pb2.CallerRole.ValueType:
    """The number for a role."""
    return access_token_pb2.CallerRole.ValueType(_CALLER_ROLES[role])


def token_to_message(token: AccessToken) -> access_token_pb2.AccessToken:
    """The message for a token."""
    return access_token_pb2.AccessToken(
        id=token.id,
        name=token.name,
        role=caller_role_to_message(token.role),
        organization=token.organization,
        username=token.username,
        may_assert_roles=token.may_assert_roles,
        created_at=timestamp(token.created_at),
        created_by=token.created_by,
        expires_at=timestamp(token.expires_at),
        revoked_at=timestamp(token.revoked_at),
        last_used_at=timestamp(token.last_used_at),
    )


def token_from_message(message: access_token_pb2.AccessToken) -> AccessToken:
    """The token that a service sent."""
    return AccessToken(
        id=message.id,
        name=message.name,
        role=_CALLER_ROLE_OF[message.role],
        organization=message.organization,
        username=message.username,
        may_assert_roles=message.may_assert_roles,
        created_at=_moment(message.created_at),
        created_by=message.created_by,
        expires_at=moment_of(message, "expires_at"),
        revoked_at=moment_of(message, "revoked_at"),
        last_used_at=moment_of(message, "last_used_at"),
    )


def subject_from_message(number: int) -> EventSubject | None:
    """The subject of a filter; None for every one."""
    return _SUBJECT_OF.get(number)


def subject_to_message(subject: EventSubject | None) -> event_pb2.EventSubject.ValueType:
    """The number for a subject in a filter."""
    return event_pb2.EventSubject.ValueType(0 if subject is None else _SUBJECTS[subject])


def event_to_message(event: AdministrativeEvent) -> event_pb2.AdministrativeEvent:
    """The message for an event."""
    return event_pb2.AdministrativeEvent(
        revision=event.revision,
        subject=subject_to_message(event.subject),
        organization=event.organization,
        name=event.name,
        before=_struct(event.before),
        after=_struct(event.after),
        author=event.author,
        caller_id=event.caller_id,
        origin=event.origin,
        comment=event.comment,
        written_at=timestamp(event.written_at),
    )


def event_from_message(message: event_pb2.AdministrativeEvent) -> AdministrativeEvent:
    """The event that a service sent."""
    before, after = (
        json_format.MessageToDict(getattr(message, side)) if message.HasField(side) else None
        for side in ("before", "after")
    )
    return AdministrativeEvent(
        revision=message.revision,
        subject=_SUBJECT_OF[message.subject],
        organization=message.organization,
        name=message.name,
        before=before,
        after=after,
        author=message.author,
        caller_id=message.caller_id,
        origin=message.origin,
        comment=message.comment,
        written_at=_moment(message.written_at),
        documents_left_out=message.documents_left_out,
    )


def stored_policy_to_message(stored: StoredPolicy) -> policy_admin_pb2.StoredPolicy:
    """The message for a policy as it was written."""
    return policy_admin_pb2.StoredPolicy(
        policy=policy_to_message(stored.policy),
        revision=stored.revision,
        author=stored.author,
        written_at=timestamp(stored.written_at),
        comment=stored.comment,
    )


def revision_to_message(event: AdministrativeEvent) -> policy_admin_pb2.StoredPolicy:
    """The message for one write of a policy's history; without a policy where the write took it away."""
    return policy_admin_pb2.StoredPolicy(
        policy=None if event.after is None else policy_to_message(parse_policy(event.after)),
        revision=event.revision,
        author=event.author,
        written_at=timestamp(event.written_at),
        comment=event.comment,
    )


def revision_from_message(message: policy_admin_pb2.StoredPolicy) -> PolicyRevision:
    """One write of a policy's history that a service sent."""
    return PolicyRevision(
        policy=policy_from_message(message.policy) if message.HasField("policy") else None,
        revision=message.revision,
        author=message.author,
        written_at=_moment(message.written_at),
        comment=message.comment,
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


def moment_of(message: Any, field: str) -> datetime | None:
    """The moment in a message's field; None where it is unset."""
    return _moment(getattr(message, field)) if message.HasField(field) else None


def timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    """The message for a moment; None, which leaves a field unset, for none."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def duration(length: timedelta | None) -> duration_pb2.Duration | None:
    """The message for a length of time; None, which leaves a field unset, for none."""
    if length is None:
        return None
    message = duration_pb2.Duration()
    message.FromTimedelta(length)
    return message


def _value(data: Plain) -> struct_pb2.Value:
    return json_format.ParseDict(cast("dict[str, Any]", data), struct_pb2.Value())


def _struct(data: Mapping[str, Plain] | None) -> struct_pb2.Struct | None:
    return None if data is None else json_format.ParseDict(dict(data), struct_pb2.Struct())


def subscriber_to_message(subscriber: Subscriber) -> policy_admin_pb2.Subscriber:
    """The message for one who subscribes."""
    return policy_admin_pb2.Subscriber(
        subscription_id=subscriber.subscription_id,
        name=subscriber.name,
        caller=subscriber.caller,
        organization=subscriber.organization,
        watched_organizations=subscriber.watched,
        connected_at=timestamp(subscriber.connected_at),
        sent_revision=subscriber.sent_revision,
        applied_revision=subscriber.applied_revision,
        applied_at=timestamp(subscriber.applied_at),
        lag=duration(subscriber.lag),
        error=subscriber.error,
        server=subscriber.server,
    )


def subscriber_from_message(message: policy_admin_pb2.Subscriber) -> Subscriber:
    """The subscriber that a service sent."""
    return Subscriber(
        subscription_id=message.subscription_id,
        name=message.name,
        caller=message.caller,
        organization=message.organization,
        watched=tuple(message.watched_organizations),
        connected_at=_moment(message.connected_at),
        sent_revision=message.sent_revision,
        applied_revision=message.applied_revision,
        applied_at=moment_of(message, "applied_at"),
        lag=message.lag.ToTimedelta() if message.HasField("lag") else None,
        error=message.error,
        server=message.server,
    )


def opened_to_message(opened: Opened) -> policy_watch_pb2.Opened:
    """The message for a subscription that is open."""
    caller = opened.caller
    return policy_watch_pb2.Opened(
        subscription_id=opened.subscription_id,
        store_id=opened.store_id,
        resumed=opened.resumed,
        bookmark_interval=duration(opened.bookmark_interval),
        role=caller_role_to_message(caller.role),
        organization=caller.organization,
        username=caller.username,
        may_assert_roles=caller.may_assert_roles,
        name=caller.name,
        expires_at=timestamp(caller.expires_at),
        newest_revision=opened.newest_revision,
    )


def snapshot_part_to_message(part: SnapshotPart) -> policy_watch_pb2.SnapshotChunk:
    """The message for a part of a snapshot, without its policies, which are written down apart."""
    return policy_watch_pb2.SnapshotChunk(
        members=[organization_member_to_message(organization, member) for organization, member in part.members],
        pins=map(pin_to_message, part.pins),
    )


def organization_member_to_message(organization: str, member: Member) -> policy_watch_pb2.OrganizationMember:
    """The message for an entry of an organization's member list."""
    return policy_watch_pb2.OrganizationMember(organization=organization, member=member_to_message(member))


def changed_to_message(changed: Changed) -> policy_watch_pb2.Change:
    """The message for a change: all of it that is the same for everybody who is told of it, but for its policies."""
    change = changed.change
    return policy_watch_pb2.Change(
        removed_policies=sorted(name for name, stored in change.policies.items() if stored is None),
        members=[
            organization_member_to_message(organization, member)
            for organization, members in change.members.items()
            for member in members.values()
            if member is not None
        ],
        removed_members=[
            policy_watch_pb2.MemberName(organization=organization, username=username)
            for organization, members in change.members.items()
            for username, member in members.items()
            if member is None
        ],
        pins=[pin_to_message(pin) for pin in change.pins.values() if pin is not None],
        removed_pins=[
            policy_watch_pb2.PinName(organization=organization, name=name)
            for (organization, name), pin in change.pins.items()
            if pin is None
        ],
        added=sorted(changed.added),
        written_at=timestamp(changed.written_at),
        author=changed.author,
        comment=changed.comment,
    )


def bookmark_to_message(bookmark: Bookmark) -> policy_watch_pb2.Bookmark:
    """The message for a bookmark."""
    return policy_watch_pb2.Bookmark(
        revision=bookmark.revision,
        resume_token=bookmark.resume_token,
        server_time=timestamp(bookmark.server_time),
        known_as_of=timestamp(bookmark.known_as_of),
    )


def go_away_to_message(go_away: GoAway) -> policy_watch_pb2.GoAway:
    """The message that ends a stream."""
    number = 0 if go_away.reason is None else _GO_AWAY_REASONS[go_away.reason]
    return policy_watch_pb2.GoAway(
        reason=policy_watch_pb2.GoAwayReason.ValueType(number), reconnect_after=duration(go_away.reconnect_after)
    )


def watch_event_from_message(message: policy_watch_pb2.WatchResponse) -> WatchEvent | None:
    """What a service told; None for what is not known here, as of a newer service.

    Raises:
        PullgateError: a policy, a member or a pin in it is none that can be used here.
    """
    match message.WhichOneof("event"):
        case "opened":
            return _opened_from_message(message.opened)
        case "snapshot_chunk":
            return _snapshot_part_from_message(message.snapshot_chunk)
        case "snapshot_end":
            end = message.snapshot_end
            return SnapshotEnd(revision=end.revision, count=end.count, resume_token=end.resume_token, digest=end.digest)
        case "change":
            return _changed_from_message(message.change)
        case "category_update":
            return CategoriesFound(
                categories=tuple(map(known_category_from_message, message.category_update.categories))
            )
        case "bookmark":
            return Bookmark(
                revision=message.bookmark.revision,
                resume_token=message.bookmark.resume_token,
                server_time=_moment(message.bookmark.server_time),
                known_as_of=moment_of(message.bookmark, "known_as_of"),
            )
        case "go_away":
            return GoAway(
                reason=_GO_AWAY_REASON_OF.get(message.go_away.reason),
                reconnect_after=message.go_away.reconnect_after.ToTimedelta(),
            )
    return None


def _opened_from_message(message: policy_watch_pb2.Opened) -> Opened:
    return Opened(
        subscription_id=message.subscription_id,
        store_id=message.store_id,
        resumed=message.resumed,
        bookmark_interval=message.bookmark_interval.ToTimedelta(),
        caller=Caller(
            id=message.subscription_id,
            name=message.name,
            # One that is not known here may do the least.
            role=caller_role_from_message(message.role) or CallerRole.MEMBER,
            organization=message.organization,
            username=message.username,
            may_assert_roles=message.may_assert_roles,
            expires_at=moment_of(message, "expires_at"),
        ),
        newest_revision=message.newest_revision,
    )


def _snapshot_part_from_message(message: policy_watch_pb2.SnapshotChunk) -> SnapshotPart:
    return SnapshotPart(
        policies=tuple(map(stored_policy_from_message, message.policies)),
        members=_organization_members(message.members),
        pins=tuple(map(pin_as_stored, message.pins)),
    )


def _organization_members(
    messages: Iterable[policy_watch_pb2.OrganizationMember],
) -> tuple[tuple[str, Member], ...]:
    entries = list(messages)
    # One by one, as lists of several organizations may each have an entry of the same name.
    return tuple((entry.organization, members_from_messages([entry.member])[0]) for entry in entries)


def _changed_from_message(message: policy_watch_pb2.Change) -> Changed:
    policies: dict[str, StoredPolicy | None] = dict.fromkeys(message.removed_policies)
    for stored in map(stored_policy_from_message, message.policies):
        policies[stored.policy.organization] = stored
    members: dict[str, dict[str, Member | None]] = {}
    for name in message.removed_members:
        members.setdefault(name.organization, {})[name.username] = None
    for organization, member in _organization_members(message.members):
        members.setdefault(organization, {})[member.username] = member
    pins: dict[PinKey, CategoryPin | None] = {(name.organization, name.name): None for name in message.removed_pins}
    for pin in map(pin_as_stored, message.pins):
        pins[pin.organization, pin.name] = pin
    return Changed(
        change=StateChange(revision=message.revision, policies=policies, pins=pins, members=members),
        prev_revision=message.prev_revision,
        resume_token=message.resume_token,
        catch_up=message.catch_up,
        added=frozenset(message.added),
        written_at=moment_of(message, "written_at"),
        author=message.author,
        comment=message.comment,
    )
