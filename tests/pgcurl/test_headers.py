"""Headers of the command line."""

from pathlib import Path

import pytest

from pgcurl.errors import FailureError
from pgcurl.headers import metadata_text, read_headers


@pytest.mark.parametrize(
    ("header", "metadata"),
    [
        ("name: value", (("name", "value"),)),
        ("name:value", (("name", "value"),)),
        ("  Name :  a: b  ", (("name", "a: b"),)),
        ("name", (("name", ""),)),
        ("name:", (("name", ""),)),
        ("", ()),
        ("a.b_c-1: x", (("a.b_c-1", "x"),)),
        ("key-bin: AP8=", (("key-bin", b"\x00\xff"),)),
        ("key-bin: AP8", (("key-bin", b"\x00\xff"),)),
        ("key-bin: -_8=", (("key-bin", b"\xfb\xff"),)),
        ("key-bin: -_8", (("key-bin", b"\xfb\xff"),)),
        ("key-bin: +/8", (("key-bin", b"\xfb\xff"),)),
        ("key-bin: +_8", (("key-bin", b"+_8"),)),
        ("key-bin: AP8==", (("key-bin", b"AP8=="),)),
        ("key-bin: not base64!", (("key-bin", b"not base64!"),)),
        ("key-bin:", (("key-bin", b""),)),
    ],
)
def test_headers_are_read_as_grpcurl_reads_them(header: str, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """Names are lower-cased and both are trimmed; binary ones may be in any dialect of base64, or raw."""
    assert read_headers([header], environment=None) == metadata


@pytest.mark.parametrize(
    ("header", "expanded"),
    [
        ("a: ${NAME}", ("a", "x y")),
        ("${NAME_2}: ${NAME}${NAME}", ("z", "x yx y")),
        ("a: $NAME ${} ${N-1}", ("a", "$NAME ${} ${N-1}")),
        ("a: ${EMPTY}", ("a", "")),
        ("a: ${NESTED}", ("a", "${NAME}")),
    ],
)
def test_variables_are_expanded_once(header: str, expanded: tuple[str, str]) -> None:
    """${NAME} is replaced in names and values; nothing else is special, not even what comes out of it."""
    environment = {"NAME": "x y", "NAME_2": "z", "EMPTY": "", "NESTED": "${NAME}"}

    assert read_headers([header], environment=environment) == (expanded,)
    if "${NAME_2}" not in header:
        assert read_headers([header], environment=None)[0][1] == header.partition(": ")[2]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("a: ${NO}", 'Failed to expand headers: header "a: ${NO}" refers to missing environment variable "NO"'),
        ("a b: c", 'Failed to read headers: "a b" is no name of a header'),
        (": c", 'Failed to read headers: "" is no name of a header'),
        (":authority: c", 'Failed to read headers: "" is no name of a header'),
        ("a: ü", "Failed to read headers: the value of a has characters that headers cannot carry"),
        ("a: b\nc: d", "Failed to read headers: the value of a has characters that headers cannot carry"),
        ("@missing", "Failed to read headers: missing cannot be read (No such file or directory)"),
    ],
)  # fmt: skip
def test_what_is_told_of_wrong_headers(header: str, told: str) -> None:
    """The header and the reason are named; a second header cannot be smuggled in."""
    with pytest.raises(FailureError) as raised:
        read_headers([header], environment={})

    assert str(raised.value).startswith(told)


def test_headers_from_a_file(tmp_path: Path) -> None:
    """'@FILE' has one on each line; they are expanded like others."""
    path = tmp_path / "headers"
    path.write_text("a: 1\n\nb: ${NAME}\r\n")

    assert read_headers([f"@{path}", "c: 3"], environment={"NAME": "2"}) == (("a", "1"), ("b", "2"), ("c", "3"))
    path.write_bytes(b"a: \xff")
    with pytest.raises(FailureError, match="is not UTF-8"):
        read_headers([f"@{path}"], environment=None)


def test_metadata_for_people() -> None:
    """Sorted by name, values of one name in their order, bytes in base64."""
    assert (
        metadata_text((("b", "2"), ("a", "1"), ("b", "1"), ("c-bin", b"\x00\xff"))) == "a: 1\nb: 2\nb: 1\nc-bin: AP8="
    )
    assert metadata_text(()) == "(empty)"
