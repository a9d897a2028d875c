"""Structured logs: one line per event on standard error, JSON when it is not a terminal.

No secret gets in: values under the names of secrets are replaced, whoever logs them, and so is anything that has the
form of a token.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from pullgate_server.configuration import LogFormat
from pullgate_server.token_secrets import SECRET_PREFIX

_SECRET_NAMES = frozenset({"token", "authorization", "password", "secret", "key"})
_TOKEN = re.compile(rf"{SECRET_PREFIX}[0-9a-f]+")
HIDDEN = "[hidden]"

# The local variables of a traceback may hold anything, and so they stay out.
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure_logs(form: LogFormat, stream: TextIO = sys.stderr) -> None:
    """Send all logs of this process, those of libraries from WARNING on, to `stream`."""
    on_terminal = stream.isatty()
    console = form is LogFormat.CONSOLE or (form is LogFormat.AUTO and on_terminal)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        last: list[Any] = [
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        last = [structlog.processors.ExceptionRenderer(_TRACEBACKS), hide_secrets, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Writes a line and its end at once, so that those of several processes do not run into each other.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event without what must not be written down."""
    for name, value in event.items():
        event[name] = HIDDEN if name.lower() in _SECRET_NAMES else _without_tokens(value)
    return event


def _without_tokens(value: Any) -> Any:
    match value:
        case str():
            return _TOKEN.sub(HIDDEN, value)
        case bytes():
            return _TOKEN.sub(HIDDEN, repr(value))
        case dict():
            return {
                key: HIDDEN if str(key).lower() in _SECRET_NAMES else _without_tokens(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_without_tokens(item) for item in value]
        case _:
            return value
