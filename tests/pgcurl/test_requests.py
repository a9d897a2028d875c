"""Request data: when a message is complete, and what is told of data that are wrong."""

import contextlib
import errno
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Value
from hypothesis import strategies

from pgcurl.errors import FailureError, RequestDataError
from pgcurl.requests import RequestReader, decoded, json_values, open_data, text_records
from tests.pgcurl import streaming_server


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        (" \r\n\t ", []),
        ("{}", ["{}"]),
        ("{}{}", ["{}", "{}"]),
        ('{"a": "}"} {"b": [{}, "]"]}', ['{"a": "}"}', '{"b": [{}, "]"]}']),
        (r'{"a": "\"}\\"}[1]', [r'{"a": "\"}\\"}', "[1]"]),
        ('"a""b"', ['"a"', '"b"']),
        ("1 2\n3", ["1", "2", "3"]),
        ("1{}true[]", ["1", "{}", "true", "[]"]),
        ('1"a"', ["1", '"a"']),
        ("null", ["null"]),
        ("nonsense {}", ["nonsense", "{}"]),
        ("{", ["{"]),
        ('{"a', ['{"a']),
        ("{}}", ["{}", "}"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_where_json_values_end(text: str, values: list[str], size: int) -> None:
    """Values follow one another with or without whitespace, however they are cut; the rest comes as it is."""
    chunks = (text[start : start + size] for start in range(0, len(text), size))

    assert [value.strip() for value in json_values(chunks)] == values


@hypothesis.given(
    strategies.lists(
        strategies.recursive(
            strategies.text() | strategies.integers(-9, 9) | strategies.none(),
            lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner),
            max_leaves=5,
        ),
        max_size=4,
    ),
    strategies.integers(1, 7),
    strategies.booleans(),
)
def test_any_json_is_taken_apart(values: list[Any], size: int, ascii_only: bool) -> None:
    """What was put together value by value is found again, whatever is in it and wherever it is cut."""
    text = "\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
    chunks = (text[start : start + size] for start in range(0, len(text), size))

    assert [json.loads(value) for value in json_values(chunks)] == values


def test_a_value_is_there_as_soon_as_it_is_complete() -> None:
    """No more is read than is needed, so that a message can be sent while the next is not written yet."""
    read: list[str] = []

    def chunks() -> Any:
        for chunk in ('{"a":', "1}", '{"b"', ":2}"):
            read.append(chunk)
            yield chunk

    values = json_values(chunks())

    assert (next(values), len(read)) == ('{"a":1}', 2)
    assert (next(values), len(read)) == ('{"b":2}', 4)


def test_a_long_value_is_looked_at_once() -> None:
    """The work grows with the data, not with its square: each chunk of a value is searched once."""
    chunk = '"' + "x" * 100 + '",'
    text = "[" + chunk * 20_000 + "1]"
    chunks = [text[start : start + 4096] for start in range(0, len(text), 4096)]

    assert list(json_values(iter(chunks))) == [text]


@pytest.mark.parametrize(
    ("chunks", "records"),
    [
        ([], [""]),
        ([""], [""]),
        (["a"], ["a"]),
        (["a\x1e"], ["a", ""]),
        (["a\x1eb", "c\x1e", "d"], ["a", "bc", "d"]),
        (["\x1e\x1e"], ["", "", ""]),
    ],
)
def test_where_text_messages_end(chunks: list[str], records: list[str]) -> None:
    """Empty text is one message, and what follows the last separator is one, as with grpcurl."""
    assert list(text_records(iter(chunks))) == records


def read_all(data: bytes, *, text: bool = False, message: str = "google.protobuf.Value", **options: Any) -> list[Any]:
    """All messages in some data."""
    pool = streaming_server.descriptor_pool() if message.startswith("pgcurl") else descriptor_pool.Default()
    new_message = GetMessageClass(pool.FindMessageTypeByName(message))
    resolver: Any = SimpleNamespace(as_pool=pool)
    return list(RequestReader(io.BytesIO(data), text=text, new_message=new_message, resolver=resolver, **options))


def test_messages_whose_json_is_no_object() -> None:
    """Each JSON value is a message, also where it is a text, a number or a list."""
    values = read_all(b'"a" 1 true null [1] {"b": 2}')

    assert [value.WhichOneof("kind") for value in values] == [
        "string_value", "number_value", "bool_value", "null_value", "list_value", "struct_value"
    ]  # fmt: skip
    assert values[0] == Value(string_value="a")


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        (b'{"text": 1}', {}, "message 1: "),
        (
            b'{} {"nonsense": 1}',
            {},
            'message 2: Message type "pgcurl.testing.v1.EchoRequest" has no field named "nonsense"',
        ),
        (b"{}{", {}, "message 2: Failed to load JSON"),
        (b"nonsense", {}, "message 1: a JSON object is expected, as {...}, not nonsense"),
        (b'{"text": "\xff"}', {}, "the data are not UTF-8 (byte 0xff)"),
        (b'{"text": "\xe2\x82', {}, "the data are not UTF-8"),
        (b"[" * 100_000, {}, "message 1: a JSON object is expected, as {...}, not [[[["),
        (b'{"words":' + b"[" * 100_000, {}, "message 1: Failed to load JSON"),
        (b"null", {}, "message 1: a JSON object is expected, as {...}, not null"),
        (b"[]", {}, "message 1: a JSON object is expected, as {...}, not []"),
        (b'text: "a" \x1e nonsense: 1', {"text": True}, "message 2: 1:2 : Message type"),
        (b"{}", {"message": "pgcurl.testing.legacy.Legacy"}, "message 1 lacks required fields: name"),
    ],
)
def test_what_is_told_of_wrong_data(data: bytes, options: dict[str, Any], told: str) -> None:
    """The message is counted and the reason named."""
    with pytest.raises(RequestDataError) as raised:
        read_all(data, **{"message": "pgcurl.testing.v1.EchoRequest", **options})

    assert str(raised.value).startswith(f"error getting request data: {told}")


def test_unknown_fields_can_be_ignored() -> None:
    """-allow-unknown-fields leaves them out, at every depth."""
    data = b'{"text": "a", "nonsense": {"b": [1]}, "detail": {"note": "c", "more": 1}}'

    (message,) = read_all(data, message="pgcurl.testing.v1.EchoRequest", allow_unknown_fields=True)

    assert (message.text, message.detail.note) == ("a", "c")


def test_a_byte_order_mark_is_no_data() -> None:
    """Editors of other systems put one at the beginning of files."""
    assert "".join(decoded(io.BytesIO(b"\xef\xbb\xbf{}"))) == "{}"


def test_where_data_come_from(tmp_path: Path) -> None:
    """-d has the data itself, '@' means standard input and '@FILE' a file."""
    path = tmp_path / "data.json"
    path.write_bytes(b"{}")
    stdin = io.BytesIO(b"[]")

    with contextlib.ExitStack() as stack:
        assert open_data("@", stdin, stack) is stdin
        assert open_data('{"a": "ü"}', stdin, stack).read(99) == '{"a": "ü"}'.encode()
        file = open_data(f"@{path}", stdin, stack)
        assert file.read(99) == b"{}"
        with pytest.raises(FailureError, match=r"missing cannot be read \(No such file or directory\)"):
            open_data(f"@{tmp_path}/missing", stdin, stack)
    assert list(decoded(file)) == []


def test_data_that_cannot_be_read() -> None:
    """An error of reading is told as one of the data."""

    class Broken(io.RawIOBase):
        """A disk that has gone."""

        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(RequestDataError, match=r"the data cannot be read \(Input/output error\)"):
        list(decoded(Broken()))
