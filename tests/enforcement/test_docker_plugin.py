"""The plugin on its socket, as the engine speaks to it, with an engine and a decider that do as they are told."""

import asyncio
import base64
import io
import json
import logging
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest

from pullgate_docker import asking
from pullgate_docker.deciders import Decider, FakeDecider, QuestionRefusedError
from pullgate_docker.engine import DockerEngine, Engine, EngineImage, EngineUnavailableError, FakeEngine
from pullgate_docker.judging import Judge, Who
from pullgate_docker.logs import JsonFormatter, KeyValueFormatter
from pullgate_docker.plugin import MAX_QUESTION_BYTES, SocketUnusableError, listening, run_plugin
from pullgate_docker.requests import RefusedRequestError
from pullgate_policy import CredentialKind, Decision, Effect, Identity, Membership, Reason, parse_reference
from pullgate_policy.answer import Answer
from tests.conftest import SOON

DENIED = "image access denied: community images not allowed"
NGINX, EVIL = "docker.io/library/nginx:latest", "docker.io/evil/x:latest"
WHO = Who(identity="host7", organizations=("acme", "globex"), users={"cert-ada": "ada"})


def answer(reference: str, effect: Effect = Effect.ALLOW, help_text: str = "") -> Answer:
    """An answer about a reference."""
    is_denied = effect is Effect.DENY
    return Answer(
        decision=Decision(
            effect=effect,
            policy_effect=effect,
            enforced=True,
            reason=Reason.CATEGORY_NOT_ALLOWED if is_denied else Reason.CATEGORY_ALLOWED,
            message=DENIED if is_denied else "",
            help=help_text,
            evidence=None,
            reference=parse_reference(reference),
            repository=None,
            organization="acme",
            matched_rule="",
            valid_until=None,
        ),
        policy_revision=7,
        decision_id="d" * 32,
        cacheable_for=timedelta(0),
    )


ID = f"sha256:{'c' * 64}"

ANSWERS = {NGINX: answer(NGINX), EVIL: answer(EVIL, Effect.DENY, "Ask\nin the\x1b[31m channel.")}


