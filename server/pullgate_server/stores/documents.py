"""What is kept as plain data: the form in which events tell what was and what is, and how events are read again."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

from pullgate_policy import Category, CommunityClass, Policy, parse_policy, policy_data
from pullgate_policy.access_token import AccessToken
from pullgate_policy.document import Plain, Timestamp
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member, MemberList, member_data, parse_members
from pullgate_policy.pins import CategoryPin, PinKey
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.stores.port import Authorship, RevisionChange, StoreContents, StoredToken

_moment = Timestamp()

Document = dict[str, Plain]


def policy_document(policy: Policy) -> Document:
    """A policy with every setting spelled out."""
    return cast("Document", policy_data(policy))


def policy_of_event(event: AdministrativeEvent) -> StoredPolicy:
    """The policy that an event wrote."""
    return StoredPolicy(
        policy=parse_policy(event.after),
        revision=event.revision,
        author=event.author,
        written_at=event.written_at,
        comment=event.comment,
    )


def pin_document(pin: CategoryPin) -> Document:
    """A pin, without who wrote it."""
    return {
        "category": pin.category.name,
        "community_class": None if pin.community_class is None else pin.community_class.name,
        "reason": pin.reason,
        "expires_at": _moment.write(pin.expires_at),
    }


def pin_of_event(event: AdministrativeEvent) -> CategoryPin:
    """The pin that an event wrote."""
    document = event.after or {}
    community_class = document["community_class"]
    return CategoryPin(
        name=event.name,
        category=Category[str(document["category"])],
        community_class=None if community_class is None else CommunityClass[str(community_class)],
        reason=str(document["reason"]),
        author=event.author,
        written_at=event.written_at,
        organization=event.organization,
        # Pins had no end before schema 0003, and events of that time say nothing of it.
        expires_at=_moment.read(document.get("expires_at"), "", []),
    )


def changed_entries(before: MemberList, after: MemberList) -> tuple[Document, Document]:
    """The entries of a member list that differ, as they were and as they are; None where there is none."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return _entries(names, before), _entries(names, after)


def members_from_entries(document: Document) -> dict[str, Member | None]:
    """The entries of one side of such a change."""
    return {
        name: None if entry is None else parse_members([{"username": name, **entry}])[0]  # type: ignore[dict-item]
        for name, entry in document.items()
    }


def token_document(stored: StoredToken) -> Document:
    """A token, with nothing of its secret."""
    token: AccessToken = stored.token
    return {
        "name": token.name,
        "role": token.role.value,
        "organization": token.organization,
        "username": token.username,
        "may_assert_roles": token.may_assert_roles,
        "expires_at": _moment.write(token.expires_at),
        "revoked_at": _moment.write(token.revoked_at),
        "former_secret_until": _moment.write(stored.former_until),
    }


def event_of(
    revision: int,
    subject: EventSubject,
    organization: str,
    name: str,
    before: Document | None,
    after: Document | None,
    authorship: Authorship,
) -> AdministrativeEvent:
    """The event of a write."""
    return AdministrativeEvent(
        revision=revision,
        subject=subject,
        organization=organization,
        name=name,
        before=before,
        after=after,
        author=authorship.author,
        caller_id=authorship.caller_id,
        origin=authorship.origin,
        comment=authorship.comment,
        written_at=authorship.written_at,
    )


def first_event(stored: StoredToken) -> AdministrativeEvent:
    """The event that a store begins with: its first token, made by the server itself."""
    authorship = Authorship(
        author=stored.token.created_by,
        caller_id="",
        origin="",
        written_at=stored.token.created_at,
        comment="the first start on an empty store",
    )
    return event_of(0, EventSubject.TOKEN, "", stored.token.id, None, token_document(stored), authorship)


def fingerprint(event: AdministrativeEvent | None) -> str:
    """Tells a write from others of its revision; empty for none."""
    if event is None:
        return ""
    return fingerprint_of(event.written_at, event.caller_id, event.subject, event.organization, event.name)


def fingerprint_of(written_at: datetime, caller_id: str, subject: EventSubject, organization: str, name: str) -> str:
    """The same, from what of a write it is made of."""
    return f"{written_at.isoformat()} {caller_id} {subject.value} {organization} {name}"


def contents_of_events(
    revision: int, since: int, events: Sequence[AdministrativeEvent], tokens: Mapping[str, StoredToken]
) -> StoreContents:
    """What events, in their order, come to.

    Args:
        events: from revision `since` on, that one included if it is there.
        tokens: at least those that the events are about.
    """
    at_since = events[0] if events and events[0].revision == since else None
    newest = events[-1] if events else None
    steps = tuple(change_of_event(event) for event in events if event.revision > since)
    policies: dict[str, StoredPolicy | None] = {}
    pins: dict[PinKey, CategoryPin | None] = {}
    members: dict[str, dict[str, Member | None]] = {}
    for step in steps:
        policies.update(step.policies)
        pins.update(step.pins)
        for organization, changed in step.members.items():
            members.setdefault(organization, {}).update(changed)
    return StoreContents(
        revision=revision,
        newest=fingerprint(newest),
        at_since=fingerprint(at_since),
        policies=policies,
        pins=pins,
        members=members,
        tokens={
            event.name: tokens[event.name]
            for event in events
            if event.subject is EventSubject.TOKEN and event.revision > since
        },
        steps=steps,
    )


def change_of_event(event: AdministrativeEvent) -> RevisionChange:
    """What an event's write changed of what decisions are made from."""
    policies: dict[str, StoredPolicy | None] = {}
    pins: dict[PinKey, CategoryPin | None] = {}
    members: dict[str, dict[str, Member | None]] = {}
    match event.subject:
        case EventSubject.POLICY:
            policies[event.name] = None if event.after is None else policy_of_event(event)
        case EventSubject.CATEGORY_PIN:
            pins[event.organization, event.name] = None if event.after is None else pin_of_event(event)
        case EventSubject.MEMBERS:
            members[event.name] = members_from_entries(event.after or {})
        case EventSubject.TOKEN:
            pass
    return RevisionChange(
        revision=event.revision,
        policies=policies,
        pins=pins,
        members=members,
        fingerprint=fingerprint(event),
        author=event.author,
        written_at=event.written_at,
        comment=event.comment,
        added=frozenset(name for name, policy in policies.items() if policy is not None and event.before is None),
    )


def _entries(names: Iterable[str], members: MemberList) -> Document:
    return {name: _entry(members.get(name)) for name in names}


def _entry(member: Member | None) -> Plain:
    if member is None:
        return None
    data = cast("Document", member_data(member))
    return {key: value for key, value in data.items() if key != "username"}
