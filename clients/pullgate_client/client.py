# Generated from aio.py by clients/generate: change that, and say `make client`.
"""The synchronous client."""

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from pullgate.v1 import mapping, policy_admin_pb2, policy_decision_pb2, policy_watch_pb2
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate.v1.policy_watch_pb2_grpc import PolicyWatchServiceStub
from pullgate_client.connection import HEALTH_CHECK, WATCH, Connection
from pullgate_client.errors import CallError
from pullgate_client.messages import (
    DEFAULT_DEADLINE,
    MAX_BATCH,
    MAX_NAMES,
    MAX_PAGE,
    answer_of,
    dry_run_of,
    identity_message,
    members_written_of,
    new_request_id,
    question_message,
    result_of,
    who_am_i_of,
)
from pullgate_client.values import DryRun, Question, WhoAmI
from pullgate_client.watch_reader import WatchReader
from pullgate_policy import Category, Identity, Policy
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.category_lookup import CategoryLookup, KnownCategory
from pullgate_policy.changes import SettingChange
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member, MembersWritten
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import PolicyRevision, StoredPolicy
from pullgate_policy.subscriber import Subscriber
from pullgate_policy.watch import WatchEvent

Response = TypeVar("Response")
Entry = TypeVar("Entry")


class Client:
    """Calls a service. Close it, or use it in a `with` statement. Safe to share between threads.

    Every method raises CallError when the service gives no answer. Writes take a `request_id`: the same write sent
    again under the same id happens once, and without one a write has an id of its own.

    Attributes:
        connection: what it was made with.
        deadline: seconds that a call may take, all attempts together; None for as long as it takes. Streams have none.
    """

    def __init__(self, connection: Connection, *, deadline: float | None = DEFAULT_DEADLINE) -> None:
        self.connection = connection
        self.deadline = deadline
        self._channel = connection.open_channel()
        self._decisions = PolicyDecisionServiceStub(self._channel)
        self._administration = PolicyAdminServiceStub(self._channel)
        self._watching = PolicyWatchServiceStub(self._channel)
        # As bytes: a snapshot's digest is that of the very messages.
        self._watch: grpc.UnaryStreamMultiCallable[policy_watch_pb2.WatchRequest, bytes] = self._channel.unary_stream(
            WATCH, policy_watch_pb2.WatchRequest.SerializeToString
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, also that of `with_deadline`, which is the same."""
        self._channel.close()

    def with_deadline(self, deadline: float | None) -> Self:
        """This client with another deadline: `client.with_deadline(1.0).decide(…)`."""
        client = copy.copy(self)
        client.deadline = deadline
        return client

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
            identity=identity_message(identity),
            reference=reference,
            organizations=organizations,
            min_revision=min_revision,
        )
        response = self._call(self._decisions.Decide, request)
        return answer_of(response.decision)

    def decide_all(
        self,
        identity: Identity | str,
        references: Sequence[str],
        *,
        organizations: Sequence[str] = (),
        min_revision: int = 0,
    ) -> Generator[Answer | CallError, None, None]:
        """An answer, or why there is none, for each reference in order; in batches as large as the service takes."""
        start, size = 0, MAX_BATCH
        while start < len(references):
            request = policy_decision_pb2.BatchDecideRequest(
                identity=identity_message(identity),
                references=references[start : start + size],
                organizations=organizations,
                min_revision=min_revision,
            )
            try:
                response = self._call(self._decisions.BatchDecide, request)
            except CallError as error:
                if error.reason != "BATCH_TOO_LARGE" or size == 1:
                    raise
                size //= 2
                continue
            start += size
            for item in response.decisions:
                yield result_of(item)

    def stream_decide(self, questions: Iterable[Question]) -> Generator[tuple[str, Answer | CallError], None, None]:
        """The request id and the answer, or why there is none, of each question, as the answers come.

        What `questions` raises is raised once all that was asked before is answered.
        """
        failures: list[Exception] = []

        def requests() -> Iterator[policy_decision_pb2.StreamDecideRequest]:
            try:
                for question in questions:
                    yield question_message(question)
            except Exception as error:  # noqa: BLE001 - grpc would swallow it, and cancel the call
                failures.append(error)

        call = self._decisions.StreamDecide(requests(), metadata=self.connection.authorization())
        try:
            for response in call:
                yield response.request_id, result_of(response)
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error
        finally:
            call.cancel()
        if failures:
            raise failures[0]

    def who_am_i(self) -> WhoAmI:
        """Who the caller is, as the service sees it."""
        return who_am_i_of(self._call(self._administration.GetCaller, policy_admin_pb2.GetCallerRequest()))

    def get_policy(self, organization: str, *, revision: int = 0) -> StoredPolicy:
        """One organization's policy, the newest or as a revision wrote it."""
        request = policy_admin_pb2.GetPolicyRequest(organization=organization, revision=revision)
        response = self._call(self._administration.GetPolicy, request)
        return mapping.stored_policy_from_message(response.policy)

    def put_policy(
        self, policy: Policy, *, expected_revision: int | None = None, comment: str = "", request_id: str = ""
    ) -> StoredPolicy:
        """Write a policy, if it is still at `expected_revision` (0: if there is none; None: in any case)."""
        request = policy_admin_pb2.PutPolicyRequest(
            policy=mapping.policy_to_message(policy),
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or new_request_id(),
        )
        response = self._call(self._administration.PutPolicy, request)
        return mapping.stored_policy_from_message(response.policy)

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
            request_id=request_id or new_request_id(),
        )
        request.update_mask.paths.extend(paths)
        response = self._call(self._administration.PatchPolicy, request)
        return mapping.stored_policy_from_message(response.policy)

    def delete_policy(
        self, organization: str, *, expected_revision: int | None = None, comment: str = "", request_id: str = ""
    ) -> int:
        """Take an organization's policy away; returns the revision."""
        request = policy_admin_pb2.DeletePolicyRequest(
            organization=organization,
            expected_revision=expected_revision,
            comment=comment,
            request_id=request_id or new_request_id(),
        )
        response = self._call(self._administration.DeletePolicy, request)
        return response.revision

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
            request_id=request_id or new_request_id(),
        )
        response = self._call(self._administration.RollbackPolicy, request)
        return mapping.stored_policy_from_message(response.policy)

    def policy_history(self, organization: str) -> Generator[PolicyRevision, None, None]:
        """Every write of an organization's policy, the newest first."""
        request = policy_admin_pb2.ListPolicyRevisionsRequest(organization=organization)
        return self._entries(
            self._administration.ListPolicyRevisions, request, "revisions", mapping.revision_from_message
        )

    def diff_policy(self, organization: str, from_revision: int, to_revision: int = 0) -> Sequence[SettingChange]:
        """What changed from one revision (0: before there was a policy) to another (0: the newest)."""
        request = policy_admin_pb2.DiffPolicyRequest(
            organization=organization, from_revision=from_revision, to_revision=to_revision
        )
        response = self._call(self._administration.DiffPolicy, request)
        return [mapping.change_from_message(change) for change in response.changes]

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
        return dry_run_of(self._call(self._administration.DryRunPolicy, request), identities)

    def list_policies(self) -> Generator[StoredPolicy, None, None]:
        """The policies that the caller may read, in the order of their organizations' names."""
        request = policy_admin_pb2.ListPoliciesRequest()
        return self._entries(self._administration.ListPolicies, request, "policies", mapping.stored_policy_from_message)

    def put_pin(self, pin: CategoryPin, *, request_id: str = "") -> CategoryPin:
        """Set a pin, in place of one of the same name and organization; author and time are the service's."""
        request = policy_admin_pb2.PutCategoryPinRequest(
            pin=mapping.pin_to_message(pin), request_id=request_id or new_request_id()
        )
        response = self._call(self._administration.PutCategoryPin, request)
        return mapping.pin_as_stored(response.pin)

    def delete_pin(self, name: str, *, organization: str = "", request_id: str = "") -> None:
        """Take back an organization's pin, or one for every organization (empty)."""
        request = policy_admin_pb2.DeleteCategoryPinRequest(
            name=name, organization=organization, request_id=request_id or new_request_id()
        )
        self._call(self._administration.DeleteCategoryPin, request)

    def list_pins(self, *, organization: str = "") -> Generator[CategoryPin, None, None]:
        """The pins that hold for an organization, or (empty) all that the caller may see; expired ones too.

        They come in the order of their organizations and names, those for every organization first.
        """
        request = policy_admin_pb2.ListCategoryPinsRequest(organization=organization)
        return self._entries(self._administration.ListCategoryPins, request, "pins", mapping.pin_as_stored)

    def look_up_categories(
        self, names: Sequence[str], *, organization: str = "", anew: bool = False, sources_only: bool = False
    ) -> Generator[CategoryLookup, None, None]:
        """What is known of namespaces and repositories, in their order, and who was asked.

        Args:
            organization: whose own namespaces and pins count; empty for the caller's own.
            anew: whether the sources are asked whatever is remembered.
            sources_only: whether own namespaces and pins are left aside; not together with `anew`.
        """
        for begin in range(0, len(names), MAX_NAMES):
            part = names[begin : begin + MAX_NAMES]
            response: policy_admin_pb2.RefreshCategoriesResponse | policy_admin_pb2.LookUpCategoriesResponse
            if anew:
                refresh = policy_admin_pb2.RefreshCategoriesRequest(names=part, organization=organization)
                response = self._call(self._administration.RefreshCategories, refresh)
            else:
                look_up = policy_admin_pb2.LookUpCategoriesRequest(
                    names=part, organization=organization, sources_only=sources_only
                )
                response = self._call(self._administration.LookUpCategories, look_up)
            for lookup in response.lookups:
                yield mapping.category_lookup_from_message(lookup)

    def list_categories(self, category: Category | None = None) -> Generator[KnownCategory, None, None]:
        """What the sources have said, in the order of the names: all of it, or what is of one category."""
        request = policy_admin_pb2.ListCategoriesRequest(page_size=MAX_PAGE)
        if category is not None:
            request.category = mapping.category_to_message(category)
        return self._entries(
            self._administration.ListCategories, request, "categories", mapping.known_category_from_message
        )

    def list_members(self, organization: str, *, team: str = "") -> Generator[Member, None, None]:
        """An organization's members, or those of one team, in the order of their names."""
        request = policy_admin_pb2.ListMembersRequest(organization=organization, team=team)
        return self._entries(
            self._administration.ListMembers, request, "members", lambda one: mapping.members_from_messages([one])[0]
        )

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
            request_id="" if dry_run else request_id or new_request_id(),
        )
        request.update_mask.paths.extend(fields)
        return members_written_of(self._call(self._administration.WriteMembers, request))

    def remove_members(
        self, organization: str, usernames: Sequence[str], *, comment: str = "", request_id: str = ""
    ) -> MembersWritten:
        """Remove members; if one of them is none, nobody is removed."""
        request = policy_admin_pb2.RemoveMembersRequest(
            organization=organization,
            usernames=usernames,
            comment=comment,
            request_id=request_id or new_request_id(),
        )
        return members_written_of(self._call(self._administration.RemoveMembers, request))

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
            request_id=request_id or new_request_id(),
        )
        response = self._call(self._administration.CreateToken, request)
        return response.secret, mapping.token_from_message(response.token)

    def list_tokens(self, *, organization: str = "", include_ended: bool = False) -> Generator[AccessToken, None, None]:
        """The tokens that the caller may manage, in the order of their making."""
        request = policy_admin_pb2.ListTokensRequest(organization=organization, include_ended=include_ended)
        return self._entries(self._administration.ListTokens, request, "tokens", mapping.token_from_message)

    def revoke_token(self, token_id: str, *, comment: str = "", request_id: str = "") -> AccessToken:
        """End a token at once."""
        request = policy_admin_pb2.RevokeTokenRequest(
            id=token_id, comment=comment, request_id=request_id or new_request_id()
        )
        response = self._call(self._administration.RevokeToken, request)
        return mapping.token_from_message(response.token)

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
            request_id=request_id or new_request_id(),
        )
        response = self._call(self._administration.RotateToken, request)
        return response.secret, mapping.token_from_message(response.token)

    def list_events(
        self, *, organization: str = "", subject: EventSubject | None = None, name: str = ""
    ) -> Generator[AdministrativeEvent, None, None]:
        """Administrative events that the caller may see, the newest first."""
        request = policy_admin_pb2.ListEventsRequest(
            organization=organization, subject=mapping.subject_to_message(subject), name=name
        )
        return self._entries(self._administration.ListEvents, request, "events", mapping.event_from_message)

    def stream_events(
        self, *, organization: str = "", since_revision: int | None = None
    ) -> Generator[AdministrativeEvent, None, None]:
        """Events after a revision (None: from now on), in their order, and then each as it is written, without end."""
        request = policy_admin_pb2.StreamEventsRequest(organization=organization, since_revision=since_revision)
        call = self._administration.StreamEvents(request, metadata=self.connection.authorization())
        try:
            for response in call:
                yield mapping.event_from_message(response.event)
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error
        finally:
            call.cancel()

    def watch(
        self,
        *,
        subscriber: str = "",
        organizations: Sequence[str] = (),
        include_categories: bool = False,
        resume_token: str = "",
    ) -> Generator[WatchEvent, None, None]:
        """One subscription to policies, until it ends, each message checked; `Follower` comes back by itself.

        Args:
            subscriber: the own name, for people who list subscribers.
            organizations: these alone; empty for all that the caller may watch.
            resume_token: the newest one, to go on from there; empty for a snapshot.

        Raises:
            CallError: it ended, or could not begin.
            BrokenStreamError, UnusableUpdateError: what was told is not whole, or cannot be used here.
        """
        request = policy_watch_pb2.WatchRequest(
            subscriber=subscriber,
            organizations=organizations,
            include_categories=include_categories,
            resume_token=resume_token,
        )
        reader = WatchReader()
        call = self._watch(request, metadata=self.connection.authorization())
        try:
            for data in call:
                event = reader.read(data)
                if event is not None:
                    yield event
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error
        finally:
            call.cancel()

    def report_applied(self, subscription_id: str, revision: int, *, error: str = "") -> None:
        """Say what a subscriber runs, or why it refused something later."""
        request = policy_watch_pb2.ReportAppliedRequest(subscription_id=subscription_id, revision=revision, error=error)
        self._call(self._watching.ReportApplied, request)

    def list_subscribers(self, *, organization: str = "") -> Iterator[Subscriber]:
        """Who subscribes to policies, as far as the caller may see it, in the order of their names."""
        request = policy_admin_pb2.ListSubscribersRequest(organization=organization)
        return self._entries(
            self._administration.ListSubscribers, request, "subscribers", mapping.subscriber_from_message
        )

    def is_serving(self) -> bool:
        """Whether the server says that calls should be sent to it (grpc.health.v1). Needs no token."""
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(HEALTH_CHECK)
        # HealthCheckResponse has one field, `status`, and SERVING is 1: not worth a dependency of every client.
        return self._call(check, b"") == b"\x08\x01"

    def _entries(
        self, method: Callable[..., Any], request: Any, field: str, read: Callable[[Any], Entry]
    ) -> Generator[Entry, None, None]:
        """The entries of a list, which stand in `field` of its pages."""
        while True:
            response = self._call(method, request)
            for entry in getattr(response, field):
                yield read(entry)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _call(self, method: Callable[..., Response], request: Any) -> Response:
        try:
            return method(request, timeout=self.deadline, metadata=self.connection.authorization())
        except grpc.RpcError as error:
            raise CallError.from_call(error) from error