class Plugin:
    """A running plugin."""

    def __init__(self, path: Path, session: aiohttp.ClientSession) -> None:
        self.path = path
        self._session = session

    async def post(self, method: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Send it something."""
        async with self._session.post(f"http://plugin/{method}", data=io.BytesIO(body)) as response:
            return response.status, json.loads(await response.read())

    async def asked(self, method: str, uri: str, **question: Any) -> dict[str, Any]:
        """Its answer about a request to the engine."""
        question = {"RequestMethod": method, "RequestUri": uri, "RequestHeaders": {}, **question}
        status, said = await self.post("AuthZPlugin.AuthZReq", json.dumps(question).encode())
        assert status == 200
        return said

    async def create(self, image: str, *mounted: str) -> dict[str, Any]:
        """Its answer about a container from an image, with others mounted."""
        mounts = [{"Type": "image", "Source": source} for source in mounted]
        asked = {"Image": image, "HostConfig": {"Mounts": mounts}}
        body = base64.b64encode(json.dumps(asked).encode()).decode()
        headers = {"Content-Type": "application/json"}
        return await self.asked("POST", "/containers/create", RequestBody=body, RequestHeaders=headers)


@asynccontextmanager
async def running(
    folder: Path, decider: Decider, engine: Engine | None = None, **options: Any
) -> AsyncIterator[Plugin]:
    """A plugin until the end of the context."""
    path, stopped, is_ready = folder / "plugin.sock", asyncio.Event(), asyncio.Event()
    judge = Judge(decider, engine or FakeEngine(), WHO.pulls, **options)
    running = asyncio.ensure_future(run_plugin(judge, path, is_ready.set, stopped.wait()))
    waiting = asyncio.ensure_future(is_ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path))) as session:
            yield Plugin(path, session)
    finally:
        stopped.set()
        waiting.cancel()
        await running


async def test_the_protocol(tmp_path: Path) -> None:
    """It says what it is, judges requests, and lets whatever the engine answers pass, however large that is."""
    async with running(tmp_path, FakeDecider(answers=ANSWERS)) as plugin:
        status, activated = await plugin.post("Plugin.Activate", b"")
        allowed = await plugin.asked("POST", "/v1.41/images/create?fromImage=nginx&tag=latest")
        passed = await plugin.post("AuthZPlugin.AuthZRes", b"x" * (MAX_QUESTION_BYTES + 1))

    assert (status, activated) == (200, {"Implements": ["authz"]})
    assert allowed == {"Allow": True, "Msg": "", "Err": ""}
    assert passed == (200, {"Allow": True, "Msg": "", "Err": ""})
    assert not plugin.path.exists()


async def test_a_denial(tmp_path: Path) -> None:
    """The user reads the decision's message first, then what it is about, its id, and the organization's own words."""
    decider = FakeDecider(answers=ANSWERS)
    async with running(tmp_path, decider) as plugin:
        denied = await plugin.asked("POST", "/images/create?fromImage=evil/x&tag=latest")

    assert denied["Allow"] is False
    assert denied["Msg"] == f"{DENIED} (evil/x:latest; decision {'d' * 32}). Ask in the?[31m channel."
    memberships = (Membership(organization="acme"), Membership(organization="globex"))
    host = Identity(username="host7", memberships=memberships, credential=CredentialKind.OIDC)
    assert decider.asked == [(host, (EVIL,))]


@pytest.mark.parametrize(
    ("user", "method", "name"),
    [("", "", "host7"), ("cert-ada", "TLS", "ada"), ("bob", "TLS", "bob"), ("bob", "", "host7"), ("", "TLS", "host7")],
)
async def test_who_pulls(tmp_path: Path, user: str, method: str, name: str) -> None:
    """The common name of a client's certificate is the user, by its mapped name; without one it is the host's user.

    All sign in as machines do, whom the policy binds though no member list names them.
    """
    decider = FakeDecider(answers=ANSWERS)
    async with running(tmp_path, decider) as plugin:
        await plugin.asked("GET", "/distribution/nginx/json", User=user, UserAuthNMethod=method)

    (identity, _), *_ = decider.asked
    assert (identity.username, identity.credential) == (name, CredentialKind.OIDC)


async def test_a_user_that_is_none(tmp_path: Path) -> None:
    """A certificate whose name is not printable is nobody's, and refused."""
    async with running(tmp_path, FakeDecider(answers=ANSWERS)) as plugin:
        said = await plugin.asked("GET", "/distribution/nginx/json", User="a\x00b", UserAuthNMethod="TLS")

    assert said["Allow"] is False
    assert "cannot be printed" in said["Msg"]


async def test_a_retagged_image(tmp_path: Path) -> None:
    """A container is decided by every repository that its image is from, and the message says which was the reason."""
    evil = EngineImage(image_id="sha256:abcd", tags=("nginx:latest",), digests=(f"evil/x@sha256:{'1' * 64}",))
    by_digest = f"docker.io/evil/x@sha256:{'1' * 64}"
    decider = FakeDecider(answers={**ANSWERS, by_digest: answer(by_digest, Effect.DENY)})
    async with running(tmp_path, decider, FakeEngine(images={"nginx": evil})) as plugin:
        said = await plugin.create("nginx")

    assert decider.asked[0][1] == (NGINX, by_digest)
    assert said["Msg"].startswith(f"{DENIED} (nginx:latest is evil/x@sha256:1111")


PREFIX = "image access denied: "
NO_DECISION = f"{PREFIX}no decision was made: "


class Slow:
    """An engine and a decider that never answer."""

    async def image(self, name: str) -> EngineImage | None:
        """Wait."""
        await asyncio.sleep(SOON)
        raise AssertionError

    async def decide(self, identity: Identity, references: Any) -> Any:
        """Wait."""
        await asyncio.sleep(SOON)
        raise AssertionError


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize(
    ("decider", "engine", "problem"),
    [
        (FakeDecider(problem="no pullgate service answers on x"), FakeEngine(), "no pullgate service answers on x"),
        (
            FakeDecider(answers=ANSWERS),
            FakeEngine(problem="gone"),
            "the Docker Engine could not be asked what nginx is",
        ),
        (Slow(), FakeEngine(), "there was none after 0.05 seconds"),
        (FakeDecider(answers=ANSWERS), Slow(), "there was none after 0.05 seconds"),
    ],
)
async def test_no_decision(
    tmp_path: Path, decider: Decider, engine: Engine, problem: str, allow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a decision in time the request is refused, and says so; or goes on, as configured. Both are logged."""
    async with running(tmp_path, decider, engine, seconds=0.05, allow_undecided=allow) as plugin:
        said = await plugin.create("nginx")

    assert said["Allow"] is allow
    assert said["Msg"].startswith("" if allow else f"{NO_DECISION}{problem}")
    (line,) = [record for record in caplog.records if record.name == "pullgate.docker"]
    assert (line.getMessage(), line.levelno) == ("undecided", logging.ERROR)
    assert problem in line.facts["problem"]  # type: ignore[attr-defined]


class Forgetful(FakeEngine):
    """An engine that cannot say what some images are."""

    async def image(self, name: str) -> EngineImage | None:
        """None, but for the names that it cannot say anything of."""
        if name.startswith("decoy"):
            raise EngineUnavailableError("it answered with status 500")
        return await super().image(name)


@pytest.mark.parametrize("images", [["evil/x", "decoy/y"], ["decoy/y", "evil/x"], ["decoy/evil"]])
async def test_a_decoy_lets_nothing_denied_go_on(tmp_path: Path, images: list[str]) -> None:
    """What the engine cannot say of one image hides no denial of another, nor of its name, with --on-error allow."""
    denied = {name: answer(name, Effect.DENY) for name in (EVIL, "docker.io/decoy/evil:latest")}
    fine = {name: answer(name) for name in ("docker.io/decoy/y:latest", "docker.io/decoy/z:latest")}
    decider = FakeDecider(answers={**ANSWERS, **fine, **denied})
    async with running(tmp_path, decider, Forgetful(), allow_undecided=True) as plugin:
        refused = await plugin.create(*images)
        undecided = await plugin.create("nginx", "decoy/z")

    assert (refused["Allow"], refused["Msg"].startswith(DENIED)) == (False, True)
    assert undecided["Allow"] is True


class Raising:
    """A decider that does not decide."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def decide(self, identity: Identity, references: Any) -> Any:
        """Raise."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (QuestionRefusedError("user dev is nobody"), "image access denied: user dev is nobody"),
        (ZeroDivisionError("x"), "image access denied: a defect of the plugin; its log says more about "),
    ],
)
async def test_never_a_decision(tmp_path: Path, error: Exception, said: str) -> None:
    """What will never be decided, and a defect, are refused also where what is undecided goes on."""
    async with running(tmp_path, Raising(error), allow_undecided=True) as plugin:
        refused = await plugin.asked("GET", "/distribution/nginx/json")

    assert (refused["Allow"], refused["Msg"].startswith(said)) == (False, True)


@pytest.mark.parametrize(
    "question",
    [
        b"null", b"[]", b"{", b"\xff", b'{"RequestMethod": "GET"}', b'{"RequestMethod": 1, "RequestUri": "/"}',
        b'{"RequestMethod": "GET", "RequestUri": "/", "RequestBody": "!"}',
        b'{"RequestMethod": "GET", "RequestUri": "/", "RequestHeaders": {"a": 1}}',
        b'{"RequestMethod": "GET", "RequestUri": "/", "RequestHeaders": []}'.replace(b"[]", b'["a"]'),
        b'{"RequestMethod": "GET", "RequestUri": "/", "User": 1}',
        b"[" * 100_000,
    ],
)  # fmt: skip
async def test_questions_that_are_not_understood(tmp_path: Path, question: bytes) -> None:
    """What is not a question as the engine asks it is refused, with an answer that the engine understands."""
    async with running(tmp_path, FakeDecider(), allow_undecided=True) as plugin:
        status, said = await plugin.post("AuthZPlugin.AuthZReq", question)

    assert (status, said["Allow"]) == (200, False)
    assert said["Msg"] == "image access denied: what the Docker Engine shows of this request cannot be read"


async def test_a_question_without_content(tmp_path: Path) -> None:
    """An engine whose plugin was started anew in the middle of a question asks an empty one, and is told so."""
    async with running(tmp_path, FakeDecider(), allow_undecided=True) as plugin:
        _, said = await plugin.post("AuthZPlugin.AuthZReq", b"")

    assert (said["Allow"], said["Msg"]) == (False, f"{PREFIX}the plugin has just been started anew; try again")


async def test_a_question_that_is_too_large(tmp_path: Path) -> None:
    """A question beyond all that the engine would show is refused and not kept in memory."""
    async with running(tmp_path, FakeDecider()) as plugin:
        status, said = await plugin.post("AuthZPlugin.AuthZReq", b" " * (MAX_QUESTION_BYTES + 1))

    assert (status, said["Allow"]) == (200, False)
    assert "too large" in said["Msg"]


async def test_questions_at_the_same_time(tmp_path: Path) -> None:
    """While one question waits for the engine, which asks the plugin about that very request, others are answered."""
    is_waiting, may_go_on = asyncio.Event(), asyncio.Event()

    class Waiting:
        async def image(self, name: str) -> EngineImage | None:
            is_waiting.set()
            await may_go_on.wait()
            return None

    async with running(tmp_path, FakeDecider(answers=ANSWERS), Waiting()) as plugin:
        create = asyncio.ensure_future(plugin.create("nginx"))
        await is_waiting.wait()
        inspect = await plugin.asked("GET", "/images/nginx/json")
        may_go_on.set()
        created = await create

    assert (inspect["Allow"], created["Allow"]) == (True, True)


# The socket.


async def test_the_socket_is_the_engines_alone(tmp_path: Path) -> None:
    """Nobody but this user may open the socket, and folders that are missing are made."""
    path = tmp_path / "a" / "b" / "plugin.sock"
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == ["plugin.sock"]
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """A plugin that was killed leaves its socket, which the next one takes."""
    path = tmp_path / "plugin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    """A second plugin does not take the socket of one that answers, nor any file that is no socket."""
    path, file = tmp_path / "plugin.sock", tmp_path / "file"
    file.write_text("kept")
    with listening(path):
        with pytest.raises(SocketUnusableError, match="another process is listening"), listening(path):
            pass
        with pytest.raises(SocketUnusableError, match="is no socket"), listening(file):
            pass
        assert path.exists()
    with pytest.raises(SocketUnusableError, match="cannot be listened on"), listening(Path("/proc/nowhere/x.sock")):
        pass
    assert file.read_text() == "kept"


def test_the_socket_of_a_successor_is_left(tmp_path: Path) -> None:
    """Who stops removes its own socket, and not the one that another has put there since."""
    path = tmp_path / "plugin.sock"
    with listening(path):
        path.unlink()
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(path))
    assert path.exists()
    successor.close()


# The engine's own answers.


@asynccontextmanager
async def engine_that_says(folder: Path, status: int, body: bytes) -> AsyncIterator[tuple[DockerEngine, list[str]]]:
    """An engine's adapter, and what it asks, with an answer that is always the same."""
    asked: list[str] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1])
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Location: /elsewhere\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer_once, folder / "docker.sock")
    async with server, DockerEngine(folder / "docker.sock") as engine:
        yield engine, asked


