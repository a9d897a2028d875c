"""Member lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from pullgate_policy import Role
from pullgate_policy.caller import Caller, CallerRole
from pullgate_policy.errors import FieldInvalidError, shown
from pullgate_policy.members import Member, MemberList, MembersWritten
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.administration.paging import page_of_names
from pullgate_server.clock import Clock
from pullgate_server.errors import LockedOutError, MemberNotFoundError
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.stores.documents import changed_entries, members_from_entries
from pullgate_server.stores.port import Store, Written

log = structlog.get_logger()

FIELDS = frozenset({"role", "teams"})
"""What a write can change of a member."""

MAX_CHANGED = 10_000
"""Entries that one write may change."""


class MemberAdministration:
    """Reads and changes member lists. An organization has one as long as somebody is on it."""

    def __init__(self, store: Store, snapshots: SnapshotKeeper, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock

    @property
    def known_as_of(self) -> datetime | None:
        """While the store is out of reach: when what is read was last known to be the newest."""
        return self._snapshots.current.known_as_of

    def list(self, organization: str, team: str, asked: int, after: str) -> tuple[Sequence[Member], str]:
        """A page of an organization's members, those of one team alone if it is named."""
        members = self._snapshots.current.members.get(organization, {})
        names = [name for name, member in members.items() if not team or team in member.teams]
        page, following = page_of_names(names, asked, after)
        return [members[name] for name in page], following

    async def write(
        self,
        call: WriteCall,
        organization: str,
        members: Sequence[Member],
        *,
        replace: bool,
        allow_empty: bool,
        dry_run: bool,
        fields: frozenset[str] = FIELDS,
    ) -> MembersWritten:
        """Add and change members; with `replace` these are all.

        Args:
            fields: those that are changed of members who are on the list already.

        Raises:
            FieldInvalidError: the list is empty, and that was not allowed.
            LockedOutError: the caller would no longer be an owner.
        """
        wanted = {member.username: member for member in members}
        if not wanted and not (replace and allow_empty):
            raise FieldInvalidError(
                "members", "is empty; to remove everybody say replace and allow_empty" if replace else "is empty"
            )

        if unknown := sorted(fields - FIELDS - {"username"}):
            raise FieldInvalidError("update_mask", f"{shown(unknown[0])} is no field of a member; write role, teams")

        def changed(current: MemberList) -> MemberList:
            new = {name: _with_fields(current.get(name), member, fields) for name, member in wanted.items()}
            result = new if replace else {**current, **new}
            _check_size(current, result)
            _keep_in(call.caller, organization, result)
            return result

        if dry_run:
            current = self._snapshots.current.members.get(organization, {})
            before, after = changed_entries(current, changed(current))
            return _came_of(members_from_entries(before), members_from_entries(after), wanted, 0)
        write = self._store.write_members(organization, changed, call.authorship(self._clock()))
        return self._written(await self._snapshots.carry_out(write), organization, wanted)

    async def remove(self, call: WriteCall, organization: str, usernames: Sequence[str]) -> MembersWritten:
        """Remove members; raises MemberNotFoundError if one of them is none, and LockedOutError."""
        if not usernames:
            raise FieldInvalidError("usernames", "is empty")

        def removed(current: MemberList) -> MemberList:
            missing = set(usernames) - current.keys()
            if missing:
                raise MemberNotFoundError(organization, missing)
            gone = set(usernames)
            result = {name: member for name, member in current.items() if name not in gone}
            if not result:
                raise FieldInvalidError(
                    "usernames", "is everybody on the list; to remove everybody write an empty list, with allow_empty"
                )
            _check_size(current, result)
            _keep_in(call.caller, organization, result)
            return result

        write = self._store.write_members(organization, removed, call.authorship(self._clock()))
        return self._written(await self._snapshots.carry_out(write), organization, {})

    def _written(self, written: Written | None, organization: str, wanted: Mapping[str, Member]) -> MembersWritten:
        if written is None:
            return MembersWritten(changes=(), unchanged=len(wanted), revision=0)
        event = written.event
        log.info(
            "members written",
            organization=organization,
            revision=event.revision,
            author=event.author,
            changed=len(event.after or ()),
            repeated=written.repeated,
        )
        before, after = members_from_entries(event.before or {}), members_from_entries(event.after or {})
        return _came_of(before, after, wanted, event.revision)


def _came_of(
    before: Mapping[str, Member | None], after: Mapping[str, Member | None], wanted: Mapping[str, Member], revision: int
) -> MembersWritten:
    return MembersWritten(
        changes=[(before[name], after[name]) for name in sorted(after)],
        unchanged=len(wanted.keys() - after.keys()),
        revision=revision,
    )


def _with_fields(current: Member | None, wanted: Member, fields: frozenset[str]) -> Member:
    """The member as wanted, but for the fields that are to stay as they are."""
    if current is None:
        return wanted
    return Member(
        username=wanted.username,
        role=wanted.role if "role" in fields else current.role,
        teams=wanted.teams if "teams" in fields else current.teams,
    )


def _check_size(current: MemberList, result: MemberList) -> None:
    """Refuse a change that would make an event larger than clients receive, and would hold up everybody else."""
    changed = sum(current.get(name) != result.get(name) for name in current.keys() | result.keys())
    if changed > MAX_CHANGED:
        raise FieldInvalidError(
            "members", f"{changed} entries would change, and at most {MAX_CHANGED} do at once; write them in parts"
        )


def _keep_in(caller: Caller, organization: str, members: MemberList) -> None:
    """Refuse a list by which an owner would stop being one, and could not mend it."""
    if caller.role is not CallerRole.OWNER or not members:
        return
    member = members.get(caller.username)
    if member is None or member.role is not Role.OWNER:
        raise LockedOutError(
            f"{caller.username} would no longer be an owner of organization {organization} and could not undo this: "
            "keep yourself on the list as owner, or have another owner or an operator do it"
        )
