"""What a subscriber to policies is told, as `pullgate watch` shows it: in words, and as plain data for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pullgate_cli.category import category_data, pin_data, pin_in_words
from pullgate_cli.changes import change_data, told, told_entry
from pullgate_cli.evidence import category_in_words
from pullgate_cli.member import told_member
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import one_line
from pullgate_policy.category_lookup import KnownCategory
from pullgate_policy.changes import SettingChange, policy_changes
from pullgate_policy.members import Member, member_data
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.watch import Bookmark, Changed, GoAway, GoAwayReason, SnapshotEnd

if TYPE_CHECKING:
    from pullgate_client import ClientError
    from pullgate_client.following import Interrupted

K = TypeVar("K")
T = TypeVar("T")

MAX_ENTRIES = 50
"""Members, pins or categories that are named of one change; `--json` has all of them."""

_GO_AWAY = {GoAwayReason.AGE: "the stream has been open for long", GoAwayReason.STOPPING: "the server stops"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What differs between two states.

    Attributes:
        policies: by organization; without any change for one that was written and says the same.
        members: the organization, what was and what is.
        pins: the same; the empty organization for every one.
        lists: the organizations that have a member list now.
    """

    policies: Mapping[str, Sequence[SettingChange]]
    members: Sequence[tuple[str, Member | None, Member | None]]
    pins: Sequence[tuple[str, CategoryPin | None, CategoryPin | None]]
    lists: frozenset[str]


NO_DIFFERENCES = Differences(policies={}, members=(), pins=(), lists=frozenset())


def differences(before: PolicyState, after: PolicyState, change: StateChange | None = None) -> Differences:
    """What differs, looking at no more than `change` names (None: at everything)."""
    change = change or _everything(before, after)
    return Differences(
        policies={
            name: policy_changes(before.policies.get(name), after.policies.get(name))
            for name in sorted(change.policies)
            # A policy that was created and deleted again while nobody was told never was.
            if name in before.policies or name in after.policies
        },
        members=[
            (organization, was, now)
            for organization, names in sorted(change.members.items())
            for name, (was, now) in _pairs(
                before.members.get(organization, {}), after.members.get(organization, {}), names
            ).items()
        ],
        pins=[(owner, was, now) for (owner, _), (was, now) in _pairs(before.pins, after.pins, change.pins).items()],
        lists=frozenset(after.members),
    )


def _everything(before: PolicyState, after: PolicyState) -> StateChange:
    """A change that names all that is in one state or the other and is not the same policy or list in both."""
    policies = {**before.stored, **after.stored}
    members = {**before.members, **after.members}
    return StateChange(
        revision=after.revision,
        policies={name: None for name in policies if before.stored.get(name) != after.stored.get(name)},
        members={
            name: dict.fromkeys((*before.members.get(name, {}), *after.members.get(name, {}))) for name in members
        },
        pins=dict.fromkeys((*before.pins, *after.pins)),
    )