async def test_what_the_engine_says(tmp_path: Path) -> None:
    """The adapter asks for the very name, and takes names and digests, without those that say that there is none."""
    body = {"Id": "sha256:ab", "RepoTags": ["nginx:latest", "<none>:<none>"], "RepoDigests": None, "Size": 1}
    async with engine_that_says(tmp_path, 200, json.dumps(body).encode()) as (engine, asked):
        image = await engine.image("localhost:5000/a/b:1@sha256:c")

    assert image == EngineImage(image_id="sha256:ab", tags=("nginx:latest",))
    assert [unquote(path) for path in asked] == ["/images/localhost:5000/a/b:1@sha256:c/json"]


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b'{"message": "x"}'), (403, b"{}"), (301, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"Id": 1}'),
     (200, b'{"Id": "a", "RepoTags": "x", "RepoDigests": []}'), (200, b'{"Id": "a", "RepoTags": []}')],
)  # fmt: skip
async def test_an_engine_that_does_not_say(tmp_path: Path, status: int, body: bytes) -> None:
    """Any other answer than an image or none is no answer."""
    async with engine_that_says(tmp_path, status, body) as (engine, _):
        with pytest.raises(EngineUnavailableError):
            await engine.image("nginx")


async def test_a_name_that_the_engine_does_not_take(tmp_path: Path) -> None:
    """400 is about the name, and no trouble of the engine's that would let a request go on undecided."""
    async with engine_that_says(tmp_path, 400, b'{"message": "invalid reference format"}') as (engine, _):
        with pytest.raises(RefusedRequestError, match="is no name of an image to the Docker Engine"):
            await engine.image("[::1]/x/y")


