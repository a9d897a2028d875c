"""Templates of messages: something in each field, to copy and fill in."""

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.message_factory import GetMessageClass

from pgcurl.describing import find_message
from pgcurl.symbols import declarations
from pgcurl.templates import message_template
from tests.pgcurl.descriptors import all_protos

FREE_OBJECT = {"google.protobuf.Struct": "supports arbitrary JSON objects"}


def template(symbol: str) -> dict[str, Any]:
    """The template of a message as JSON."""
    source = all_protos()
    descriptor = find_message(source, symbol)
    assert descriptor is not None
    message = message_template(descriptor)
    found: dict[str, Any] = json.loads(
        json_format.MessageToJson(message, always_print_fields_with_no_presence=True, descriptor_pool=source.pool)
    )
    return found


def test_every_field_has_something() -> None:
    """Lists and maps hold one element, messages are there, and a message within itself ends there."""
    inner = {"note": ""}
    assert template("pgcurl.testing.v1.EchoRequest") == {
        "text": "",
        "number": 0,
        "largeNumber": "0",
        "flag": False,
        "data": "",
        "ratio": 0.0,
        "tone": "TONE_UNSPECIFIED",
        "words": [""],
        "counts": {"": 0},
        "detail": {"note": "", "inner": inner},
        "details": [{"note": "", "inner": inner}],
        "anything": {"@type": "type.googleapis.com/google.protobuf.Empty"},
        "time": "1970-01-01T00:00:00Z",
        "structure": FREE_OBJECT,
    }


def test_proto2() -> None:
    """Groups and messages are filled; an enum that has no zero stays unset, and its default with it."""
    found = template("pgcurl.testing.legacy.Legacy")
    assert found == {"packedNumbers": [0], "result": [{}], "pair": {}}


def test_maps_of_messages() -> None:
    """A map of messages holds one with its fields filled."""
    found = template("pgcurl.testing.layout.Rule")
    inner = {"text": "", "numbers": [], "parts": [], "limits": {}, "ratio": 0.0, "raw": "", "order": "ORDER_NONE"}
    assert found["parts"] == [inner]
    assert list(template("pgcurl.testing.layout.Layout")["children"]) == ["0"]


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("google.protobuf.Struct", FREE_OBJECT),
        ("google.protobuf.Value", {"google.protobuf.Value": "supports arbitrary JSON"}),
        ("google.protobuf.ListValue", [{"google.protobuf.ListValue": "is an array of arbitrary JSON values"}]),
        ("google.protobuf.Any", {"@type": "type.googleapis.com/google.protobuf.Empty"}),
        ("google.protobuf.Empty", {}),
        ("google.protobuf.Timestamp", "1970-01-01T00:00:00Z"),
    ],
)
def test_types_with_json_of_their_own(symbol: str, expected: object) -> None:
    """Types that stand for any JSON say so, and the others have their own form."""
    assert template(symbol) == expected


def test_templates_can_be_sent() -> None:
    """The template of every message of the test protos is JSON that makes the same message again."""
    source = all_protos()
    for file in source.files():
        if not file.name.startswith("google/"):
            for declaration in declarations(file):
                if isinstance(declaration.element, DescriptorProto) and not declaration.element.options.map_entry:
                    descriptor = source.pool.FindMessageTypeByName(declaration.name)
                    message = message_template(descriptor)
                    text = json_format.MessageToJson(message, descriptor_pool=source.pool)
                    again = json_format.Parse(text, GetMessageClass(descriptor)(), descriptor_pool=source.pool)
                    assert again == message, declaration.name
