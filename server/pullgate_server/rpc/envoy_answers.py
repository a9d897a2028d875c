"""Answers to Envoy: what clients print, and what access logs are given."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf import struct_pb2
from google.rpc import code_pb2, status_pb2

from pullgate.envoy.v3 import external_authorization_pb2 as messages
from pullgate_policy.answer import Answer

Facts = Mapping[str, str | int]
"""What an access log is given of an answer, by name."""

MAX_TEXT_LENGTH = 200
"""Characters of a message, and of the organization's own help: clients print them on a line, after their own words."""

FORBIDDEN, UNAUTHORIZED = 403, 401

NOT_OF_THE_API = "REQUEST_NOT_ACCEPTED"
"""The reason in access logs for what was refused before any image was decided about."""

NOT_SIGNED_IN_HERE = "CREDENTIALS_NOT_ACCEPTED"
"""The same, for credentials that are nobody's."""

VERSION_CHECK = "VERSION_CHECK"
"""The reason in access logs for what is about no image."""


def allowed(metadata: Facts, headers_to_remove: tuple[str, ...]) -> messages.CheckResponse:
    """Let the request go on, without these headers."""
    return messages.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=messages.OkHttpResponse(headers_to_remove=headers_to_remove),
        dynamic_metadata=_struct(metadata),
    )


def denied(metadata: Facts, message: str, note: str = "") -> messages.CheckResponse:
    """Deny it so that clients of registries print why.

    The body is that of the OCI Distribution Specification, "Error Codes". Docker prints a message only with this
    content type, and a detail only if it is a string (moby daemon/internal/distribution/errors.go). Answers to HEAD
    lose their body on the way, so the id of the decision is in a header too.
    """
    return _ended(FORBIDDEN, "DENIED", metadata, message, note)


def challenged(metadata: Facts, message: str, note: str = "") -> messages.CheckResponse:
    """Tell the client to send a user name and a token (RFC 7617)."""
    challenge = {"www-authenticate": 'Basic realm="pullgate"', "docker-distribution-api-version": "registry/2.0"}
    return _ended(UNAUTHORIZED, "UNAUTHORIZED", metadata, message, note, challenge)


def facts_of(answer: Answer) -> dict[str, str | int]:
    """What an access log is given of an answer."""
    decision = answer.decision
    facts: dict[str, str | int] = {
        "decision_id": answer.decision_id,
        "effect": decision.effect.name,
        "policy_effect": decision.policy_effect.name,
        "reason": decision.reason.name,
        "policy_revision": answer.policy_revision,
        "organization": decision.organization,
        "reference": str(decision.reference),
    }
    if decision.evidence is not None:
        facts["category"] = decision.evidence.category.name
    return facts


def _ended(
    status: int,
    code: str,
    metadata: Facts,
    message: str,
    note: str,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> messages.CheckResponse:
    line = _on_a_line(message)
    detail = f"decision {metadata['decision_id']}"
    error = {"code": code, "message": line, "detail": f"{_on_a_line(note)} ({detail})" if note else detail}
    sent = {
        "content-type": "application/json",
        "x-pullgate-decision-id": str(metadata["decision_id"]),
        "x-pullgate-reason": str(metadata["reason"]),
        **headers,
    }
    return messages.CheckResponse(
        status=status_pb2.Status(code=code_pb2.PERMISSION_DENIED, message=line),
        denied_response=messages.DeniedHttpResponse(
            status=messages.HttpStatus(code=status),
            headers=[_header(name, value) for name, value in sent.items()],
            body=json.dumps({"errors": [error]}, ensure_ascii=False),
        ),
        dynamic_metadata=_struct(metadata),
    )


def _on_a_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT_LENGTH else f"{line[: MAX_TEXT_LENGTH - 1]}…"


def _header(name: str, value: str) -> messages.HeaderValueOption:
    return messages.HeaderValueOption(
        header=messages.HeaderValue(key=name, value=value),
        append_action=messages.HeaderValueOption.HEADER_APPEND_ACTION_OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _struct(facts: Facts) -> struct_pb2.Struct:
    return struct_pb2.Struct(
        fields={
            name: struct_pb2.Value(string_value=fact) if isinstance(fact, str) else struct_pb2.Value(number_value=fact)
            for name, fact in facts.items()
        }
    )
