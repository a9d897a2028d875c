"""Policies: their newest revision, their history, and writes that name what they were based on."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from pullgate_policy import Policy
from pullgate_policy.changes import SettingChange, changed_paths, policy_changes
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.administration.event_pages import page_of_events
from pullgate_server.administration.paging import page_of_names, page_size, revision_of_token
from pullgate_server.clock import Clock
from pullgate_server.errors import (
    PolicyNotFoundError,
    PolicyRevisionNotFoundError,
    RevisionStaleError,
    StoreUnavailableError,
)
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.documents import policy_of_event
from pullgate_server.stores.port import EventFilter, Store

log = structlog.get_logger()

Change = Callable[[StoredPolicy | None], Policy | None]


class PolicyAdministration:
    """Reads from the snapshot, and from the store what was before."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock

    @property
    def known_as_of(self) -> datetime | None:
        """While the store is out of reach: when what is read was last known to be the newest."""
        return self._snapshots.current.known_as_of

    def newest(self, organization: str) -> StoredPolicy:
        """One organization's policy; raises PolicyNotFoundError."""
        stored = self._snapshots.current.stored.get(organization)
        if stored is None:
            raise PolicyNotFoundError(organization)
        return stored

    async def at_revision(self, organization: str, revision: int, field: str = "revision") -> StoredPolicy:
        """The policy as it was at a revision, whichever write that was; 0 for the newest.

        Args:
            field: what the request calls the revision.

        Raises:
            FieldInvalidError: the revision is below 0.
            PolicyNotFoundError: there is none now.
            PolicyRevisionNotFoundError: there was none then, or there is no such revision yet.
        """
        if revision < 0:
            raise FieldInvalidError(field, f"{revision} is below 0, and revisions are not")
        if revision == 0:
            return self.newest(organization)
        snapshot = self._snapshots.current
        if revision > snapshot.revision:
            await self._snapshots.look()
            snapshot = self._snapshots.current
        newest = snapshot.stored.get(organization)
        if newest is not None and newest.revision <= revision <= snapshot.revision:
            return newest
        if revision > snapshot.revision:
            raise PolicyRevisionNotFoundError(organization, revision)
        events = await self._store.events(_writes_of(organization, before=revision + 1), 1)
        if not events or events[0].after is None:
            raise PolicyRevisionNotFoundError(organization, revision)
        return policy_of_event(events[0])

    def list(self, organization: str | None, asked: int, after: str) -> tuple[Sequence[StoredPolicy], str]:
        """A page of policies in the order of their organizations' names; of one organization alone if it is named."""
        stored = self._snapshots.current.stored
        names = stored.keys() if organization is None else stored.keys() & {organization}
        page, following = page_of_names(list(names), asked, after)
        return [stored[name] for name in page], following

    async def history(
        self, organization: str, asked: int, page_token: str
    ) -> tuple[Sequence[AdministrativeEvent], str]:
        """A page of the writes of a policy, the newest first; raises PolicyNotFoundError if there never was any."""
        size = page_size(asked)
        wanted = _writes_of(organization, before=revision_of_token(page_token))
        page, more = await page_of_events(self._store, wanted, size)
        if not page and not page_token:
            raise PolicyNotFoundError(organization)
        return page, str(page[-1].revision) if more else ""

    async def diff(self, organization: str, earlier: int, later: int) -> Sequence[SettingChange]:
        """What changed from one revision (0: none) to another (0: the newest)."""
        before = None if earlier == 0 else (await self.at_revision(organization, earlier, "from_revision")).policy
        try:
            after = (await self.at_revision(organization, later, "to_revision")).policy
        except (PolicyNotFoundError, PolicyRevisionNotFoundError):
            if before is None or later > self._snapshots.current.revision:
                raise
            # It was taken away by then, which is a change as well.
            return policy_changes(before, None)
        return policy_changes(before, after)

    async def put(self, call: WriteCall, policy: Policy, expected_revision: int | None) -> StoredPolicy:
        """Write a policy whole.

        This and the other writes raise RevisionStaleError, FieldInvalidError, RequestIdReusedError,
        StoreUnavailableError and OutcomeUnknownError.
        """
        return policy_of_event(await self._write(call, policy.organization, lambda _current: policy, expected_revision))

    async def patch(
        self, call: WriteCall, organization: str, change: Callable[[Policy], Policy], expected_revision: int | None
    ) -> StoredPolicy:
        """Change the policy that is there; raises PolicyNotFoundError if there is none."""

        def patched(current: StoredPolicy | None) -> Policy:
            if current is None:
                raise PolicyNotFoundError(organization)
            return change(current.policy)

        return policy_of_event(await self._write(call, organization, patched, expected_revision))

    async def delete(self, call: WriteCall, organization: str, expected_revision: int | None) -> int:
        """Take a policy away; raises PolicyNotFoundError; returns the revision."""

        def gone(current: StoredPolicy | None) -> None:
            if current is None:
                raise PolicyNotFoundError(organization)

        return (await self._write(call, organization, gone, expected_revision)).revision

    async def roll_back(
        self, call: WriteCall, organization: str, revision: int, expected_revision: int | None
    ) -> StoredPolicy:
        """Write again what the policy was at a revision; raises PolicyRevisionNotFoundError."""
        if revision < 1:
            raise FieldInvalidError("revision", f"{revision} is no revision; they begin with 1")
        policy = (await self.at_revision(organization, revision)).policy
        return policy_of_event(await self._write(call, organization, lambda _current: policy, expected_revision))

    async def _write(
        self, call: WriteCall, organization: str, change: Change, expected_revision: int | None
    ) -> AdministrativeEvent:
        if expected_revision is not None and expected_revision < 0:
            raise FieldInvalidError("expected_revision", f"{expected_revision} is below 0, and revisions are not")

        def checked(current: StoredPolicy | None) -> Policy | None:
            revision = current.revision if current else 0
            if expected_revision is not None and expected_revision != revision:
                raise RevisionStaleError(organization, expected_revision, revision)
            return change(current)

        try:
            write = self._store.write_policy(organization, checked, call.authorship(self._clock()))
            written = await self._snapshots.carry_out(write)
        except RevisionStaleError as error:
            await self._snapshots.look()
            raise await self._with_conflicts(error, change) from None
        event = written.event
        log.info(
            "policy written" if event.after else "policy deleted",
            organization=organization,
            revision=event.revision,
            author=event.author,
            repeated=written.repeated,
        )
        return event

    async def _with_conflicts(self, error: RevisionStaleError, change: Change) -> RevisionStaleError:
        """The error with the paths that both sides changed, as far as history tells what both began with."""
        try:
            base = await self.at_revision(error.organization, error.expected) if error.expected else None
            ours = change(base)
        except (PolicyRevisionNotFoundError, PolicyNotFoundError, StoreUnavailableError):
            return error
        before = None if base is None else base.policy
        newest = self._snapshots.current.policies.get(error.organization)
        theirs, mine = changed_paths(before, newest), changed_paths(before, ours)
        whole = (theirs if "" in mine else frozenset()) | (mine if "" in theirs else frozenset())
        conflicts = (theirs & mine) | whole
        return RevisionStaleError(error.organization, error.expected, error.current, conflicts - {""})


def _writes_of(organization: str, before: int | None) -> EventFilter:
    return EventFilter(subject=EventSubject.POLICY, name=organization, before=before)
