"""Headers of the command line, as metadata of calls (grpcurl.go: MetadataFromHeaders, ExpandHeaders)."""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pgcurl.errors import FailureError

Metadata = tuple[tuple[str, str | bytes], ...]

_VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)
_NAME = re.compile(r"[0-9a-z_.-]+")
_BASE64 = re.compile(r"(?P<digits>[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)(?P<padding>=*)")
_URL_SAFE = str.maketrans("+/", "-_")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
"""What the gRPC protocol allows in values (PROTOCOL-HTTP2.md: ASCII-Value)."""


def read_headers(headers: Sequence[str], *, environment: Mapping[str, str] | None) -> Metadata:
    """Headers 'name: value' and '@FILE' as metadata; raises FailureError.

    Args:
        headers: as on the command line.
        environment: for ${NAME} in headers; None leaves them as they are.
    """
    lines = [line for header in headers for line in _lines(header)]
    if environment is not None:
        lines = [_expanded(line, environment) for line in lines]
    return tuple(_header(line) for line in lines if line)


def metadata_text(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Metadata for people: sorted by name, a line each, binary values in base64."""
    lines = [f"{name}: {_value_text(value)}" for name, value in sorted(metadata, key=lambda entry: entry[0])]
    return "\n".join(lines) or "(empty)"


def says(metadata: Metadata, name: str) -> bool:
    """Whether a header is among them."""
    return any(key == name for key, _ in metadata)


def _lines(header: str) -> list[str]:
    if not header.startswith("@"):
        return [header]
    path = Path(header.removeprefix("@"))
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise FailureError(f"Failed to read headers: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FailureError(f"Failed to read headers: {path} is not UTF-8") from error


def _expanded(header: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise FailureError(
                f'Failed to expand headers: header "{header}" refers to missing environment variable "{match[1]}"'
            )
        return environment[match[1]]

    return _VARIABLE.sub(value, header)


def _header(line: str) -> tuple[str, str | bytes]:
    name, _, value = line.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not _NAME.fullmatch(name):
        raise FailureError(
            f'Failed to read headers: "{name}" is no name of a header; names have letters, digits, "_", "-" and "."'
        )
    if name.endswith("-bin"):
        return name, _decoded(value)
    if not _PRINTABLE.fullmatch(value):
        raise FailureError(f"Failed to read headers: the value of {name} has characters that headers cannot carry")
    return name, value


def _decoded(value: str) -> bytes:
    """Base64 in any of its four dialects; what is none of them is taken as it is."""
    match = _BASE64.fullmatch(value)
    if match and (not match["padding"] or len(value) % 4 == 0):
        digits = match["digits"]
        with contextlib.suppress(binascii.Error):
            return base64.urlsafe_b64decode(digits.translate(_URL_SAFE) + "=" * (-len(digits) % 4))
    return value.encode("utf-8", "surrogateescape")


def _value_text(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
