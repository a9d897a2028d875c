"""YAML's numbers and booleans as Compose writes them where it wants a text, as for build arguments.

Compose reads values as Go's YAML does and writes them as Go prints them, so that `3.10` becomes 3.1 and `010`
becomes 8. (Tried with docker compose 2.40.)
"""

import re
from decimal import Decimal

_INTEGER = re.compile(r"(?P<sign>[-+]?)(?P<prefix>0[xX]|0[bB]|0[oO]|0(?=[0-7])|)(?P<digits>[0-9a-fA-F]+)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_BASES = {"0x": 16, "0b": 2, "0o": 8, "0": 8, "": 10}
_SPECIAL = {
    **dict.fromkeys(("true", "True", "TRUE"), "true"),
    **dict.fromkeys(("false", "False", "FALSE"), "false"),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), "+Inf"),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), "-Inf"),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), "NaN"),
}
_MAX_CHARACTERS = 100
"""Longer texts are no numbers that anybody writes."""

_INTEGERS = range(-(2**63), 2**64)
_EXPONENTS_WITHOUT_E = range(-4, 6)


def as_compose_writes(text: str) -> str:
    """What a plain scalar is written as when Compose makes a text of it; the same where it is no number or boolean."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    value = number(text)
    if value is None:
        return text
    return _float(value) if isinstance(value, float) else str(value)


def number(text: str) -> int | float | None:
    """The finite number that a plain scalar is for Go's YAML; None where it is none."""
    if len(text) > _MAX_CHARACTERS or text[:1] not in "+-.0123456789":
        return None
    digits = text.replace("_", "")
    integer = _integer(digits)
    if integer is not None:
        return integer
    value = float(digits) if _FLOAT.fullmatch(digits) else None
    return None if value in {float("inf"), float("-inf")} else value


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    try:
        number = int(match["sign"] + match["digits"], _BASES[match["prefix"].lower()])
    except ValueError:
        return None
    return number if number in _INTEGERS else None


def _float(number: float) -> str:
    """The shortest digits that give the number, with an exponent from a million on, and below 0.0001 (Go's %g)."""
    digits = Decimal(repr(number)).normalize().as_tuple().digits
    written = f"{number:.{len(digits) - 1}e}"
    exponent = int(written.partition("e")[2])
    if exponent in _EXPONENTS_WITHOUT_E:
        return f"{number:.{max(len(digits) - 1 - exponent, 0)}f}"
    return written
