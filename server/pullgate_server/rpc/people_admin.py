"""PolicyAdminService, members, tokens and events: reads the request, has it carried out, and sends what came of it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from pullgate.v1 import event_pb2, mapping
from pullgate.v1 import policy_admin_pb2 as messages
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError
from pullgate_policy.event import AdministrativeEvent
from pullgate_policy.members import MembersWritten
from pullgate_server.administration.events import EventLog
from pullgate_server.administration.members import FIELDS, MemberAdministration
from pullgate_server.administration.tokens import TokenAdministration, WantedToken
from pullgate_server.authorization import scope
from pullgate_server.rpc.gate import Context
from pullgate_server.rpc.policy_admin import named_organization, within_bytes
from pullgate_server.rpc.writing import write_call

MAX_EVENT_BYTES = 3 * 1024 * 1024
"""A larger event would not fit the 4 MiB that gRPC's clients receive by default."""


class MemberAdminService:
    """Handlers for a `Gate`."""

    def __init__(self, members: MemberAdministration) -> None:
        self._members = members

    async def ListMembers(  # noqa: N802
        self, request: messages.ListMembersRequest, _caller: Caller, _context: Context
    ) -> messages.ListMembersResponse:
        """A page of a member list."""
        page, following = self._members.list(
            named_organization(request.organization), request.team, request.page_size, request.page_token
        )
        sent = within_bytes(map(mapping.member_to_message, page))
        if len(sent) < len(page):
            following = sent[-1].username
        return messages.ListMembersResponse(
            members=sent,
            next_page_token=following,
            known_as_of=mapping.timestamp(self._members.known_as_of),
        )

    async def WriteMembers(  # noqa: N802
        self, request: messages.WriteMembersRequest, caller: Caller, context: Context
    ) -> messages.WriteMembersResponse:
        """Add and change members."""
        written = await self._members.write(
            write_call(request, caller, context),
            named_organization(request.organization),
            mapping.members_from_messages(request.members),
            replace=request.replace,
            allow_empty=request.allow_empty,
            dry_run=request.dry_run,
            fields=frozenset(request.update_mask.paths) or FIELDS,
        )
        return messages.WriteMembersResponse(
            changes=_changes(written), unchanged=written.unchanged, revision=written.revision
        )

    async def RemoveMembers(  # noqa: N802
        self, request: messages.RemoveMembersRequest, caller: Caller, context: Context
    ) -> messages.RemoveMembersResponse:
        """Remove members."""
        written = await self._members.remove(
            write_call(request, caller, context), named_organization(request.organization), request.usernames
        )
        return messages.RemoveMembersResponse(changes=_changes(written), revision=written.revision)


class TokenAdminService:
    """Handlers for a `Gate`."""

    def __init__(self, tokens: TokenAdministration) -> None:
        self._tokens = tokens

    async def CreateToken(  # noqa: N802
        self, request: messages.CreateTokenRequest, caller: Caller, context: Context
    ) -> messages.CreateTokenResponse:
        """Make a token."""
        role = mapping.caller_role_from_message(request.role)
        if role is None:
            raise FieldInvalidError("role", "is none; write what the token's bearer may do")
        secret, token = await self._tokens.create(
            write_call(request, caller, context),
            WantedToken(
                name=request.name,
                role=role,
                organization=request.organization,
                username=request.username,
                may_assert_roles=request.may_assert_roles,
                expires_in=_length(request, "expires_in"),
            ),
        )
        return messages.CreateTokenResponse(secret=secret, token=mapping.token_to_message(token))

    async def ListTokens(  # noqa: N802
        self, request: messages.ListTokensRequest, caller: Caller, _context: Context
    ) -> messages.ListTokensResponse:
        """A page of tokens."""
        page, following = await self._tokens.list(
            caller,
            request.organization,
            include_ended=request.include_ended,
            asked=request.page_size,
            page_token=request.page_token,
        )
        return messages.ListTokensResponse(
            tokens=map(mapping.token_to_message, page),
            next_page_token=following,
            known_as_of=mapping.timestamp(self._tokens.known_as_of),
        )

    async def RevokeToken(  # noqa: N802
        self, request: messages.RevokeTokenRequest, caller: Caller, context: Context
    ) -> messages.RevokeTokenResponse:
        """End a token."""
        token = await self._tokens.revoke(write_call(request, caller, context), request.id)
        return messages.RevokeTokenResponse(token=mapping.token_to_message(token))

    async def RotateToken(  # noqa: N802
        self, request: messages.RotateTokenRequest, caller: Caller, context: Context
    ) -> messages.RotateTokenResponse:
        """Give a token a new secret."""
        secret, token = await self._tokens.rotate(
            write_call(request, caller, context),
            request.id,
            overlap=_length(request, "overlap") or timedelta(0),
            expires_in=_length(request, "expires_in"),
        )
        return messages.RotateTokenResponse(secret=secret, token=mapping.token_to_message(token))


class EventService:
    """Handlers for a `Gate`."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    async def ListEvents(  # noqa: N802
        self, request: messages.ListEventsRequest, caller: Caller, _context: Context
    ) -> messages.ListEventsResponse:
        """A page of events."""
        subject = mapping.subject_from_message(request.subject)
        if request.subject and subject is None:
            raise FieldInvalidError("subject", f"{request.subject} is no subject of events")
        events, following = await self._events.list(
            scope(caller, request.organization), subject, request.name or None, request.page_size, request.page_token
        )
        page = within_bytes(map(_event_message, events))
        if len(page) < len(events):
            following = str(page[-1].revision)
        return messages.ListEventsResponse(events=page, next_page_token=following)

    async def StreamEvents(  # noqa: N802
        self, request: messages.StreamEventsRequest, caller: Caller, _context: Context
    ) -> AsyncIterator[messages.StreamEventsResponse]:
        """Events as they are written."""
        since = request.since_revision if request.HasField("since_revision") else None
        async for event in self._events.follow(scope(caller, request.organization), since):
            yield messages.StreamEventsResponse(event=_event_message(event))


def _event_message(event: AdministrativeEvent) -> event_pb2.AdministrativeEvent:
    """The event, without what would make it larger than clients receive."""
    message = mapping.event_to_message(event)
    if message.ByteSize() > MAX_EVENT_BYTES:
        message.ClearField("before")
        message.ClearField("after")
        message.documents_left_out = True
    return message


def _changes(written: MembersWritten) -> Any:
    return [mapping.member_change_to_message(before, after) for before, after in written.changes]


def _length(request: Any, field: str) -> timedelta | None:
    """The length of time in a field; None where it is unset; raises FieldInvalidError."""
    if not request.HasField(field):
        return None
    try:
        return timedelta(seconds=getattr(request, field).seconds, microseconds=getattr(request, field).nanos // 1000)
    except OverflowError:
        raise FieldInvalidError(field, "is out of range") from None
