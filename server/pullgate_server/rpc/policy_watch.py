"""PolicyWatchService, and the list of its subscribers: reads the request, has it carried out, and sends what comes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

from pullgate.v1 import mapping, policy_admin_pb2
from pullgate.v1 import policy_watch_pb2 as messages
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError, OrganizationNotPermittedError, shown
from pullgate_policy.subscriber import Subscriber
from pullgate_server.administration.paging import page_size
from pullgate_server.authorization import scope
from pullgate_server.clock import Clock
from pullgate_server.rpc.gate import Context
from pullgate_server.rpc.policy_admin import named_organization
from pullgate_server.rpc.watch_messages import WatchMessages
from pullgate_server.snapshot import SnapshotKeeper
from pullgate_server.watching.hub import WatchHub
from pullgate_server.watching.subscribers import Subscribers
from pullgate_server.watching.subscription import Subscription
from pullgate_server.watching.view import View

MAX_ORGANIZATIONS = 1000
"""Organizations in one request."""

MAX_NAME_LENGTH = 255


class PolicyWatchService:
    """Handlers for a `Gate`."""

    def __init__(
        self, hub: WatchHub, subscribers: Subscribers, new_subscription_id: Callable[[], str], clock: Clock
    ) -> None:
        self._hub = hub
        self._subscribers = subscribers
        self._new_subscription_id = new_subscription_id
        self._clock = clock
        self._messages = WatchMessages()

    async def Watch(  # noqa: N802
        self, request: messages.WatchRequest, caller: Caller, _context: Context
    ) -> AsyncIterator[bytes]:
        """All that the caller may see of what decisions are made from, and every change of it."""
        subscription = Subscription(
            self._new_subscription_id(),
            name=_name(request.subscriber),
            caller=caller,
            view=_view(request, caller),
            asked=sorted(set(request.organizations)),
            connected_at=self._clock(),
        )
        written = self._messages.stream()
        # Closed here and now, as whoever stops waits until nobody follows any more.
        async with aclosing(self._hub.follow(subscription, request.resume_token)) as events:
            async for event in events:
                for data in written.write(event):
                    yield data

    async def ReportApplied(  # noqa: N802
        self, request: messages.ReportAppliedRequest, caller: Caller, _context: Context
    ) -> messages.ReportAppliedResponse:
        """What a subscriber runs."""
        if request.revision < 0:
            raise FieldInvalidError("revision", f"{request.revision} is below 0, and revisions are not")
        await self._subscribers.report(caller, request.subscription_id, request.revision, request.error)
        return messages.ReportAppliedResponse()


class SubscriberAdminService:
    """Handlers for a `Gate`."""

    def __init__(self, subscribers: Subscribers, snapshots: SnapshotKeeper) -> None:
        self._subscribers = subscribers
        self._snapshots = snapshots

    async def ListSubscribers(  # noqa: N802
        self, request: policy_admin_pb2.ListSubscribersRequest, caller: Caller, _context: Context
    ) -> policy_admin_pb2.ListSubscribersResponse:
        """A page of subscribers."""
        size = page_size(request.page_size)
        asked = request.organization and named_organization(request.organization)
        after = _place_of(request.page_token)
        known = [item for item in await self._subscribers.list(scope(caller, asked)) if _place(item) > after]
        page = known[:size]
        return policy_admin_pb2.ListSubscribersResponse(
            subscribers=map(mapping.subscriber_to_message, page),
            next_page_token="\n".join(_place(page[-1])) if len(known) > size else "",
            newest_revision=self._snapshots.current.revision,
        )


def _name(text: str) -> str:
    """A subscriber's own name; raises FieldInvalidError."""
    if len(text) > MAX_NAME_LENGTH:
        raise FieldInvalidError("subscriber", f"has {len(text)} characters, and at most {MAX_NAME_LENGTH} are allowed")
    if not text.isprintable():
        raise FieldInvalidError("subscriber", f"{shown(text)} has characters that cannot be printed")
    return text


def _view(request: messages.WatchRequest, caller: Caller) -> View:
    """What the caller may see of what it asked for; raises FieldInvalidError and OrganizationNotPermittedError."""
    asked = _organizations(request.organizations)
    if caller.role is not CallerRole.OPERATOR:
        for organization in asked:
            if organization != caller.organization:
                raise OrganizationNotPermittedError(organization, caller.organization)
        asked = (caller.organization,)
    return View(frozenset(asked) if asked else None, includes_categories=request.include_categories)


def _organizations(names: Sequence[str]) -> Sequence[str]:
    if len(names) > MAX_ORGANIZATIONS:
        raise FieldInvalidError(
            "organizations", f"has {len(names)} entries, and at most {MAX_ORGANIZATIONS} are watched by name"
        )
    return [named_organization(name, f"organizations[{index}]") for index, name in enumerate(names)]


def _place(subscriber: Subscriber) -> tuple[str, str]:
    """Where a subscriber stands in the list."""
    return subscriber.name, subscriber.subscription_id


def _place_of(page_token: str) -> tuple[str, str]:
    name, _, subscription_id = page_token.partition("\n")
    return name, subscription_id
