"""What tests share: time that stands still, and servers, in this process and as a process of their own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import pytest

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate.v1.policy_admin_pb2_grpc import PolicyAdminServiceStub
from pullgate.v1.policy_decision_pb2_grpc import PolicyDecisionServiceStub
from pullgate_server.composition import Application, World, compose, ensure_operator_token, open_secrets
from pullgate_server.configuration import Configuration
from pullgate_server.listening import RunningServer
from pullgate_server.stores.category_knowledge import CategoryKnowledge, MemoryCategoryKnowledge
from pullgate_server.stores.memory import MemoryStore
from pullgate_server.stores.port import Store
from tests.postgresql import PostgresqlServer, running_postgresql
from tests.redis_server import RedisServer, running_redis

# A run that was started in the background of a shell ignores interruptions, and so would the programs that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests are the same in every run; `pytest --hypothesis-profile=explore` looks further.
hypothesis.settings.register_profile("default", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("default")

OFFLINE = "catalogue,starter"
"""Category sources that ask nobody."""

SOON = 20.0
"""Seconds after which a test that waits for something gives up: long, because only a defect gets there."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for all tests that want databases of their own on one."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server for all tests that want databases of their own on one, and leave it running."""
    with running_redis() as server:
        yield server


@dataclass
class Clock:
    """Time that moves when it is told to."""

    now: datetime = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The moment it stands at."""
        return self.now

    def advance(self, **amount: float) -> None:
        """Move on by `timedelta(**amount)`."""
        self.now += timedelta(**amount)


@dataclass(kw_only=True)
class Service:
    """A server in this process, and a channel to it."""

    application: Application
    server: RunningServer
    store: Store
    clock: Clock
    directory: Path
    token: str
    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = (("authorization", f"Bearer {self.token}"),)
        self.decisions: Any = PolicyDecisionServiceStub(self.channel)
        self.administration: Any = PolicyAdminServiceStub(self.channel)

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        """Call a method with the operator's token."""
        return await method(request, metadata=self.metadata, timeout=SOON, **options)


Serve = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start servers: `async with serve(store=…, catalogue=…, max_batch=…) as service`."""

    @asynccontextmanager
    async def start(
        *,
        store: Store | None = None,
        knowledge: CategoryKnowledge | None = None,
        clock: Clock | None = None,
        catalogue: str = "",
        wrap: Callable[[Application], Application] = lambda application: application,
        **options: Any,
    ) -> AsyncIterator[Service]:
        store, clock = store or MemoryStore(), clock or Clock()
        if catalogue:
            Path(tmp_path, "catalogue.yaml").write_text(catalogue)
        configuration = Configuration(
            **{
                "listen": "127.0.0.1:0",
                "data_dir": tmp_path,
                "stop_grace": 5.0,
                "store_poll": 0.01,
                "category_sources": OFFLINE,
                **options,
            }
        )
        world = World(clock=clock)
        hasher = await open_secrets(configuration, store, tmp_path, world)
        await ensure_operator_token(store, hasher, tmp_path, world)
        token = Path(tmp_path, OPERATOR_TOKEN_FILE).read_text().strip()
        knowledge = knowledge or MemoryCategoryKnowledge()
        async with compose(configuration, tmp_path, store, knowledge, hasher, world) as application:
            server = RunningServer(wrap(application), configuration)
            await server.start()
            try:
                async with grpc.aio.insecure_channel(server.address) as channel:
                    yield Service(
                        application=application,
                        server=server,
                        store=store,
                        clock=clock,
                        directory=tmp_path,
                        token=token,
                        channel=channel,
                    )
            finally:
                await server.stop()

    return start


@dataclass(frozen=True)
class ServerProcess:
    """`pullgate serve` as a process of its own."""

    process: "subprocess.Popen[str]"
    address: str
    data_dir: Path
    log: Path

    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {**clean_environment(), "PULLGATE_ADDRESS": self.address, "PULLGATE_DATA_DIR": str(self.data_dir)}


def clean_environment() -> dict[str, str]:
    """This process's environment without anything of pullgate's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PULLGATE_")}


def start_server(data_dir: Path, *options: str, environment: dict[str, str] | None = None) -> ServerProcess:
    """Start `pullgate serve` on a free port, and wait until it says that it answers."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("a") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pullgate_cli", "serve", "--data-dir", str(data_dir)]
            + ([] if "--listen" in options else ["--listen", "127.0.0.1:0"])
            + ([] if "--category-sources" in options else ["--category-sources", OFFLINE])
            + list(options),
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env=environment or clean_environment(),
        )
    assert process.stdout is not None
    for line in process.stdout:
        if answering := re.search(r"answers on (\S+);", line):
            return ServerProcess(process, answering[1], data_dir, log)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def stop_server(server: ServerProcess) -> int:
    """Ask it to stop, and give its exit code."""
    server.process.terminate()
    code = server.process.wait(timeout=SOON)
    assert server.process.stdout is not None
    server.process.stdout.close()
    return code


@pytest.fixture(scope="module")
def server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server shared by the tests of a module."""
    server = start_server(tmp_path_factory.mktemp("server") / "data")
    yield server
    if server.process.poll() is None:
        stop_server(server)


def run_pullgate(
    *arguments: str, environment: dict[str, str] | None = None, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run the command line as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "pullgate_cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment or clean_environment(),
        timeout=60,
        check=False,
    )
