"""PolicyAdminService, categories: reads the request, has it carried out, and sends what came of it."""

from pullgate.v1 import mapping
from pullgate.v1 import policy_admin_pb2 as messages
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError
from pullgate_server.administration.categories import CategoryAdministration
from pullgate_server.administration.pins import PinAdministration, place
from pullgate_server.authorization import scope
from pullgate_server.clock import Clock
from pullgate_server.deciding import Patience
from pullgate_server.rpc.gate import Context
from pullgate_server.rpc.policy_admin import named_organization, within_bytes
from pullgate_server.rpc.writing import write_call

MAX_WAIT_SECONDS = 15.0
"""For how long a call waits for sources that have not answered."""


class CategoryAdminService:
    """Handlers for a `Gate`."""

    def __init__(self, pins: PinAdministration, categories: CategoryAdministration, clock: Clock) -> None:
        self._pins = pins
        self._categories = categories
        self._clock = clock

    async def PutCategoryPin(  # noqa: N802
        self, request: messages.PutCategoryPinRequest, caller: Caller, context: Context
    ) -> messages.PutCategoryPinResponse:
        """Set a pin."""
        pin = mapping.pin_from_message(request.pin, author=caller.name, now=self._clock())
        pin, revision = await self._pins.put(write_call(request, caller, context), pin)
        return messages.PutCategoryPinResponse(pin=mapping.pin_to_message(pin), revision=revision)

    async def DeleteCategoryPin(  # noqa: N802
        self, request: messages.DeleteCategoryPinRequest, caller: Caller, context: Context
    ) -> messages.DeleteCategoryPinResponse:
        """Take a pin back."""
        revision = await self._pins.delete(write_call(request, caller, context), request.organization, request.name)
        return messages.DeleteCategoryPinResponse(revision=revision)

    async def ListCategoryPins(  # noqa: N802
        self, request: messages.ListCategoryPinsRequest, caller: Caller, _context: Context
    ) -> messages.ListCategoryPinsResponse:
        """A page of pins."""
        asked = request.organization and named_organization(request.organization)
        pins, following = self._pins.list(scope(caller, asked), request.page_size, request.page_token)
        page = within_bytes(map(mapping.pin_to_message, pins))
        if len(page) < len(pins):
            following = place(pins[len(page) - 1])
        return messages.ListCategoryPinsResponse(
            pins=page, next_page_token=following, known_as_of=mapping.timestamp(self._pins.known_as_of)
        )

    async def LookUpCategories(  # noqa: N802
        self, request: messages.LookUpCategoriesRequest, caller: Caller, context: Context
    ) -> messages.LookUpCategoriesResponse:
        """What is known of categories."""
        organization = _for_whom(request, caller)
        lookups = await self._categories.look_up(
            request.names, organization, _wait(context), sources_only=request.sources_only
        )
        return messages.LookUpCategoriesResponse(lookups=map(mapping.category_lookup_to_message, lookups))

    async def RefreshCategories(  # noqa: N802
        self, request: messages.RefreshCategoriesRequest, caller: Caller, context: Context
    ) -> messages.RefreshCategoriesResponse:
        """Ask the sources anew."""
        organization = _for_whom(request, caller)
        lookups = await self._categories.look_up(request.names, organization, _wait(context), anew=True)
        return messages.RefreshCategoriesResponse(lookups=map(mapping.category_lookup_to_message, lookups))

    async def ListCategories(  # noqa: N802
        self, request: messages.ListCategoriesRequest, _caller: Caller, _context: Context
    ) -> messages.ListCategoriesResponse:
        """A page of what the sources have said."""
        wanted = mapping.category_from_message(request.category) if request.category else None
        if request.category and wanted is None:
            raise FieldInvalidError("category", f"{request.category} is no category")
        known, following = await self._categories.page(request.page_size, request.page_token)
        return messages.ListCategoriesResponse(
            categories=[
                mapping.known_category_to_message(item) for item in known if wanted in {None, item.evidence.category}
            ],
            next_page_token=following,
        )


def _for_whom(request: messages.LookUpCategoriesRequest | messages.RefreshCategoriesRequest, caller: Caller) -> str:
    """The organization whose own namespaces and pins count; empty for nobody's."""
    asked = request.organization and named_organization(request.organization)
    return scope(caller, asked) or ""


def _wait(context: Context) -> float:
    """For how long sources are waited for: who asks for an explanation wants it whole."""
    return Patience(MAX_WAIT_SECONDS, context.time_remaining).left()
