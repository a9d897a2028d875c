"""PolicyAdminService, policies and pins: reads the request, has it carried out, and sends what came of it."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from pullgate.v1 import mapping
from pullgate.v1 import policy_admin_pb2 as messages
from pullgate_policy import Policy
from pullgate_policy.caller import Caller
from pullgate_policy.errors import FieldInvalidError, shown
from pullgate_policy.names import organization_name
from pullgate_server.administration.policies import PolicyAdministration
from pullgate_server.authorization import scope
from pullgate_server.dry_run import DryRunResult, PolicyTrial
from pullgate_server.rpc.gate import Context, Gate
from pullgate_server.rpc.writing import expected_revision, write_call

MAX_PAGE_BYTES = 1024 * 1024
"""A page of large policies ends early, so that every client can receive it; a single policy may be larger."""

Entry = TypeVar("Entry", bound=Message)


class PolicyAdminService:
    """Handlers for a `Gate`."""

    def __init__(
        self,
        policies: PolicyAdministration,
        trial: PolicyTrial,
        gate: Gate,
    ) -> None:
        self._policies = policies
        self._trial = trial
        self._gate = gate

    async def GetCaller(  # noqa: N802
        self, _request: messages.GetCallerRequest, caller: Caller, _context: Context
    ) -> messages.GetCallerResponse:
        """The caller."""
        return messages.GetCallerResponse(
            name=caller.name,
            caller_id=caller.id,
            role=mapping.caller_role_to_message(caller.role),
            organization=caller.organization,
            username=caller.username,
            may_assert_roles=caller.may_assert_roles,
            expires_at=mapping.timestamp(caller.expires_at),
        )

    async def GetPolicy(  # noqa: N802
        self, request: messages.GetPolicyRequest, _caller: Caller, _context: Context
    ) -> messages.GetPolicyResponse:
        """One policy."""
        stored = await self._policies.at_revision(named_organization(request.organization), request.revision)
        return messages.GetPolicyResponse(
            policy=mapping.stored_policy_to_message(stored),
            known_as_of=mapping.timestamp(self._policies.known_as_of),
        )

    async def ListPolicies(  # noqa: N802
        self, request: messages.ListPoliciesRequest, caller: Caller, _context: Context
    ) -> messages.ListPoliciesResponse:
        """A page of policies."""
        stored, following = self._policies.list(scope(caller, ""), request.page_size, request.page_token)
        page = within_bytes(map(mapping.stored_policy_to_message, stored))
        if len(page) < len(stored):
            following = page[-1].policy.organization
        return messages.ListPoliciesResponse(
            policies=page, next_page_token=following, known_as_of=mapping.timestamp(self._policies.known_as_of)
        )

    async def PutPolicy(  # noqa: N802
        self, request: messages.PutPolicyRequest, caller: Caller, context: Context
    ) -> messages.PutPolicyResponse:
        """Write a policy."""
        stored = await self._policies.put(
            write_call(request, caller, context),
            mapping.policy_from_message(request.policy),
            expected_revision(request),
        )
        return messages.PutPolicyResponse(policy=mapping.stored_policy_to_message(stored))

    async def PatchPolicy(  # noqa: N802
        self, request: messages.PatchPolicyRequest, caller: Caller, context: Context
    ) -> messages.PatchPolicyResponse:
        """Change some settings."""
        paths = request.update_mask.paths
        if not paths:
            raise FieldInvalidError("update_mask", "is empty; name the settings to change, or write the policy whole")

        settings = [_setting(index, path) for index, path in enumerate(paths)]

        def patched(policy: Policy) -> Policy:
            return mapping.policy_patched(policy, request.policy, settings)

        stored = await self._policies.patch(
            write_call(request, caller, context),
            named_organization(request.policy.organization, "policy.organization"),
            patched,
            expected_revision(request),
        )
        return messages.PatchPolicyResponse(policy=mapping.stored_policy_to_message(stored))

    async def DeletePolicy(  # noqa: N802
        self, request: messages.DeletePolicyRequest, caller: Caller, context: Context
    ) -> messages.DeletePolicyResponse:
        """Take a policy away."""
        revision = await self._policies.delete(
            write_call(request, caller, context), named_organization(request.organization), expected_revision(request)
        )
        return messages.DeletePolicyResponse(revision=revision)

    async def ListPolicyRevisions(  # noqa: N802
        self, request: messages.ListPolicyRevisionsRequest, _caller: Caller, _context: Context
    ) -> messages.ListPolicyRevisionsResponse:
        """A page of a policy's history."""
        events, following = await self._policies.history(
            named_organization(request.organization), request.page_size, request.page_token
        )
        page = within_bytes(map(mapping.revision_to_message, events))
        if len(page) < len(events):
            following = str(page[-1].revision)
        return messages.ListPolicyRevisionsResponse(revisions=page, next_page_token=following)

    async def DiffPolicy(  # noqa: N802
        self, request: messages.DiffPolicyRequest, _caller: Caller, _context: Context
    ) -> messages.DiffPolicyResponse:
        """What changed between two revisions."""
        changes = await self._policies.diff(
            named_organization(request.organization), request.from_revision, request.to_revision
        )
        return messages.DiffPolicyResponse(changes=map(mapping.change_to_message, changes))

    async def RollbackPolicy(  # noqa: N802
        self, request: messages.RollbackPolicyRequest, caller: Caller, context: Context
    ) -> messages.RollbackPolicyResponse:
        """Write an earlier revision again."""
        stored = await self._policies.roll_back(
            write_call(request, caller, context),
            named_organization(request.organization),
            request.revision,
            expected_revision(request),
        )
        return messages.RollbackPolicyResponse(policy=mapping.stored_policy_to_message(stored))

    async def DryRunPolicy(  # noqa: N802
        self, request: messages.DryRunPolicyRequest, caller: Caller, _context: Context
    ) -> messages.DryRunPolicyResponse:
        """Try a policy."""
        organization = named_organization(request.organization)
        draft = mapping.policy_from_message(request.policy) if request.HasField("policy") else None
        if draft is not None and draft.organization != organization:
            raise FieldInvalidError("policy.organization", f"is not {organization}, whose policy is tried")
        identities = []
        for index, identity in enumerate(request.identities):
            if identity.token:
                raise FieldInvalidError(f"identities[{index}].token", "is not read here; state the identity")
            identities.append(mapping.identity_from_message(identity))
        trial = await self._trial.run(
            caller, organization, draft, request.against_revision, identities, request.references
        )
        return messages.DryRunPolicyResponse(
            changes=map(mapping.change_to_message, trial.changes),
            results=map(self._result, trial.results),
            against_revision=trial.against_revision,
        )

    def _result(self, result: DryRunResult) -> messages.DryRunResult:
        message = messages.DryRunResult(identity_index=result.identity_index, reference=result.reference)
        if isinstance(result.answers, Exception):
            message.error.CopyFrom(self._gate.status_of(result.answers))
            return message
        before, after = result.answers
        message.before.CopyFrom(mapping.answer_to_message(before))
        message.after.CopyFrom(mapping.answer_to_message(after))
        message.effect_changed = before.decision.effect is not after.decision.effect
        return message


def named_organization(text: str, path: str = "organization") -> str:
    """The organization that a request names; raises FieldInvalidError."""
    try:
        return organization_name(text)
    except ValueError as error:
        raise FieldInvalidError(path, f"{shown(text)} {error}") from error


def _setting(index: int, path: str) -> mapping.Setting:
    setting = mapping.setting_at(path)
    if setting is None:
        raise FieldInvalidError(f"update_mask.paths[{index}]", f"{shown(path)} is no setting that can be changed")
    return setting


def within_bytes(entries: Iterable[Entry]) -> Sequence[Entry]:
    """As many of a page's entries as every client can receive, at least one."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        size += entry.ByteSize()
        if page and size > MAX_PAGE_BYTES:
            break
        page.append(entry)
    return page
