"""How a line of the plugin's log looks."""

import json
import logging
from datetime import UTC, datetime
from typing import Any


class KeyValueFormatter(logging.Formatter):
    """`time=… level=info event=denied reference=… message="…"`, as the engine's own log."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it where it happened if it was a defect."""
        line = " ".join(f"{name}={_quoted(value)}" for name, value in _facts(record).items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = _facts(record)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


FORMATTERS: dict[str, type[logging.Formatter]] = {"logfmt": KeyValueFormatter, "json": JsonFormatter}


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = getattr(record, "facts", {})
    return {"time": moment, "level": record.levelname.lower(), "event": record.getMessage(), **facts}


def _quoted(value: str) -> str:
    """The value as it is if it is one plain word, else in quotes and escaped."""
    plain = value and value.isprintable() and not set(value) & set(' "=\\')
    return value if plain else json.dumps(value)
