"""Many calls over one connection: a JSON object a line, and a line for each answer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pgcurl.commands import resolve
from pgcurl.errors import FAILURE, OK, FailureError, RequestDataError
from pgcurl.formats import Formatter
from pgcurl.headers import Metadata, says
from pgcurl.invoking import Call, invoke
from pgcurl.json_values import as_json_text
from pgcurl.requests import RequestReader, decoded, json_texts, open_data
from pgcurl.session import Session
from pgcurl.statuses import Status, status_of

_KEYS = frozenset({"method", "data", "headers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A line: a call to make.

    Attributes:
        data: the request message, or a list of them for a method that takes a stream; absent for none.
    """

    method: str
    data: Any = field(default_factory=list)
    headers: tuple[str, ...] = ()


@dataclass(slots=True)
class _Answers:
    """Gathers the responses of a call."""

    formatter: Formatter
    responses: list[object] = field(default_factory=list)

    def headers(self, metadata: Metadata) -> None:
        """Not shown."""

    def response(self, message: Message) -> None:
        self.responses.append(self.formatter.value(message))

    def trailers(self, metadata: Metadata) -> None:
        """Not shown."""


def run_batch(session: Session) -> int:
    """Make the calls of -batch one after the other, each as soon as its line is read.

    A call that fails does not keep those behind it from being made. Gives the exit code of the first that failed.
    """
    source = session.options.batch
    reader = open_data(source if source.startswith("@") else f"@{source}", session.streams.stdin, session.stack)
    channel = session.channel  # without one, that is told once rather than for each line
    methods: dict[str, MethodDescriptor] = {}
    code = OK
    try:
        for number, line in enumerate(_lines(decoded(reader)), start=1):
            if line.strip():
                answer, ended = _answer(session, channel, methods, number, line)
                session.print(as_json_text(answer, indent=False))
                code = code or ended
    except RequestDataError as error:
        raise FailureError(f"Failed to read {source}: {error}") from error
    return code


def _lines(chunks: Iterator[str]) -> Iterator[str]:
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        yield from lines
    yield rest


def _answer(
    session: Session, channel: grpc.Channel, methods: dict[str, MethodDescriptor], number: int, line: str
) -> tuple[dict[str, object], int]:
    """What is printed for a line, and the exit code that it would have alone."""
    try:
        entry = _entry(line)
    except ValueError as error:
        return {"error": f"line {number}: {error}"}, FAILURE
    try:
        if entry.method not in methods:
            methods[entry.method] = resolve(session, entry.method)
        responses, status = _call(session, channel, methods[entry.method], entry)
    except grpc.RpcError as error:
        responses, status = [], status_of(error)
    except (FailureError, RequestDataError) as error:
        return {"method": entry.method, "error": f"line {number}: {error}"}, FAILURE
    answer: dict[str, object] = {"method": entry.method, "status": _status(session, status), "responses": responses}
    return answer, status.exit_code


def _status(session: Session, status: Status) -> dict[str, object]:
    shown: dict[str, object] = {"code": status.name, "message": status.message}
    if status.details:
        formatter = session.formatter()
        shown["details"] = [formatter.value(detail) for detail in status.details]
    return shown


def _call(
    session: Session, channel: grpc.Channel, method: MethodDescriptor, entry: _Entry
) -> tuple[list[object], Status]:
    own = session.read_headers(entry.headers)
    common = session.metadata(session.options.rpc_headers)
    if says(own, "authorization"):
        common = tuple(header for header in common if header[0] != "authorization")
    requests = RequestReader(
        json_texts(entry.data),
        text=False,
        new_message=GetMessageClass(method.input_type),
        resolver=session.resolver,
        allow_unknown_fields=session.options.allow_unknown_fields,
    )
    call = Call(method=method, metadata=(*common, *own), seconds_left=session.deadline.seconds_left)
    answers = _Answers(session.formatter())
    status = invoke(channel, call, requests, answers)
    return answers.responses, status


def _entry(line: str) -> _Entry:
    """Read a line; raises ValueError that says what is wrong."""
    try:
        value = json.loads(line)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text has half of a character: one of two \\u escapes that belong together") from error
    except RecursionError as error:
        raise ValueError("lists and objects are nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004
            'a JSON object is expected, as {"method": "SERVICE/METHOD", "data": {}}'
        )
    if unknown := value.keys() - _KEYS:
        raise ValueError(f"{', '.join(sorted(unknown))} is not known; there are {', '.join(sorted(_KEYS))}")
    method, headers = value.get("method"), value.get("headers", [])
    if not isinstance(method, str) or not method:
        raise ValueError("method is missing; it is SERVICE/METHOD")
    if not isinstance(headers, list) or not all(isinstance(header, str) for header in headers):
        raise ValueError('headers is a list of "name: value"')
    return _Entry(method=method, data=value.get("data", []), headers=tuple(headers))
