"""What decisions are made from besides categories: an immutable state at a revision, and how it changes."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from pullgate_policy.members import Member, MemberList
from pullgate_policy.pins import NO_PINS, CategoryPin, PinKey, Pins
from pullgate_policy.policy import Policy
from pullgate_policy.stored_policy import StoredPolicy

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """What is different as of a revision.

    Attributes:
        policies: by organization; None for those that are gone.
        pins: None for those that are gone.
        members: by organization and username; None for those who are gone.
    """

    revision: int
    policies: Mapping[str, StoredPolicy | None] = field(default_factory=dict)
    pins: Mapping[PinKey, CategoryPin | None] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Member | None]] = field(default_factory=dict)

    @property
    def organizations(self) -> frozenset[str]:
        """Whom it concerns; the empty name for what concerns everybody."""
        return frozenset((*self.policies, *self.members, *(organization for organization, _ in self.pins)))

    def __len__(self) -> int:
        return len(self.policies) + len(self.pins) + sum(map(len, self.members.values()))

    def __bool__(self) -> bool:
        return bool(self.policies or self.pins or self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """What decisions are made from, as of one revision.

    Attributes:
        stored: policies with who wrote them, by organization.
        policies: the same without.
        pins: by organization (empty: every one) and name.
        pin_index: the same, as decisions look them up.
        members: by organization and username; an organization that is not here has no member list.
    """

    revision: int = 0
    stored: Mapping[str, StoredPolicy] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    pins: Mapping[PinKey, CategoryPin] = field(default_factory=dict)
    pin_index: Pins = NO_PINS
    members: Mapping[str, MemberList] = field(default_factory=dict)

    def with_change(self, change: StateChange) -> Self:
        """This state and what is different since. What did not change stays the same object."""
        pins = merged(self.pins, change.pins)
        changed_members = {
            organization: merged(self.members.get(organization, {}), changed)
            for organization, changed in change.members.items()
        }
        return dataclasses.replace(
            self,
            revision=change.revision,
            stored=merged(self.stored, change.policies),
            policies=merged(
                self.policies,
                {name: None if item is None else item.policy for name, item in change.policies.items()},
            ),
            pins=pins,
            pin_index=self.pin_index if pins is self.pins else Pins(pins.values()),
            members=merged(self.members, {name: changed or None for name, changed in changed_members.items()}),
        )

    @property
    def organizations(self) -> Iterator[str]:
        """Every organization that something is known of, each once."""
        return iter(dict.fromkeys((*self.stored, *self.members, *(owner for owner, _ in self.pins if owner))))

    def __len__(self) -> int:
        return len(self.stored) + len(self.pins) + sum(map(len, self.members.values()))


def merged(before: Mapping[K, T], changed: Mapping[K, T | None]) -> Mapping[K, T]:
    """`before` with what has changed; None takes away."""
    if not changed:
        return before
    result = dict(before)
    for name, value in changed.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result
