"""PolicyAdminService: reads the request, has it carried out, and sends what came of it."""

from pullgate.v1 import policy_admin_pb2 as messages
from pullgate.v1.mapping import pin_from_message, pin_to_message, policy_from_message, stored_policy_to_message
from pullgate_policy.errors import shown
from pullgate_policy.names import organization_name
from pullgate_server.administration import Administration
from pullgate_server.callers import Caller
from pullgate_server.clock import Clock
from pullgate_server.errors import FieldInvalidError
from pullgate_server.rpc.gate import Context

MAX_PAGE_BYTES = 1024 * 1024
"""A page of large policies ends early, so that every client can receive it; a single policy may be larger."""


class PolicyAdminService:
    """Handlers for a `Gate`."""

    def __init__(self, administration: Administration, clock: Clock) -> None:
        self._administration = administration
        self._clock = clock

    async def GetPolicy(  # noqa: N802
        self, request: messages.GetPolicyRequest, _caller: Caller, _context: Context
    ) -> messages.GetPolicyResponse:
        """One policy."""
        try:
            organization = organization_name(request.organization)
        except ValueError as error:
            raise FieldInvalidError("organization", f"{shown(request.organization)} {error}") from error
        return messages.GetPolicyResponse(
            policy=stored_policy_to_message(self._administration.get_policy(organization))
        )

    async def PutPolicy(  # noqa: N802
        self, request: messages.PutPolicyRequest, caller: Caller, _context: Context
    ) -> messages.PutPolicyResponse:
        """Write a policy."""
        stored = await self._administration.put_policy(
            caller,
            policy_from_message(request.policy),
            expected_revision=request.expected_revision if request.HasField("expected_revision") else None,
            comment=request.comment,
        )
        return messages.PutPolicyResponse(policy=stored_policy_to_message(stored))

    async def ListPolicies(  # noqa: N802
        self, request: messages.ListPoliciesRequest, _caller: Caller, _context: Context
    ) -> messages.ListPoliciesResponse:
        """A page of policies."""
        page, following = self._administration.list_policies(request.page_size, request.page_token)
        response = messages.ListPoliciesResponse()
        size = 0
        for stored in page:
            message = stored_policy_to_message(stored)
            size += message.ByteSize()
            if response.policies and size > MAX_PAGE_BYTES:
                following = response.policies[-1].policy.organization
                break
            response.policies.append(message)
        response.next_page_token = following
        return response

    async def PutCategoryPin(  # noqa: N802
        self, request: messages.PutCategoryPinRequest, caller: Caller, _context: Context
    ) -> messages.PutCategoryPinResponse:
        """Set a pin."""
        pin = pin_from_message(request.pin, author=caller.name, now=self._clock())
        revision = await self._administration.put_pin(pin)
        return messages.PutCategoryPinResponse(pin=pin_to_message(pin), revision=revision)

    async def DeleteCategoryPin(  # noqa: N802
        self, request: messages.DeleteCategoryPinRequest, caller: Caller, _context: Context
    ) -> messages.DeleteCategoryPinResponse:
        """Take a pin back."""
        revision = await self._administration.delete_pin(caller, request.name)
        return messages.DeleteCategoryPinResponse(revision=revision)

    async def ListCategoryPins(  # noqa: N802
        self, _request: messages.ListCategoryPinsRequest, _caller: Caller, _context: Context
    ) -> messages.ListCategoryPinsResponse:
        """All pins."""
        return messages.ListCategoryPinsResponse(pins=map(pin_to_message, self._administration.list_pins()))
