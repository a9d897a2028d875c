"""Reading Docker Hub's answers: moments in headers, documents, and what these say of a namespace.

The badge is not part of the documented API (https://docs.docker.com/reference/api/hub/latest/), and the limits of
requests and the sign-in are. So every answer is read strictly: what is not plainly a category is a failure.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_policy.errors import shown
from pullgate_server.categories.docker_hub.requests import Endpoint, FailedError, LookUp, Reply
from pullgate_server.categories.port import Outcome, SourceAnswer

SOURCE_NAME = "docker-hub"
"""The source in a word, as it stands in evidence."""

MAX_BODY_BYTES = 64 * 1024
"""What is read of an answer: the real ones have less than 1 KiB."""

LATEST_SECONDS = 1_000_000
"""Numbers below are seconds from now, as in Retry-After; others are moments in Unix time, as in X-Retry-After."""

_DIGITS = re.compile(r"[0-9]{1,11}")


def number_in(headers: httpx.Headers, name: str) -> int | None:
    """The number in a header; None where there is none."""
    text = headers.get(name, "")
    return int(text) if _DIGITS.fullmatch(text) else None


def moment_in(headers: httpx.Headers, name: str, now: datetime) -> datetime | None:
    """The moment in a header: in seconds from now, in Unix time, or as a date; None where there is none."""
    number = number_in(headers, name)
    if number is not None:
        return now + timedelta(seconds=number) if number < LATEST_SECONDS else datetime.fromtimestamp(number, UTC)
    try:
        moment = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def body_of(response: httpx.Response) -> bytes:
    """All of the body; raises ValueError if it is long."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def document_of(response: httpx.Response) -> Mapping[str, object]:
    """The JSON object of an answer; raises ValueError saying what there is instead."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ValueError(f"compressed as {shown(encoding)}, which was not asked for")
    kind = response.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ValueError(f"{shown(kind)} in place of application/json")
    body = await body_of(response)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("a body that is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("JSON that is no object")  # noqa: TRY004 - of what was read
    return document


async def words_of(response: httpx.Response) -> str:
    """What a refusal says of itself, for a sentence; raises nothing for an answer that is no document."""
    try:
        document = await document_of(response)
    except ValueError as error:
        return f"{error}, as clients get that are taken for robots"
    words = document.get("message", document.get("detail"))
    return shown(words) if isinstance(words, str) else "without a reason"


def answer_of(look_up: LookUp, endpoint: Endpoint, reply: Reply) -> SourceAnswer:
    """What an answer says; raises FailedError if it is not wholly what it should be."""
    try:
        answer, what = _meaning(look_up.namespace, endpoint, reply)
    except ValueError as error:
        raise FailedError(look_up.came_of(f"200, {error}")) from error
    look_up.came_of(f"200, {what}")
    return answer


def _meaning(namespace: str, endpoint: Endpoint, reply: Reply) -> tuple[SourceAnswer, str]:
    """What a document means, and in words; raises ValueError saying what is wrong with it."""
    document = reply.document
    kind = _kind(endpoint, document)
    of_users = endpoint is Endpoint.USERS
    name = document.get("username" if kind == "User" or (of_users and "username" in document) else "orgname")
    if not isinstance(name, str) or name.casefold() != namespace.casefold():
        raise ValueError(f"of another namespace, {shown(str(name))}")
    if kind == "User":
        badge = document.get("badge")
        if badge not in ("", "none", None):
            raise ValueError(f"a user with the badge {shown(str(badge))}")
        return _known(reply, "a user's namespace", Category.COMMUNITY)
    if "badge" not in document:
        raise ValueError("without a badge, and without saying that there is none")
    return _by_badge(reply, document["badge"])


def _kind(endpoint: Endpoint, document: Mapping[str, object]) -> str:
    """Whether a document is about a "User" or an "Organization"; raises ValueError if it does not say so."""
    for word in ("detail", "error"):
        if word in document:
            raise ValueError(f"with {word} in it, as refusals have")
    of_users = endpoint is Endpoint.USERS
    # Users are asked for just when organizations answered 404, as throttled clients are answered. So nothing is taken
    # for granted of them.
    if of_users and "type" not in document:
        raise ValueError("without a type")
    match document.get("type", "Organization"):
        case "Organization" as kind:
            return kind
        case "User" as kind if of_users:
            return kind
        case other:
            raise ValueError(f"of type {shown(str(other))}")


def _by_badge(reply: Reply, badge: object) -> tuple[SourceAnswer, str]:
    """What the badge of an organization means, and in words; raises ValueError if it is none."""
    match badge:
        case "verified_publisher":
            return _known(reply, f"badge {badge}", Category.VERIFIED_PUBLISHER)
        case "open_source":
            return _known(reply, f"badge {badge}", Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE)
        case "" | "none" | None:
            return _known(reply, "an organization without a badge", Category.COMMUNITY)
        case str():
            detail = f"the badge {shown(badge)} is not known to this version"
            return SourceAnswer(outcome=Outcome.ABSENT, detail=detail), f"badge {shown(badge)}"
        case _:
            raise ValueError("with a badge that is no text")


def _known(
    reply: Reply, detail: str, category: Category, community_class: CommunityClass | None = None
) -> tuple[SourceAnswer, str]:
    evidence = CategoryEvidence(
        category=category,
        community_class=community_class,
        source=SOURCE_NAME,
        detail=detail,
        checked_at=reply.sent_at,
    )
    return SourceAnswer(outcome=Outcome.KNOWN, evidence=evidence), detail
