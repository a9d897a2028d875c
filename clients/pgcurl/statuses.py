"""The status with which a call ends, as it is printed, and as an exit code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from pgcurl.errors import STATUS_OFFSET
from pgcurl.formats import Formatter

DETAILS_HEADER = "grpc-status-details-bin"
"""Where servers put a google.rpc.Status with details."""

_NAMES = {
    grpc.StatusCode.OK: "OK",
    grpc.StatusCode.CANCELLED: "Canceled",
}
"""Names that Go does not make from those of the protocol word by word (google.golang.org/grpc/codes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a call ended."""

    code: grpc.StatusCode
    message: str = ""
    details: tuple[AnyMessage, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return self.code is grpc.StatusCode.OK

    @property
    def number(self) -> int:
        """Its number in the protocol."""
        return int(self.code.value[0])

    @property
    def name(self) -> str:
        """Its name as Go writes it: NotFound."""
        return _NAMES.get(self.code) or self.code.name.title().replace("_", "")

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return STATUS_OFFSET + self.number if not self.ok else 0

    def __str__(self) -> str:
        return f"rpc error: code = {self.name} desc = {self.message}"

    def as_message(self) -> status_pb2.Status:
        """As google.rpc.Status."""
        return status_pb2.Status(code=self.number, message=self.message, details=self.details)


def status_of(call: grpc.Call | grpc.RpcError) -> Status:
    """The status of a call that has ended, or of the error that it raised."""
    ended: Any = call
    details: Sequence[AnyMessage] = ()
    for name, value in ended.trailing_metadata() or ():
        if name == DETAILS_HEADER:
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:
                continue
    return Status(code=ended.code(), message=ended.details() or "", details=tuple(details))


def status_text(status: Status, formatter: Formatter) -> str:
    """A status that is not OK as several lines for people, details numbered."""
    lines = ["ERROR:", f"  Code: {status.name}", f"  Message: {status.message}"]
    if status.details:
        lines.append("  Details:")
    for number, detail in enumerate(status.details, start=1):
        prefix = f"  {number})"
        first, *others = formatter.message(detail).split("\n")
        lines.append(f"{prefix}\t{first}")
        lines += [f"{' ' * len(prefix)}\t{line}" for line in others]
    return "\n".join(lines)
