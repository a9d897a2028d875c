"""A write as the gate hands it on: who asks, from where, and how the same request is known again."""

import hashlib
import urllib.parse
from typing import Any

from google.protobuf.message import Message

from pullgate_policy.caller import Caller
from pullgate_server.administration.authoring import WriteCall
from pullgate_server.rpc.gate import Context


def write_call(request: Any, caller: Caller, context: Context) -> WriteCall:
    """What a request for a write says of itself; `request` has a request_id, and may have a comment."""
    return WriteCall(
        caller=caller,
        # The peer comes as a URI, in which IPv6 addresses are escaped.
        origin=urllib.parse.unquote(context.peer() or ""),
        comment=getattr(request, "comment", ""),
        request_id=request.request_id,
        digest=_digest(request) if request.request_id else "",
    )


def expected_revision(request: Any) -> int | None:
    """The revision that a write was made from, if the request names one."""
    return request.expected_revision if request.HasField("expected_revision") else None


def _digest(request: Message) -> str:
    name = request.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(name + b"\0" + request.SerializeToString(deterministic=True)).hexdigest()
