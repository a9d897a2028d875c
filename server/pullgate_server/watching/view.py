"""What a subscriber may see, and asked to see."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.watch import SnapshotPart

PART_ENTRIES = 200
"""About how many entries are told at once."""

PART_POLICIES = 20
"""Policies take longer to write down than other entries do."""


@dataclass(frozen=True)
class View:
    """The organizations that are in view; pins for every organization always are.

    Attributes:
        organizations: None for all of them.
        includes_categories: whether categories are told too.
    """

    organizations: frozenset[str] | None
    includes_categories: bool = False

    @cached_property
    def mark(self) -> str:
        """Tells the view from others: who resumes with another view has to begin anew."""
        names = "*" if self.organizations is None else " ".join(sorted(self.organizations))
        return hashlib.sha256(names.encode()).hexdigest()[:12]

    def shows(self, organization: str) -> bool:
        """Whether what belongs to it is in view."""
        return not organization or self.organizations is None or organization in self.organizations

    def of(self, change: StateChange) -> StateChange | None:
        """What of a change is in view: the very same object if all of it is, and None if nothing is."""
        if self.organizations is None or all(self.shows(organization) for organization in change.organizations):
            return change or None
        seen = StateChange(
            revision=change.revision,
            policies={name: item for name, item in change.policies.items() if self.shows(name)},
            pins={key: pin for key, pin in change.pins.items() if self.shows(key[0])},
            members={name: members for name, members in change.members.items() if self.shows(name)},
        )
        return seen or None

    def parts(self, state: PolicyState) -> Iterator[SnapshotPart]:
        """All that is in view of a state."""
        organizations = sorted(state.organizations if self.organizations is None else self.organizations)
        part = SnapshotPart()
        for organization in ("", *organizations):
            for piece in _pieces(state, organization):
                part = SnapshotPart(
                    policies=(*part.policies, *piece.policies),
                    members=(*part.members, *piece.members),
                    pins=(*part.pins, *piece.pins),
                )
                if len(part) >= PART_ENTRIES or len(part.policies) >= PART_POLICIES:
                    yield part
                    part = SnapshotPart()
        if len(part):
            yield part


def _pieces(state: PolicyState, organization: str) -> Iterator[SnapshotPart]:
    """All that belongs to an organization, in pieces none of which is too large for a part."""
    stored = state.stored.get(organization)
    if stored is not None:
        yield SnapshotPart(policies=(stored,))
    members = [(organization, member) for member in state.members.get(organization, {}).values()]
    for begin in range(0, len(members), PART_ENTRIES):
        yield SnapshotPart(members=tuple(members[begin : begin + PART_ENTRIES]))
    pins = list(state.pin_index.of(organization))
    for begin in range(0, len(pins), PART_ENTRIES):
        yield SnapshotPart(pins=tuple(pins[begin : begin + PART_ENTRIES]))
