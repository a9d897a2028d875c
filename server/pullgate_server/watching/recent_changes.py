"""What has changed lately: each revision on its own for who resumes, and the changed things for who is slow.

Both are bounded. Who asks for more than is kept has to begin with a snapshot.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin, PinKey
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.stores.port import RevisionChange

MAX_REVISIONS = 1000
MAX_ENTRIES = 20_000
"""What the kept revisions have together; what they hold is mostly held elsewhere too."""

MAX_THINGS = 50_000
"""Policies, members and pins whose last change is known."""

_POLICY, _PIN, _MEMBER = "policy", "pin", "member"
_Thing = tuple[str, str, str]
"""What sort it is, whose, and its name."""


class RecentChanges:
    """Remembers changes.

    Args:
        revision: what happened up to here is not known.
    """

    def __init__(self, revision: int) -> None:
        self._steps: deque[RevisionChange] = deque()
        self._entries = 0
        self._changed: OrderedDict[_Thing, int] = OrderedDict()
        self._added: dict[str, int] = {}
        self._steps_after = revision
        self._things_after = revision

    def add(self, step: RevisionChange) -> None:
        """Remember one more write, later than all before."""
        self._steps.append(step)
        self._entries += len(step)
        while len(self._steps) > MAX_REVISIONS or (self._entries > MAX_ENTRIES and len(self._steps) > 1):
            forgotten = self._steps.popleft()
            self._entries -= len(forgotten)
            self._steps_after = forgotten.revision
        for organization in step.added:
            self._added[organization] = step.revision
        for thing in _things(step):
            self._changed[thing] = step.revision
            self._changed.move_to_end(thing)
        while len(self._changed) > MAX_THINGS:
            (sort, organization, _), revision = self._changed.popitem(last=False)
            self._things_after = revision
            if sort == _POLICY:
                self._added.pop(organization, None)

    def steps_since(self, revision: int) -> Sequence[RevisionChange] | None:
        """Each write after `revision`; None if not all of them are kept."""
        if revision < self._steps_after:
            return None
        return [step for step in self._steps if step.revision > revision]

    def latest_since(self, revision: int, state: PolicyState) -> tuple[StateChange, frozenset[str]] | None:
        """All that has changed after `revision` as it is in `state`, and the organizations that got a policy since.

        Returns:
            None if what has changed is not known any more.
        """
        if revision < self._things_after:
            return None
        policies: dict[str, StoredPolicy | None] = {}
        pins: dict[PinKey, CategoryPin | None] = {}
        members: dict[str, dict[str, Member | None]] = {}
        for (sort, organization, name), changed_at in reversed(self._changed.items()):
            if changed_at <= revision:
                break
            match sort:
                case "policy":
                    policies[organization] = state.stored.get(organization)
                case "pin":
                    pins[organization, name] = state.pins.get((organization, name))
                case _:
                    members.setdefault(organization, {})[name] = state.members.get(organization, {}).get(name)
        added = frozenset(
            name for name, item in policies.items() if item is not None and self._added.get(name, 0) > revision
        )
        return StateChange(revision=state.revision, policies=policies, pins=pins, members=members), added


def _things(change: StateChange) -> Iterator[_Thing]:
    for organization in change.policies:
        yield _POLICY, organization, ""
    for organization, name in change.pins:
        yield _PIN, organization, name
    for organization, members in change.members.items():
        for username in members:
            yield _MEMBER, organization, username
