"""What both clients write into their requests and read out of the responses."""

import uuid
from collections.abc import Sequence

import grpc

from pullgate.v1 import decision_pb2, mapping, policy_admin_pb2, policy_decision_pb2
from pullgate.v1.identity_pb2 import Identity as IdentityMessage
from pullgate_client.errors import CallError, UnknownAnswerError
from pullgate_client.values import DryRun, DryRunResult, Question, WhoAmI
from pullgate_policy import Identity
from pullgate_policy.access_token import CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.members import MembersWritten

DEFAULT_DEADLINE = 10.0
"""Seconds that a call may take."""

MAX_BATCH = 500
"""References in one BatchDecide: the service's own default limit."""

MAX_NAMES = 100
"""Names in one request for categories: the service's own limit."""

MAX_PAGE = 1000
"""Entries of a page: the service's own limit."""


def new_request_id() -> str:
    """The id of a write."""
    return str(uuid.uuid4())


def identity_message(identity: Identity | str) -> IdentityMessage:
    """The message for who pulls, or for a token of theirs."""
    return IdentityMessage(token=identity) if isinstance(identity, str) else mapping.identity_to_message(identity)


def question_message(question: Question) -> policy_decision_pb2.StreamDecideRequest:
    """The message for one question of a stream."""
    return policy_decision_pb2.StreamDecideRequest(
        identity=identity_message(question.identity),
        reference=question.reference,
        request_id=question.request_id,
        organizations=question.organizations,
        min_revision=question.min_revision,
    )


def answer_of(decision: decision_pb2.Decision) -> Answer:
    """The answer that a service sent; raises UnknownAnswerError."""
    try:
        return mapping.answer_from_message(decision)
    except mapping.UnknownEffectError as error:
        message = f"the service is newer than this client, which takes no answer from it: {error}; upgrade the client"
        raise UnknownAnswerError(grpc.StatusCode.UNKNOWN, message) from error


def result_of(item: policy_decision_pb2.BatchDecision | policy_decision_pb2.StreamDecideResponse) -> Answer | CallError:
    """The answer about one image among several, or why there is none."""
    if item.HasField("error"):
        return CallError.from_status(item.error)
    try:
        return answer_of(item.decision)
    except UnknownAnswerError as error:
        return error


def who_am_i_of(response: policy_admin_pb2.GetCallerResponse) -> WhoAmI:
    """Who the caller is."""
    return WhoAmI(
        name=response.name,
        caller_id=response.caller_id,
        role=mapping.caller_role_from_message(response.role) or CallerRole.MEMBER,
        organization=response.organization,
        username=response.username,
        may_assert_roles=response.may_assert_roles,
        expires_at=mapping.moment_of(response, "expires_at"),
    )


def dry_run_of(response: policy_admin_pb2.DryRunPolicyResponse, identities: Sequence[Identity]) -> DryRun:
    """What a policy would do to these identities."""
    return DryRun(
        changes=tuple(map(mapping.change_from_message, response.changes)),
        results=tuple(
            DryRunResult(
                identity=identities[result.identity_index],
                reference=result.reference,
                answers=_before_and_after(result),
            )
            for result in response.results
        ),
        against_revision=response.against_revision,
    )


def _before_and_after(result: policy_admin_pb2.DryRunResult) -> tuple[Answer, Answer] | CallError:
    if result.HasField("error"):
        return CallError.from_status(result.error)
    try:
        return answer_of(result.before), answer_of(result.after)
    except UnknownAnswerError as error:
        return error


def members_written_of(
    response: policy_admin_pb2.WriteMembersResponse | policy_admin_pb2.RemoveMembersResponse,
) -> MembersWritten:
    """What a write of members changed."""
    return MembersWritten(
        changes=tuple(map(mapping.member_change_from_message, response.changes)),
        unchanged=response.unchanged if isinstance(response, policy_admin_pb2.WriteMembersResponse) else 0,
        revision=response.revision,
    )