async def test_an_engine_that_gives_every_name_a_digest(tmp_path: Path) -> None:
    """With the containerd image store, which alone gives a descriptor, digests do not tell where an image is from."""
    body = {"Id": ID, "RepoTags": ["a/b:1"], "RepoDigests": [f"a/b@{ID}"], "Descriptor": {"digest": ID}}
    async with engine_that_says(tmp_path, 200, json.dumps(body).encode()) as (engine, _):
        image = await engine.image("a/b:1")

    assert image == EngineImage(image_id=ID, tags=("a/b:1",), digests=(f"a/b@{ID}",), tells_origin=False)


async def test_no_engine_and_no_image(tmp_path: Path) -> None:
    """404 is an answer: there is no such image. No engine is none."""
    async with engine_that_says(tmp_path, 404, b'{"message": "No such image"}') as (engine, _):
        assert await engine.image("nginx") is None
    async with DockerEngine(tmp_path / "nowhere.sock") as nobody:
        with pytest.raises(EngineUnavailableError, match="No such file or directory"):
            await nobody.image("nginx")


# Logs, and short questions.


def record(level: int, facts: Mapping[str, str]) -> logging.LogRecord:
    """A line before it is one."""
    made = logging.LogRecord("pullgate.docker", level, "", 0, "denied", None, None)
    made.created, made.facts = 0.0, facts
    return made


