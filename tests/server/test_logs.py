"""Logs: one line an event, JSON when not on a terminal, and no secret in them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from pullgate_server.authentication import Authenticator
from pullgate_server.configuration import LogFormat
from pullgate_server.errors import TokenInvalidError
from pullgate_server.logs import HIDDEN, configure_logs
from pullgate_server.token_secrets import SecretHasher, new_secret
from tests.conftest import Clock

TOKEN = new_secret(lambda size: bytes(range(size)))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


@pytest.fixture(autouse=True)
def configuration_afterwards() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[str]:
    """What was written, line by line."""
    return stream.getvalue().splitlines()


def test_json_elsewhere_than_on_a_terminal() -> None:
    """An event is one JSON object with its time and level, and so is what a library logs."""
    stream = io.StringIO()
    configure_logs(LogFormat.AUTO, stream)
    structlog.get_logger().info("policy written", organization="acme\nevil", revision=3)
    logging.getLogger("library").warning("careful")
    first, second = map(json.loads, lines(stream))

    assert tuple(first[key] for key in ("event", "organization", "revision", "level")) == (
        "policy written",
        "acme\nevil",
        3,
        "info",
    )
    assert (second["event"], second["level"]) == ("careful", "warning")
    assert first["timestamp"].endswith("Z")


def test_console_on_a_terminal() -> None:
    """A person gets a readable line."""
    stream = Terminal()
    configure_logs(LogFormat.AUTO, stream)
    structlog.get_logger().info("serving", address="x")

    assert "serving" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_no_secret_gets_in(form: LogFormat) -> None:
    """A token is hidden wherever it stands: by its name, within a text, deep within a value, or in a traceback."""
    stream = io.StringIO()
    configure_logs(form, stream)
    log = structlog.get_logger()
    log.info("a", token="plain secret", detail=f"got {TOKEN}!", headers={"Authorization": "x y", "deep": [TOKEN]})
    logging.getLogger("library").error("sent %s", TOKEN)
    try:
        raise ValueError(f"bad {TOKEN}")
    except ValueError as error:
        log.error("b", exc_info=error)

    assert TOKEN not in stream.getvalue()
    assert "plain secret" not in stream.getvalue()
    assert "x y" not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


def test_an_unknown_token_is_not_repeated() -> None:
    """The refusal of a token does not say the token."""
    with pytest.raises(TokenInvalidError) as raised:
        Authenticator(SecretHasher(b"key"), Clock()).authenticate(f"Bearer {TOKEN}")

    assert TOKEN not in str(raised.value)
