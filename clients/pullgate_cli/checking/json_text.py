"""JSON that may be shown on a terminal, whatever stands in it."""

import json
import re
from typing import Any

_ESCAPED = re.compile(r"[^\x00-\x7e]")


def json_text(data: Any, *, indent: int | None = None) -> str:
    """The data as JSON: readable characters as they are, all others escaped, also halves of surrogate pairs."""
    written = json.dumps(data, ensure_ascii=False, indent=indent)
    return _ESCAPED.sub(lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], written)
