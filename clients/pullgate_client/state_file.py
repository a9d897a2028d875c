"""The last good state on disk, so that who follows a service can decide while it is away, from the first moment on.

A file has one line that says what it is and the SHA-256 of all that follows, which is JSON. It is written beside the
former one and put in its place whole; one that was changed by a single byte is refused.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pullgate_client.errors import StateFileError
from pullgate_policy import (
    Category,
    CategoryEvidence,
    CommunityClass,
    Policy,
    PullgateError,
    parse_policy,
    policy_data,
)
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.document import Timestamp
from pullgate_policy.members import Member, member_data, parse_members
from pullgate_policy.pins import CategoryPin, PinKey
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.stored_policy import StoredPolicy

_MAGIC = "pullgate-state-1"
_moment = Timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCategory:
    """What was found out of a name.

    Attributes:
        until: until when it is used without asking again.
    """

    evidence: CategoryEvidence
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """What is kept.

    Attributes:
        token_mark: tells the token that was used from others; empty where there was none, or one in a file, which may
            be replaced at any time.
        organizations: those that were asked for; empty for all that the caller may watch.
        known_as_of: when the service last said that this is the newest.
        categories: by name.
    """

    state: PolicyState
    caller: Caller
    token_mark: str
    organizations: tuple[str, ...]
    store_id: str
    resume_token: str
    known_as_of: datetime
    categories: Mapping[str, KeptCategory]


def write_state(path: Path, kept: KeptState) -> None:
    """Put a state in the place of the former one, for its owner alone; raises OSError, and leaves the former one."""
    body = json.dumps(_document(kept), separators=(",", ":"), ensure_ascii=False).encode()
    head = f"{_MAGIC} {hashlib.sha256(body).hexdigest()}\n".encode()
    # A name of its own, as several processes may have been given the same file.
    written = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + body)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def token_mark(token: str) -> str:
    """Tells a token from others, and says nothing of it."""
    return hashlib.sha256(b"pullgate state " + token.encode()).hexdigest()[:16] if token else ""


def read_state(path: Path, organizations: Sequence[str], mark: str = "") -> KeptState | None:
    """What is kept for a subscription to these organizations; None if nothing is.

    Args:
        mark: of the token that is used now.

    Raises:
        StateFileError: it cannot be used, and why. Nothing of it is.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFileError(f"{path} cannot be read ({error.strerror})") from error
    head, _, body = data.partition(b"\n")
    magic, _, digest = head.decode("ascii", "replace").partition(" ")
    if magic != _MAGIC:
        raise StateFileError(f"{path} is no state that this version of pullgate has kept")
    if hashlib.sha256(body).hexdigest() != digest:
        raise StateFileError(f"{path} is damaged: its content does not have the SHA-256 that its first line says")
    try:
        kept = _kept(json.loads(body))
    except (PullgateError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateFileError(f"{path} cannot be used by this version of pullgate ({error})") from error
    if mark and kept.token_mark and kept.token_mark != mark:
        raise StateFileError(f"{path} was kept for another token; give each token a file of its own")
    if kept.organizations != tuple(organizations):
        raise StateFileError(
            f"{path} is of a subscription to {_named(kept.organizations)}, and not to {_named(organizations)}"
        )
    return kept


def _named(organizations: Sequence[str]) -> str:
    return ", ".join(organizations) or "all organizations that the token may watch"


def _document(kept: KeptState) -> dict[str, Any]:
    state, caller = kept.state, kept.caller
    return {
        "known_as_of": _moment.write(kept.known_as_of),
        "store_id": kept.store_id,
        "resume_token": kept.resume_token,
        "token_mark": kept.token_mark,
        "organizations": list(kept.organizations),
        "caller": {
            "name": caller.name,
            "role": caller.role.value,
            "organization": caller.organization,
            "username": caller.username,
            "may_assert_roles": caller.may_assert_roles,
            "expires_at": _moment.write(caller.expires_at),
        },
        "revision": state.revision,
        "policies": [
            {
                "policy": policy_data(stored.policy),
                "revision": stored.revision,
                "author": stored.author,
                "written_at": _moment.write(stored.written_at),
                "comment": stored.comment,
            }
            for stored in state.stored.values()
        ],
        "members": {
            organization: [member_data(member) for member in members.values()]
            for organization, members in state.members.items()
        },
        "pins": [
            {
                "organization": pin.organization,
                "name": pin.name,
                **_category_document(pin.category, pin.community_class),
                "reason": pin.reason,
                "author": pin.author,
                "written_at": _moment.write(pin.written_at),
                "expires_at": _moment.write(pin.expires_at),
            }
            for pin in state.pins.values()
        ],
        "categories": {
            name: {
                **_category_document(item.evidence.category, item.evidence.community_class),
                "source": item.evidence.source,
                "detail": item.evidence.detail,
                "checked_at": _moment.write(item.evidence.checked_at),
                "until": _moment.write(item.until),
            }
            for name, item in kept.categories.items()
        },
    }


def _category_document(category: Category, community_class: CommunityClass | None) -> dict[str, Any]:
    return {"category": category.name, "community_class": None if community_class is None else community_class.name}


def _kept(document: dict[str, Any]) -> KeptState:
    caller = document["caller"]
    return KeptState(
        state=_state(document),
        caller=Caller(
            id="",
            name=caller["name"],
            role=CallerRole(caller["role"]),
            organization=caller["organization"],
            username=caller["username"],
            may_assert_roles=caller["may_assert_roles"],
            expires_at=_optional(caller["expires_at"]),
        ),
        token_mark=document["token_mark"],
        organizations=tuple(document["organizations"]),
        store_id=document["store_id"],
        resume_token=document["resume_token"],
        known_as_of=_required(document["known_as_of"]),
        categories={name: _kept_category(item) for name, item in document["categories"].items()},
    )


def _state(document: dict[str, Any]) -> PolicyState:
    policies: dict[str, StoredPolicy | None] = {}
    for item in document["policies"]:
        policy: Policy = parse_policy(item["policy"])
        policies[policy.organization] = StoredPolicy(
            policy=policy,
            revision=item["revision"],
            author=item["author"],
            written_at=_required(item["written_at"]),
            comment=item["comment"],
        )
    members: dict[str, dict[str, Member | None]] = {
        organization: {member.username: member for member in parse_members(entries)}
        for organization, entries in document["members"].items()
    }
    pins: dict[PinKey, CategoryPin | None] = {}
    for item in document["pins"]:
        pins[item["organization"], item["name"]] = CategoryPin(
            name=item["name"],
            category=Category[item["category"]],
            community_class=_community_class(item),
            reason=item["reason"],
            author=item["author"],
            written_at=_required(item["written_at"]),
            organization=item["organization"],
            expires_at=_optional(item["expires_at"]),
        )
    change = StateChange(revision=int(document["revision"]), policies=policies, pins=pins, members=members)
    return PolicyState().with_change(change)


def _kept_category(item: dict[str, Any]) -> KeptCategory:
    return KeptCategory(
        evidence=CategoryEvidence(
            category=Category[item["category"]],
            community_class=_community_class(item),
            source=item["source"],
            detail=item["detail"],
            checked_at=_optional(item["checked_at"]),
        ),
        until=_required(item["until"]),
    )


def _community_class(item: dict[str, Any]) -> CommunityClass | None:
    return None if item["community_class"] is None else CommunityClass[item["community_class"]]


def _optional(text: Any) -> datetime | None:
    return None if text is None else _required(text)


def _required(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment
