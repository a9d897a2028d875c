"""How messages are printed."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from pgcurl.formats import Format, Formatter, TypeResolver
from pgcurl.sources import SymbolNotFoundError
from pullgate.v1 import decision_pb2
from tests.pgcurl.streaming_server import descriptor_pool, new_message

ECHO = "pgcurl.testing.v1.EchoRequest"


class TestingSource:
    """Knows the test protos."""

    @property
    def pool(self) -> DescriptorPool:
        """All of them."""
        return descriptor_pool()

    def services(self) -> Sequence[str]:
        """Not asked for here."""
        return ()

    def file_of(self, symbol: str) -> FileDescriptorProto:
        """Whether the pool knows it."""
        try:
            self.pool.FindMessageTypeByName(symbol)
        except KeyError as error:
            raise SymbolNotFoundError(symbol) from error
        return FileDescriptorProto()

    def file_named(self, name: str) -> FileDescriptorProto:
        """Not asked for here."""
        raise NotImplementedError

    def files(self) -> Sequence[FileDescriptorProto]:
        """Not asked for here."""
        return ()

    def extensions_of(self, message: str) -> Sequence[str]:
        """Not asked for here."""
        return ()


def formatter(kind: Format = Format.JSON, **options: Any) -> Formatter:
    """A formatter that knows the test protos."""
    return Formatter(format=kind, resolver=TypeResolver(TestingSource()), **options)


def legacy_message() -> Any:
    """A message of proto2."""
    message: Any = new_message("pgcurl.testing.legacy.Legacy")
    message.name = "x"
    return message


def full_message() -> Any:
    """A message with something in every field."""
    message: Any = new_message(
        ECHO, text="ä<\n", number=-1, large_number=2**62, flag=True, data=b"\x00\xff", ratio=0.5, tone=2,
        words=["a", "b"], counts={"z": 1, "a": 2}, id=7, perhaps="",
    )  # fmt: skip
    message.detail.inner.note = "n"
    message.details.add()
    message.anything.Pack(new_message("pgcurl.testing.v1.Detail", note="packed"))
    message.time.FromJsonString("2026-11-01T00:00:00.250Z")
    message.structure.update({"b": [1, 1.5, None, True, "x"], "a": {}})
    return message


def test_every_kind_of_field_as_json() -> None:
    """The mapping of the language guide, with fields in order of their numbers and maps sorted."""
    assert json.loads(formatter().message(full_message())) == json.loads(
        json_format.MessageToJson(full_message(), descriptor_pool=descriptor_pool())
    )
    assert formatter(Format.JSON_LINES).message(full_message()) == (
        '{"text":"ä<\\n","number":-1,"largeNumber":"4611686018427387904","flag":true,"data":"AP8=","ratio":0.5,'
        '"tone":"TONE_LOUD","words":["a","b"],"counts":{"a":2,"z":1},"detail":{"inner":{"note":"n"}},"details":[{}],'
        '"id":"7","anything":{"@type":"type.googleapis.com/pgcurl.testing.v1.Detail","note":"packed"},'
        '"time":"2026-11-01T00:00:00.250Z","structure":{"a":{},"b":[1,1.5,null,true,"x"]},"perhaps":""}'
    )


def test_what_is_printed_can_be_read_again() -> None:
    """JSON and text, with fields by either name, give the message that they were made of."""
    choices: list[dict[str, Any]] = [{}, {"keep_proto_names": True}, {"emit_defaults": True}]
    for options in choices:
        text = formatter(**options).message(full_message())
        assert json_format.Parse(text, new_message(ECHO), descriptor_pool=descriptor_pool()) == full_message()


def test_names_as_in_the_proto_file() -> None:
    """-keep-proto-names prints large_number, not largeNumber."""
    assert formatter(Format.JSON_LINES, keep_proto_names=True).message(new_message(ECHO, large_number=1)) == (
        '{"large_number":"1"}'
    )


def test_defaults_as_grpcurl_prints_them() -> None:
    """-emit-defaults prints every field but those of oneofs that are not set, in order, and null for unset messages."""
    printed = json.loads(formatter(emit_defaults=True).message(new_message(ECHO, flag=True)))

    assert list(printed.items()) == [
        ("text", ""), ("number", 0), ("largeNumber", "0"), ("flag", True), ("data", ""), ("ratio", 0),
        ("tone", "TONE_UNSPECIFIED"), ("words", []), ("counts", {}), ("detail", None), ("details", []),
        ("anything", None), ("time", None), ("structure", None),
    ]  # fmt: skip


def test_our_own_answers_have_their_defaults() -> None:
    """A deny does not print as {}: messages of pullgate.v1 show defaults unless -emit-defaults=false says otherwise."""
    decision = decision_pb2.Decision()
    usual, without = json.loads(formatter().message(decision)), formatter(emit_defaults=False).message(decision)

    assert usual["effect"] == "EFFECT_UNSPECIFIED"
    assert None not in usual.values()
    assert without == "{}"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.0, "0"), (-0.0, "-0.0"), (5.0, "5"), (1.1, "1.1"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
        (1e-7, "1e-07"), (math.inf, '"Infinity"'), (-math.inf, '"-Infinity"'), (math.nan, '"NaN"'),
    ],
)  # fmt: skip
def test_numbers(value: float, printed: str) -> None:
    """Whole numbers have no fraction, and what is no number is a text."""
    structure = any_pb2.Any()
    structure.Pack(wrappers_pb2.DoubleValue(value=value))
    message = new_message(ECHO, ratio=value)

    if value or math.copysign(1, value) < 0:
        assert formatter(Format.JSON_LINES).message(message) == f'{{"ratio":{printed}}}'
    assert printed in formatter(Format.JSON_LINES).message(structure)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.1, "0.1"),
        (16777216.0, "16777216"),
        (1e10, "10000000000"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (1.17549435e-38, "1.1754944e-38"),
    ],
)
def test_floats_are_as_short_as_they_can_be(value: float, printed: str) -> None:
    """A 32-bit float is not printed with the digits that only a double has."""
    message = legacy_message()
    message.third = value

    assert f'"third":{printed}' in formatter(Format.JSON_LINES).message(message)


def test_extensions_stand_in_brackets() -> None:
    """They have their full name, and can be read again."""
    message = legacy_message()
    weight = descriptor_pool().FindExtensionByName("pgcurl.testing.legacy.weight")
    message.Extensions[weight] = 5

    assert formatter(Format.JSON_LINES).message(message) == '{"name":"x","[pgcurl.testing.legacy.weight]":"5"}'


def test_an_any_of_unknown_type() -> None:
    """It is shown as what it is, wherever it stands, rather than refused."""
    message: Any = new_message(ECHO, text="a")
    message.anything.type_url = "type.googleapis.com/nobody.knows.This"
    message.anything.value = b"\x08\x01"

    assert json.loads(formatter().message(message))["anything"] == {
        "@type": "type.googleapis.com/nobody.knows.This",
        "@error": "nobody.knows.This is not recognized; see @value for raw binary message data",
        "@value": "CAE=",
    }
    assert "nobody.knows.This" in formatter(Format.TEXT).message(message)


def test_an_any_whose_content_is_broken() -> None:
    """Bytes that are not of the type that they are said to be are shown as bytes."""
    message = any_pb2.Any(type_url="type.googleapis.com/pgcurl.testing.v1.Detail", value=b"\x0a\xff")

    assert json.loads(formatter().message(message))["@value"] == "Cv8="


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        (duration_pb2.Duration(seconds=1, nanos=500_000_000), {"value": "1.500s"}),
        (struct_pb2.Value(number_value=1), {"value": 1}),
        (wrappers_pb2.BytesValue(value=b"a"), {"value": "YQ=="}),
        (error_details_pb2.ErrorInfo(reason="R"), {"reason": "R"}),
        (any_pb2.Any(), {"value": {}}),
    ],
)
def test_what_an_any_may_hold(content: Message, printed: dict[str, object]) -> None:
    """Types with a form of their own stand under `value`; details of statuses are known without the server."""
    message = any_pb2.Any()
    message.Pack(content)

    assert json.loads(formatter().message(message)) == {"@type": message.type_url, **printed}


def test_a_time_that_no_calendar_has() -> None:
    """What cannot be written as a date is shown as numbers, with the reason."""
    shown = json.loads(formatter().message(timestamp_pb2.Timestamp(seconds=2**60)))

    assert shown["seconds"] == str(2**60)
    assert "@error" in shown


def test_an_enum_value_that_nobody_named() -> None:
    """It is printed as its number."""
    assert formatter(Format.JSON_LINES).message(new_message(ECHO, tone=9)) == '{"tone":9}'


def test_text_messages_can_be_read_by_the_next_pgcurl() -> None:
    """From the second on they begin with the separator, if that is wanted; other formats never do."""
    message = new_message(ECHO, text="ä", words=["a", "b"])
    separate = formatter(Format.TEXT, separate=True)
    verbose = formatter(Format.TEXT, separate=False)
    lines = formatter(Format.JSON_LINES, separate=True)

    text = 'text: "ä"\nwords: "a"\nwords: "b"'
    assert [separate.response(message) for _ in range(3)] == [text, f"\x1e{text}", f"\x1e{text}"]
    assert [verbose.response(message) for _ in range(2)] == [text, text]
    assert [lines.response(message) for _ in range(2)] == ['{"text":"ä","words":["a","b"]}'] * 2


def test_strings_that_are_not_utf_8() -> None:
    """Those of proto2 may be anything; JSON shows what can be shown."""
    message: Any = legacy_message()
    wire = message.SerializeToString().replace(b"x", b"\xff")

    assert '"name": "\ufffd"' in formatter().message(type(message).FromString(wire))