def test_log_lines() -> None:
    """A line is key=value with quotes where they are needed, or a JSON object; nothing in a value begins a new line."""
    facts = {"user": "dev", "message": 'a "b"\nlevel=error', "empty": ""}

    assert KeyValueFormatter().format(record(logging.INFO, facts)) == (
        'time=1970-01-01T00:00:00.000Z level=info event=denied user=dev message="a \\"b\\"\\nlevel=error" empty=""'
    )
    assert json.loads(JsonFormatter().format(record(logging.ERROR, facts))) == {
        "time": "1970-01-01T00:00:00.000Z", "level": "error", "event": "denied", **facts,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"", "did not answer|RemoteDisconnected|closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", "is no JSON"),
        (b'HTTP/1.1 403 F\r\nContent-Length: 18\r\n\r\n{"message": "why"}', "^why$"),
        (b"HTTP/1.1 500 F\r\nContent-Length: 2\r\n\r\n{}", "status 500"),
    ],
)
async def test_short_questions(tmp_path: Path, said: bytes, problem: str) -> None:
    """A question over a socket has an answer, or a sentence why not."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(reply, tmp_path / "x.sock"):
        with pytest.raises(asking.NoAnswerError, match=problem):
            await asyncio.to_thread(asking.ask, tmp_path / "x.sock", "GET", "/")


async def test_what_is_a_plugin(tmp_path: Path) -> None:
    """A running plugin is known for one, before the engine is made to ask it."""
    is_plugin: Callable[[Path], bool] = asking.is_authorization_plugin
    async with running(tmp_path, FakeDecider()) as plugin:
        assert await asyncio.to_thread(is_plugin, plugin.path)
