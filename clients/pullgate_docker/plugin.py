"""The plugin as the Docker Engine speaks to it: HTTP over a unix socket, answered in time whatever happens.

Protocol: https://docs.docker.com/engine/extend/plugins_authorization/, and pkg/authorization/api.go of
github.com/moby/moby.
"""

import base64
import json
import logging
import os
import secrets
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from pullgate_docker.asking import is_answered
from pullgate_docker.judging import DENIED, Judge, Outcome, Verdict
from pullgate_docker.requests import EngineRequest

log = logging.getLogger("pullgate.docker")

MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json"

MAX_QUESTION_BYTES = 16 * 1024 * 1024
"""What the engine shows is at most 4 MiB of body in base64, and 1 MiB of headers."""

MAX_MESSAGE = 1000
"""Characters of a message to the user: one that fills the screen is not read."""

CONNECTIONS_WAITING = 128


class SocketUnusableError(Exception):
    """The plugin cannot listen there; the message says why."""


def application(judge: Judge) -> web.Application:
    """The plugin's answers. What the engine asks for is judged; what it has answered is its own business."""

    async def activate(_: web.Request) -> web.Response:
        return _answer({"Implements": ["authz"]})

    async def judge_request(request: web.Request) -> web.Response:
        uri = ""
        try:
            asked, user, method = _question(await request.read())
            uri = asked.uri
            verdict = await judge.judge(asked, user, method)
        except web.HTTPRequestEntityTooLarge:
            verdict = _refused("what the Docker Engine shows of this request is too large")
        except _NotUnderstoodError as error:
            verdict = _refused(str(error))
        except Exception:
            # A defect must not let anything through, and not look to the engine as if there were no plugin.
            error_id = secrets.token_hex(8)
            log.exception("defect", extra={"facts": {"error_id": error_id}})
            verdict = _refused(f"a defect of the plugin; its log says more about {error_id}")
        if verdict.outcome is not Outcome.NO_CONCERN:
            _tell(verdict, uri)
        return _answer({"Allow": verdict.allow, "Msg": _one_line(verdict.message), "Err": ""})

    async def let_answer_pass(request: web.Request) -> web.Response:
        # It may be as large as a log or an archive.
        async for _ in request.content.iter_any():
            pass
        return _answer({"Allow": True, "Msg": "", "Err": ""})

    made = web.Application(client_max_size=MAX_QUESTION_BYTES)
    made.router.add_post("/Plugin.Activate", activate)
    made.router.add_post("/AuthZPlugin.AuthZReq", judge_request)
    made.router.add_post("/AuthZPlugin.AuthZRes", let_answer_pass)
    return made


async def run_plugin(judge: Judge, path: Path, announce: Callable[[], None], stopped: Awaitable[Any]) -> None:
    """Answer on a socket until told to stop. Requests that are open then have ten seconds.

    Raises:
        SocketUnusableError: the socket cannot be made.
    """
    runner = web.AppRunner(application(judge), access_log=None, handle_signals=False, shutdown_timeout=10.0)
    with listening(path) as listener:
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            announce()
            await stopped
        finally:
            await runner.cleanup()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that the engine alone, or this user, may open: it has its mode before it has its name.

    One that was left behind is replaced, and one on which somebody answers is not.

    Raises:
        SocketUnusableError: somebody answers there, or the file system does not let it be.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketUnusableError(f"{path} is there, and is no socket; see --socket")
        if is_answered(path):
            raise SocketUnusableError(f"another process is listening on {path}; stop it, or see --socket")
        former = os.umask(0o177)
        try:
            listener.bind(str(beside))
        finally:
            os.umask(former)
        listener.listen(CONNECTIONS_WAITING)
        beside.rename(path)
    except OSError as error:
        listener.close()
        with suppress(OSError):
            beside.unlink()
        raise SocketUnusableError(f"{path} cannot be listened on: {error.strerror or error}; see --socket") from error
    except SocketUnusableError:
        listener.close()
        raise
    ours = path.stat().st_ino
    try:
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            if path.stat().st_ino == ours:
                path.unlink()


class _NotUnderstoodError(Exception):
    """It is no question as the engine asks it; the message says so to whoever sent the request."""


def _question(content: bytes) -> tuple[EngineRequest, str, str]:
    """The engine's question: about which request, and whom the engine has recognised how."""
    if not content:
        # An engine whose plugin goes away in the middle of a question asks again, without its content.
        raise _NotUnderstoodError("the plugin has just been started anew; try again")
    try:
        shown = json.loads(content)
        request = EngineRequest(
            method=_text(shown["RequestMethod"]),
            uri=_text(shown["RequestUri"]),
            headers={name: _text(value) for name, value in dict(shown.get("RequestHeaders") or {}).items()},
            body=base64.b64decode(shown.get("RequestBody") or "", validate=True),
        )
        return request, _text(shown.get("User", "")), _text(shown.get("UserAuthNMethod", ""))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _NotUnderstoodError("what the Docker Engine shows of this request cannot be read") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _refused(problem: str) -> Verdict:
    return Verdict(outcome=Outcome.REFUSED, allow=False, message=f"{DENIED}: {problem}", facts={"problem": problem})


def _tell(verdict: Verdict, uri: str) -> None:
    """A line in the log for each request about images."""
    facts = {"allow": str(verdict.allow).lower(), "path": uri.partition("?")[0], **verdict.facts}
    if verdict.message and "problem" not in facts:
        facts["message"] = verdict.message
    level = logging.ERROR if verdict.outcome is Outcome.UNDECIDED else logging.INFO
    log.log(level, "%s", verdict.outcome.value, extra={"facts": facts})


def _one_line(text: str) -> str:
    """A message for a terminal: no line breaks, nothing that moves the cursor, and an end."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _answer(content: dict[str, Any]) -> web.Response:
    return web.json_response(content, content_type=MEDIA_TYPE)