def _pairs(before: Mapping[K, T], after: Mapping[K, T], names: Iterable[K]) -> dict[K, tuple[T | None, T | None]]:
    """What was and what is under each name where that differs, in the order of the names."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(names)  # type: ignore[type-var]
        if before.get(name) != after.get(name)
    }


# In words.


def snapshot_in_words(end: SnapshotEnd, state: PolicyState, whose: str, found: Differences | None) -> Iterator[str]:
    """The opening; and what was not told, where it is not the first one (`found`)."""
    anew = "" if found is None else "anew "
    counts = ", ".join(_counted(number, name) for name, number in _counts(state).items())
    yield f"following {click.style(whose, bold=True)} {anew}at revision {end.revision}: {counts}"
    if found is not None:
        yield from differences_in_words(found)


def changed_in_words(event: Changed, found: Differences) -> Iterator[str]:
    """A change: its revision, who wrote it, when and why; and what is different."""
    parts = [click.style(f"revision {event.change.revision}", bold=True)]
    if event.catch_up:
        parts.append(f"with all since {event.prev_revision}, the last of it:")
    if event.written_at is not None:
        parts.append(f"{event.written_at:%Y-%m-%d %H:%M:%S} UTC")
    parts += [event.author, event.comment]
    yield "  ".join(one_line(part) for part in parts if part)
    yield from differences_in_words(found)


def differences_in_words(found: Differences) -> Iterator[str]:
    """What is different, below a heading for the policy, the members and the pins of each organization."""
    for organization, changes in found.policies.items():
        yield _heading("policy", organization)
        yield from (f"  {line}" for line in told(changes))
        if not changes:
            yield "    written anew, and says the same"
    for organization, members in groupby(found.members, key=lambda entry: entry[0]):
        gone = "" if organization in found.lists else ", which has no member list any more"
        yield _heading("members", organization) + gone
        yield from _some([f"    {told_member(was, now)}" for _, was, now in members])
    for organization, pins in groupby(found.pins, key=lambda entry: entry[0]):
        yield _heading("pins", organization)
        yield from _some([f"    {_told_pin(was, now)}" for _, was, now in pins])


def categories_in_words(categories: Sequence[KnownCategory]) -> Iterator[str]:
    """Categories that the service has found."""
    yield "categories"
    yield from _some(
        [
            f"  {known.name}  {category_in_words(known.evidence)}"
            + (f", says {known.evidence.source}" if known.evidence.source else "")
            for known in categories
        ]
    )


def go_away_in_words(event: GoAway) -> str:
    """That the service asks to come back, and when."""
    reason = _GO_AWAY[event.reason] if event.reason else "it does not say why"
    return f"the service asks to come back after {_seconds(event.reconnect_after.total_seconds())}: {reason}"


def bookmark_in_words(event: Bookmark) -> str:
    """That nothing is missing."""
    return f"nothing is missing up to revision {event.revision}, at {event.server_time:%H:%M:%S} UTC"


def again_in_words(interruption: "Interrupted") -> str:
    """When it is tried again, as the end of a sentence."""
    if interruption.retry_after is None:
        return ""
    anew = ", from the beginning" if interruption.begins_anew else ""
    return f"; trying again in {_seconds(interruption.retry_after)}{anew}"


def _heading(what: str, organization: str) -> str:
    return f"  {what} of {click.style(organization or 'every organization', bold=True)}"


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from islice(lines, MAX_ENTRIES)
    if len(lines) > MAX_ENTRIES:
        yield f"    and {len(lines) - MAX_ENTRIES} more; --json has all of them"


def _told_pin(was: CategoryPin | None, now: CategoryPin | None) -> str:
    (name, *_) = (pin.name for pin in (was, now) if pin is not None)
    return told_entry(name, was, now, pin_in_words)


def _counts(state: PolicyState) -> dict[str, int]:
    return {
        "policies": len(state.stored),
        "members": sum(map(len, state.members.values())),
        "pins": len(state.pins),
    }


def _counted(number: int, name: str) -> str:
    one = {"policies": "policy", "members": "member", "pins": "pin"}
    return f"{number} {one[name] if number == 1 else name}"


def _seconds(number: float) -> str:
    return f"{number:.1f} seconds"


# For programs.


def snapshot_data(state: PolicyState, found: Differences | None) -> dict[str, Any]:
    """How much there is; and what was not told, where it is not the first one (`found`)."""
    return {"anew": found is not None, "count": _counts(state), **_differences_data(found or NO_DIFFERENCES)}


def changed_data(event: Changed, found: Differences) -> dict[str, Any]:
    """A change, with all that is different."""
    return {
        "prev_revision": event.prev_revision,
        "written_at": moment_data(event.written_at),
        "author": event.author,
        "comment": event.comment,
        "catch_up": event.catch_up,
        "every_organization": "" in event.change.organizations,
        "added": sorted(event.added),
        "removed": sorted(name for name, stored in event.change.policies.items() if stored is None),
        **_differences_data(found),
    }


def categories_data(categories: Sequence[KnownCategory]) -> dict[str, Any]:
    """Categories that the service has found."""
    return {"categories": [{"name": known.name, **category_data(known.evidence)} for known in categories]}


def bookmark_data(event: Bookmark) -> dict[str, Any]:
    """That nothing is missing, by the server's clock."""
    return {"server_time": moment_data(event.server_time), "known_as_of": moment_data(event.known_as_of)}


def go_away_data(event: GoAway) -> dict[str, Any]:
    """That the service asks to come back, and when."""
    return {
        "reason": event.reason.name if event.reason else None,
        "reconnect_after": f"{event.reconnect_after.total_seconds():g}s",
    }


def interrupted_data(event: "Interrupted", message: str) -> dict[str, Any]:
    """That the stream has ended, why, and when it is tried again."""
    return {
        "error": None if event.error is None else {**_error_names(event.error), "message": message},
        "retry_after": None if event.retry_after is None else f"{event.retry_after:.3g}s",
        "begins_anew": event.begins_anew,
    }


def _differences_data(found: Differences) -> dict[str, Any]:
    return {
        "changes": [
            {"organization": organization, **change_data(change)}
            for organization, changes in found.policies.items()
            for change in changes
        ],
        "members": [
            {"organization": organization, "before": was and member_data(was), "after": now and member_data(now)}
            for organization, was, now in found.members
        ],
        "pins": [
            {"organization": organization or None, "before": was and pin_data(was), "after": now and pin_data(now)}
            for organization, was, now in found.pins
        ],
    }


def _error_names(error: "ClientError") -> dict[str, str]:
    """What programs tell errors by: those that arose here have a code of their own and no reason."""
    from pullgate_client import BrokenStreamError, CallError, ConnectionSettingsError

    if isinstance(error, CallError):
        return {"code": error.code.name, "reason": error.reason}
    own = {BrokenStreamError: "BROKEN_STREAM", ConnectionSettingsError: "CONNECTION_SETTINGS"}
    return {"code": own.get(type(error), "UNUSABLE_UPDATE"), "reason": ""}
