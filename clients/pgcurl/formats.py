"""How messages are printed: JSON, JSON in one line, and the text format."""

from enum import Enum
from typing import Any

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from pgcurl.json_values import Defaults, JsonPrinter, as_json_text
from pgcurl.sources import DescriptorSource
from pgcurl.terminal import CONTROLS

OUR_PACKAGE = "pullgate.v1"
"""Messages whose defaults are printed if nothing else is said: a deny would print as {} without."""

_CONTROLS = {
    ord(control): "".join(f"\\{byte:03o}" for byte in control.encode()) for control in CONTROLS if not control.isascii()
}
"""What the text format leaves as it is in strings, but terminals take for commands."""


class Format(Enum):
    """What -format says."""

    JSON = "json"
    JSON_LINES = "jsonl"
    TEXT = "text"


class TypeResolver:
    """Knows message types by name: those of a source, and those of the libraries that are here anyway.

    It stands in for a `DescriptorPool` where protobuf looks up the types in google.protobuf.Any.
    """

    def __init__(self, source: DescriptorSource) -> None:
        self._source = source

    @property
    def as_pool(self) -> Any:
        """Itself, where a descriptor pool is expected: types of google.protobuf.Any are all that is asked of it."""
        return self

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        """The type of that name; raises KeyError."""
        try:
            self._source.file_of(name)
            return self._source.pool.FindMessageTypeByName(name)
        except Exception:  # noqa: BLE001
            # Whatever kept the source from answering: the message itself is still worth printing.
            return known_message(name)


def known_message(name: str) -> Descriptor:
    """A type that comes with protobuf, or the details of statuses (google/rpc/error_details.proto); raises KeyError."""
    if name.startswith("google.rpc."):
        from google.rpc import error_details_pb2, status_pb2  # noqa: F401
    return descriptor_pool.Default().FindMessageTypeByName(name)


class Formatter:
    """Prints messages in one format.

    Args:
        emit_defaults: None for the default, which depends on whose message it is.
        separate: whether messages in the text format after the first begin with a record separator, so that they can be
            read again.
    """

    def __init__(
        self,
        *,
        format: Format,  # noqa: A002
        resolver: TypeResolver,
        emit_defaults: bool | None = None,
        keep_proto_names: bool = False,
        separate: bool = False,
    ) -> None:
        self.format = format
        self._resolver = resolver
        self._emit_defaults = emit_defaults
        self._keep_proto_names = keep_proto_names
        self._separate = separate
        self._printed = 0

    def response(self, message: Message) -> str:
        """A message of the call, without a newline at its end."""
        text = self.message(message)
        self._printed += 1
        if self.format is Format.TEXT and self._separate and self._printed > 1:
            return f"\x1e{text}"
        return text

    def message(self, message: Message) -> str:
        """Any message, without a newline at its end."""
        if self.format is Format.TEXT:
            text = text_format.MessageToString(
                message, as_utf8=True, descriptor_pool=self._resolver.as_pool, use_short_repeated_primitives=False
            )
            return text.rstrip("\n").translate(_CONTROLS)
        return as_json_text(self.value(message), indent=self.format is Format.JSON)

    def value(self, message: Message) -> object:
        """A message as a JSON value."""
        printer = JsonPrinter(
            find_type=self._resolver.FindMessageTypeByName,
            defaults=self._defaults(message.DESCRIPTOR.file.package),
            keep_proto_names=self._keep_proto_names,
        )
        return printer.value(message)

    def _defaults(self, package: str) -> Defaults:
        if self._emit_defaults is None:
            return Defaults.VALUES if package == OUR_PACKAGE else Defaults.NONE
        return Defaults.ALL if self._emit_defaults else Defaults.NONE
