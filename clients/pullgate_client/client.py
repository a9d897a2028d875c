"""The synchronous client."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from pullgate.v1 import mapping, policy_admin_pb2, policy_decision_pb2
from pullgate.v1.identity_pb2 import Identity as IdentityMessage
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate_client.connection import Connection
from pullgate_client.errors import CallError
from pullgate_client.values import DryRun, DryRunResult, WhoAmI
from pullgate_policy import Category, Identity, Policy
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory
from pullgate_policy.changes import SettingChange
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member, MembersWritten
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import PolicyRevision, StoredPolicy

DEFAULT_DEADLINE = 10.0
"""Seconds that a call may take."""

MAX_BATCH = 500
"""References in one BatchDecide: the service's own default limit."""

MAX_NAMES = 100
"""Names in one request for categories: the service's own limit."""

MAX_PAGE = 1000
"""Entries of a page: the service's own limit."""

Response = TypeVar("Response")


class Client:
    """Calls a service. Close it, or use it in a `with` statement. Safe to share between threads.

    Every method raises CallError when the service gives no answer. Writes take a `request_id`: the same write sent
    again under the same id happens once, and without one a write has an id of its own.

    Attributes:
        connection: what it was made with.
    """

    def __init__(self, connection: Connection, *, deadline: float = DEFAULT_DEADLINE) -> None:
        self.connection = connection
        self._channel = connection.open_channel()
        self._metadata = (("authorization", f"Bearer {connection.token}"),) if connection.token else ()
        self._deadline = deadline
        self._decisions = PolicyDecisionServiceStub(self._channel)
        self._administration = PolicyAdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def decide(
        self, identity: Identity | str, reference: str, *, organizations: Sequence[str] = (), min_revision: int = 0
    ) -> Answer:
        """May `identity` use `reference`?

        Args:
            identity: who pulls, or a token of theirs, from which the service reads who that is.
            organizations: who has a say besides the identity's own organizations.
            min_revision: the answer is at least as fresh as this revision.
        """
        request = policy_decision_pb2.DecideRequest(
            identity=_identity(identity),
            reference=reference,
            organizations=organizations,
            min_revision=min_revision,
        )
        return mapping.answer_from_message(self._call(self._decisions.Decide, request).decision)

    def decide_all(
        self, identity: Identity | str, references: Sequence[str], *, organizations: Sequence[str] = ()
    ) -> Iterator[Answer | CallError]:
        """An answer, or why there is none, for each reference in order; in batches as large as the service takes."""
        start, size = 0, MAX_BATCH
        while start < len(references):
            request = policy_decision_pb2.BatchDecideRequest(
                identity=_identity(identity),
                references=references[start : start + size],
                organizations=organizations,
            )
            try:
                decisions = self._call(self._decisions.BatchDecide, request).decisions
            except CallError as error:
                if error.reason != "BATCH_TOO_LARGE" or size == 1:
                    raise
                size //= 2
                continue
            start += size
            for item in decisions:
                if item.HasField("error"):
                    yield CallError.from_status(item.error)
                else:
                    yield mapping.answer_from_message(item.decision)

    def who_am_i(self) -> WhoAmI:
        """Who the caller is, as the service sees it."""
        response = self._call(self._administration.GetCaller, policy_admin_pb2.GetCallerRequest())
        role = mapping.caller_role_from_message(response.role)
        return WhoAmI(
            name=response.name,
            caller_id=response.caller_id,
            role=role or CallerRole.MEMBER,
            organization=response.organization,
            username=response.username,
            may_assert_roles=response.may_assert_roles,
            expires_at=mapping.moment_of(response, "expires_at"),
        )

    def get_policy(self, organization: str, *, revision: int = 0) -> StoredPolicy:
        """One organization's policy, the newest or as a revision wrote it."""
        request = policy_admin_pb2.GetPolicyRequest(organization=organization, revision=revision)
        return mapping.stored_policy_from_message(self._call(self._administration.GetPolicy, request).policy)

    def put_policy(
        self, policy: Policy, *, expected_revision: int | None = None, comment: str = "", request_id: str = ""
    ) -> StoredPolicy:
        """Write a policy, if it is still at `expected_revision` (0: if there is none; None: in any case)."""
        request = policy_admin_pb2.PutPolicyRequest(
            policy=mapping.policy_to_message(policy),
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or _new_request_id(),
        )
        return mapping.stored_policy_from_message(self._call(self._administration.PutPolicy, request).policy)

    def patch_policy(
        self,
        policy: Policy,
        paths: Sequence[str],
        *,
        expected_revision: int | None = None,
        comment: str = "",
        request_id: str = "",
    ) -> StoredPolicy:
        """Change the settings at `paths`, such as image_access.mode, to what they are in `policy`."""
        request = policy_admin_pb2.PatchPolicyRequest(
            policy=mapping.policy_to_message(policy),
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or _new_request_id(),
        )
        request.update_mask.paths.extend(paths)
        return mapping.stored_policy_from_message(self._call(self._administration.PatchPolicy, request).policy)

    def delete_policy(
        self, organization: str, *, expected_revision: int | None = None, comment: str = "", request_id: str = ""
    ) -> int:
        """Take an organization's policy away; returns the revision."""
        request = policy_admin_pb2.DeletePolicyRequest(
            organization=organization,
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or _new_request_id(),
        )
        return self._call(self._administration.DeletePolicy, request).revision

    def roll_back_policy(
        self,
        organization: str,
        revision: int,
        *,
        expected_revision: int | None = None,
        comment: str = "",
        request_id: str = "",
    ) -> StoredPolicy:
        """Write again what a revision wrote."""
        request = policy_admin_pb2.RollbackPolicyRequest(
            organization=organization,
            revision=revision,
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or _new_request_id(),
        )
        return mapping.stored_policy_from_message(self._call(self._administration.RollbackPolicy, request).policy)

    def policy_history(self, organization: str) -> Iterator[PolicyRevision]:
        """Every write of an organization's policy, the newest first."""
        request = policy_admin_pb2.ListPolicyRevisionsRequest(organization=organization)
        for response in self._pages(self._administration.ListPolicyRevisions, request):
            yield from map(mapping.revision_from_message, response.revisions)

    def diff_policy(self, organization: str, from_revision: int, to_revision: int = 0) -> Sequence[SettingChange]:
        """What changed from one revision (0: before there was a policy) to another (0: the newest)."""
        request = policy_admin_pb2.DiffPolicyRequest(
            organization=organization, from_revision=from_revision, to_revision=to_revision
        )
        changes = self._call(self._administration.DiffPolicy, request).changes
        return [mapping.change_from_message(change) for change in changes]

    def dry_run_policy(
        self,
        organization: str,
        policy: Policy | None,
        *,
        identities: Sequence[Identity] = (),
        references: Sequence[str] = (),
        against_revision: int = 0,
    ) -> DryRun:
        """What a policy (None: the newest) would change and decide; nothing is written."""
        request = policy_admin_pb2.DryRunPolicyRequest(
            organization=organization,
            policy=None if policy is None else mapping.policy_to_message(policy),
            against_revision=against_revision,
            identities=map(mapping.identity_to_message, identities),
            references=references,
        )
        response = self._call(self._administration.DryRunPolicy, request)
        return DryRun(
            changes=tuple(map(mapping.change_from_message, response.changes)),
            results=tuple(
                DryRunResult(
                    identity=identities[result.identity_index],
                    reference=result.reference,
                    answers=CallError.from_status(result.error)
                    if result.HasField("error")
                    else (mapping.answer_from_message(result.before), mapping.answer_from_message(result.after)),
                )
                for result in response.results
            ),
            against_revision=response.against_revision,
        )

    def list_policies(self) -> Iterator[StoredPolicy]:
        """The policies that the caller may read, in the order of their organizations' names."""
        request = policy_admin_pb2.ListPoliciesRequest()
        for response in self._pages(self._administration.ListPolicies, request):
            yield from map(mapping.stored_policy_from_message, response.policies)

    def put_pin(self, pin: CategoryPin, *, request_id: str = "") -> CategoryPin:
        """Set a pin, in place of one of the same name and organization; author and time are the service's."""
        request = policy_admin_pb2.PutCategoryPinRequest(
            pin=mapping.pin_to_message(pin), request_id=request_id or _new_request_id()
        )
        return mapping.pin_as_stored(self._call(self._administration.PutCategoryPin, request).pin)

    def delete_pin(self, name: str, *, organization: str = "", request_id: str = "") -> None:
        """Take back an organization's pin, or one for every organization (empty)."""
        request = policy_admin_pb2.DeleteCategoryPinRequest(
            name=name, organization=organization, request_id=request_id or _new_request_id()
        )
        self._call(self._administration.DeleteCategoryPin, request)

    def list_pins(self, *, organization: str = "") -> Iterator[CategoryPin]:
        """The pins that hold for an organization, or (empty) all that the caller may see; expired ones too.

        They come in the order of their organizations and names, those for every organization first.
        """
        request = policy_admin_pb2.ListCategoryPinsRequest(organization=organization)
        for response in self._pages(self._administration.ListCategoryPins, request):
            yield from map(mapping.pin_as_stored, response.pins)

    def look_up_categories(
        self, names: Sequence[str], *, organization: str = "", anew: bool = False
    ) -> Iterator[CategoryLookup]:
        """What is known of namespaces and repositories, in their order, and who was asked.

        Args:
            organization: whose own namespaces and pins count; empty for the caller's own.
            anew: whether the sources are asked whatever is remembered.
        """
        for begin in range(0, len(names), MAX_NAMES):
            part = names[begin : begin + MAX_NAMES]
            if anew:
                refresh = policy_admin_pb2.RefreshCategoriesRequest(names=part, organization=organization)
                lookups = self._call(self._administration.RefreshCategories, refresh).lookups
            else:
                look_up = policy_admin_pb2.LookUpCategoriesRequest(names=part, organization=organization)
                lookups = self._call(self._administration.LookUpCategories, look_up).lookups
            yield from map(mapping.category_lookup_from_message, lookups)

    def list_categories(self, category: Category | None = None) -> Iterator[KnownCategory]:
        """What the sources have said, in the order of the names: all of it, or what is of one category."""
        request = policy_admin_pb2.ListCategoriesRequest(page_size=MAX_PAGE)
        if category is not None:
            request.category = mapping.category_to_message(category)
        for response in self._pages(self._administration.ListCategories, request):
            yield from map(mapping.known_category_from_message, response.categories)

    def list_members(self, organization: str, *, team: str = "") -> Iterator[Member]:
        """An organization's members, or those of one team, in the order of their names."""
        request = policy_admin_pb2.ListMembersRequest(organization=organization, team=team)
        for response in self._pages(self._administration.ListMembers, request):
            yield from mapping.members_from_messages(response.members)

    def write_members(
        self,
        organization: str,
        members: Iterable[Member],
        *,
        replace: bool = False,
        allow_empty: bool = False,
        dry_run: bool = False,
        fields: Sequence[str] = (),
        comment: str = "",
        request_id: str = "",
    ) -> MembersWritten:
        """Add and change members; with `replace` these are all, and an empty list needs `allow_empty`.

        Args:
            fields: of members who are on the list already change these alone: role, teams. Empty: both.
        """
        request = policy_admin_pb2.WriteMembersRequest(
            organization=organization,
            members=map(mapping.member_to_message, members),
            replace=replace,
            allow_empty=allow_empty,
            dry_run=dry_run,
            comment=comment,
            request_id="" if dry_run else request_id or _new_request_id(),
        )
        request.update_mask.paths.extend(fields)
        response = self._call(self._administration.WriteMembers, request)
        changes = tuple(map(mapping.member_change_from_message, response.changes))
        return MembersWritten(changes=changes, unchanged=response.unchanged, revision=response.revision)

    def remove_members(
        self, organization: str, usernames: Sequence[str], *, comment: str = "", request_id: str = ""
    ) -> MembersWritten:
        """Remove members; if one of them is none, nobody is removed."""
        request = policy_admin_pb2.RemoveMembersRequest(
            organization=organization,
            usernames=usernames,
            comment=comment,
            request_id=request_id or _new_request_id(),
        )
        response = self._call(self._administration.RemoveMembers, request)
        changes = tuple(map(mapping.member_change_from_message, response.changes))
        return MembersWritten(changes=changes, unchanged=0, revision=response.revision)

    def create_token(
        self,
        name: str,
        role: CallerRole,
        *,
        organization: str = "",
        username: str = "",
        may_assert_roles: bool = False,
        expires_in: timedelta | None = None,
        request_id: str = "",
    ) -> tuple[str, AccessToken]:
        """Make a token; its secret is given here and nowhere else."""
        request = policy_admin_pb2.CreateTokenRequest(
            name=name,
            role=mapping.caller_role_to_message(role),
            organization=organization,
            username=username,
            may_assert_roles=may_assert_roles,
            expires_in=mapping.duration(expires_in),
            request_id=request_id or _new_request_id(),
        )
        response = self._call(self._administration.CreateToken, request)
        return response.secret, mapping.token_from_message(response.token)

    def list_tokens(self, *, organization: str = "", include_ended: bool = False) -> Iterator[AccessToken]:
        """The tokens that the caller may manage, in the order of their making."""
        request = policy_admin_pb2.ListTokensRequest(organization=organization, include_ended=include_ended)
        for response in self._pages(self._administration.ListTokens, request):
            yield from map(mapping.token_from_message, response.tokens)

    def revoke_token(self, token_id: str, *, comment: str = "", request_id: str = "") -> AccessToken:
        """End a token at once."""
        request = policy_admin_pb2.RevokeTokenRequest(
            id=token_id, comment=comment, request_id=request_id or _new_request_id()
        )
        return mapping.token_from_message(self._call(self._administration.RevokeToken, request).token)

    def rotate_token(
        self,
        token_id: str,
        *,
        overlap: timedelta = timedelta(0),
        expires_in: timedelta | None = None,
        request_id: str = "",
    ) -> tuple[str, AccessToken]:
        """Give a token a new secret; the former one is accepted for `overlap` yet."""
        request = policy_admin_pb2.RotateTokenRequest(
            id=token_id,
            overlap=mapping.duration(overlap),
            expires_in=mapping.duration(expires_in),
            request_id=request_id or _new_request_id(),
        )
        response = self._call(self._administration.RotateToken, request)
        return response.secret, mapping.token_from_message(response.token)

    def list_events(
        self, *, organization: str = "", subject: EventSubject | None = None, name: str = ""
    ) -> Iterator[AdministrativeEvent]:
        """Administrative events that the caller may see, the newest first."""
        request = policy_admin_pb2.ListEventsRequest(
            organization=organization, subject=mapping.subject_to_message(subject), name=name
        )
        for response in self._pages(self._administration.ListEvents, request):
            yield from map(mapping.event_from_message, response.events)

    def stream_events(
        self, *, organization: str = "", since_revision: int | None = None
    ) -> Iterator[AdministrativeEvent]:
        """Events after a revision (None: from now on), in their order, and then each as it is written, without end."""
        request = policy_admin_pb2.StreamEventsRequest(organization=organization, since_revision=since_revision)
        try:
            for response in self._administration.StreamEvents(request, metadata=self._metadata):
                yield mapping.event_from_message(response.event)
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error

    def is_serving(self) -> bool:
        """Whether the server says that calls should be sent to it (grpc.health.v1). Needs no token."""
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        # HealthCheckResponse has one field, `status`, and SERVING is 1: not worth a dependency of every client.
        return self._call(check, b"") == b"\x08\x01"

    def _pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """The pages of a list, one after the other."""
        while True:
            response = self._call(method, request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _call(self, method: Callable[..., Response], request: Any) -> Response:
        try:
            return method(request, timeout=self._deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error


def _identity(identity: Identity | str) -> IdentityMessage:
    return IdentityMessage(token=identity) if isinstance(identity, str) else mapping.identity_to_message(identity)


def _new_request_id() -> str:
    return str(uuid.uuid4())
