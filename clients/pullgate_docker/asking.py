"""Short questions over unix sockets, for those who set things up and look what is wrong: to a plugin, to the engine."""

import http.client
import json
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Any

ENGINE_SOCKET = Path("/run/docker.sock")
"""Where the engine answers if nobody says otherwise."""

SECONDS = 5.0
"""How long an answer may take."""


class NoAnswerError(Exception):
    """There is no answer, or not the one that was expected; the message says why."""


class MayNotAskError(NoAnswerError):
    """This user may not open the socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str, *, seconds: float = SECONDS) -> Any:
    """What the JSON says that is answered on a unix socket; raises NoAnswerError."""
    connection = _UnixConnection(path, seconds)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        status, content = response.status, response.read()
    except TimeoutError as error:
        raise NoAnswerError(f"{path} did not answer within {seconds:g} seconds") from error
    except PermissionError as error:
        raise MayNotAskError(f"{path} may not be opened by this user; run this as root") from error
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{path}: {getattr(error, 'strerror', '') or repr(error)}") from error
    finally:
        connection.close()
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise NoAnswerError(f"{path} answered with what is no JSON (status {status})") from error
    if status != HTTPStatus.OK:
        said = answer.get("message") if isinstance(answer, dict) else None
        raise NoAnswerError(str(said or f"{path} answered with status {status}"))
    return answer


def asks_plugin(engine: Path, plugin: str) -> bool:
    """Whether the engine asks a plugin of pullgate's by this name; raises NoAnswerError if it does not say.

    GET /info is no witness: Docker Engine 20.10 does not tell there of plugins that a reload has added or removed. The
    question is one that pullgate refuses, and that the engine itself does not understand.
    """
    try:
        ask(engine, "GET", f"/distribution/{'0' * 64}/json")
    except NoAnswerError as error:
        if f"denied by plugin {plugin}:" in str(error):
            return True
        if "plugin" in str(error):
            raise
    return False


def is_authorization_plugin(path: Path) -> bool:
    """Whether what answers there is a plugin that the engine may ask; raises NoAnswerError."""
    answer = ask(path, "POST", "/Plugin.Activate")
    return isinstance(answer, dict) and "authz" in (answer.get("Implements") or ())


def is_answered(path: Path) -> bool:
    """Whether somebody listens there; raises OSError if that cannot be found out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1.0)
        try:
            trial.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except (TimeoutError, BlockingIOError):
            # Somebody who has more connections waiting than it takes is there all the same.
            return True
        return True
