"""Several processes that serve on one port of one machine, for more than one core.

The parent answers no calls. It holds the port, makes ready what all use, starts each worker as a fresh process (gRPC
does not survive a fork), replaces those that die, and tells all when to stop. A worker whose parent is gone stops by
itself. A connection stays with the worker that the kernel gave it to.
"""

import asyncio
import dataclasses
import errno
import pickle
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import structlog

from pullgate_server.composition import World
from pullgate_server.configuration import Configuration
from pullgate_server.errors import StartupError
from pullgate_server.server import Order, prepare

log = structlog.get_logger()

LASTING_SECONDS = 60.0
"""Who served as long did not die of how it was started."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds until a worker is replaced, at most."""

STOP_MARGIN = 5.0
"""Seconds that a worker may take to stop, besides those that its open calls may take."""


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """What a worker is told first: its number, and what to run."""

    number: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class WorkerServes:
    """What a worker tells once it answers calls."""


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """What a worker tells that cannot start: what to change."""

    problem: str


async def run_workers(configuration: Configuration, world: World, announce: Callable[[str, Path], None]) -> None:
    """Serve with several processes until SIGTERM or SIGINT; a second one ends open calls at once.

    Args:
        announce: told the address and the data directory once all workers answer calls.

    Raises:
        StartupError: it cannot start, or a worker cannot; says what to change.
    """
    directory = await prepare(configuration, world)
    with reserved_port(configuration.listen) as address:

        def served() -> None:
            if all(worker.has_served for worker in workers):
                log.info("serving", address=address, workers=len(workers))
                announce(address, directory)

        random = Random(world.random_bytes(16))  # noqa: S311 - for jitter
        tasks = (WorkerTask(number, _own(configuration, address, number)) for number in range(configuration.workers))
        workers = [_Worker(task, random, served) for task in tasks]
        _on_signals(workers)
        keeping = [asyncio.ensure_future(worker.keep()) for worker in workers]
        try:
            await asyncio.wait(keeping, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in workers:
                worker.tell(Order.STOP)
            await asyncio.wait(keeping)
    for kept in keeping:
        kept.result()
    log.info("stopped")


@contextmanager
def reserved_port(listen: str) -> Iterator[str]:
    """Keep HOST:PORT for sockets that share it, as long as the context lasts; yields it with the port it got.

    Raises:
        StartupError: another server has it.
    """
    host, _, port = listen.rpartition(":")
    with ExitStack() as held:
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            number = int(port)
            for family, _, _, _, (name, _, *scope) in dict.fromkeys(found):
                try:
                    number = held.enter_context(_reserve(family, (name, number, *scope))).getsockname()[1]
                except OSError as error:
                    # A name may stand for addresses of a kind that this machine does not have.
                    if len(found) == 1 or error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                        raise
        except OSError as error:
            raise StartupError(f"cannot listen on {listen}: is another server running there? See --listen") from error
        yield f"{host}:{number}"


def _reserve(family: int, address: tuple[str | int, ...]) -> socket.socket:
    """A socket that is bound, and does not listen. Who then listens without SO_REUSEPORT is refused."""
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        # Only this shows that nobody else listens, sharing or not. Then it lets in who shares.
        alone.listen(0)
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with ExitStack() as failing:
            reserving = failing.enter_context(socket.socket(family))
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Connections that a former server had may linger, and are no reason to refuse; another server is.
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserving.bind(alone.getsockname())
            reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            failing.pop_all()
        return reserving


def _own(configuration: Configuration, address: str, number: int) -> Configuration:
    """The configuration of one worker: its part of what is shared, and its own port for metrics."""
    host, _, port = configuration.metrics_listen.rpartition(":")
    return dataclasses.replace(
        configuration,
        workers=1,
        listen=address,
        metrics_listen=f"{host}:{int(port) + number}"
        if port.isdecimal() and int(port)
        else configuration.metrics_listen,
        docker_hub_requests_per_minute=configuration.docker_hub_requests_per_minute // configuration.workers,
    )


def _on_signals(workers: "list[_Worker]") -> None:
    orders = iter([Order.STOP])

    def on_signal() -> None:
        order = next(orders, Order.HURRY)
        for worker in workers:
            worker.tell(order)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


class _Worker:
    """A process, and its successors.

    Attributes:
        has_served: whether it ever answered calls.
    """

    def __init__(self, task: WorkerTask, random: Random, on_first_served: Callable[[], None]) -> None:
        self.has_served = False
        self._task = task
        self._random = random
        self._on_first_served = on_first_served
        self._process: Process | None = None
        self._serves = False
        self._stopping = asyncio.Event()

    async def keep(self) -> None:
        """Start it, and anew whenever it dies, until it is told to stop.

        Raises:
            StartupError: it died before it served for the first time.
        """
        loop, deaths = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            began = loop.time()
            try:
                problem = await self._live()
            except (OSError, ValueError, pickle.UnpicklingError) as error:
                # This machine has no room for another process just now, say: the others go on meanwhile.
                problem = f"worker {self._task.number} cannot be started ({error})"
            if self._stopping.is_set():
                return
            if not self.has_served:
                raise StartupError(problem)
            log.error("worker died", worker=self._task.number, problem=problem)
            deaths = 0 if loop.time() - began > LASTING_SECONDS else deaths + 1
            with suppress(TimeoutError):
                wait = self._random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**deaths))
                await asyncio.wait_for(self._stopping.wait(), wait)

    def tell(self, order: Order) -> None:
        """Order the process, if there is one; it is killed if it does not end in the time that the order leaves it."""
        self._stopping.set()
        own = self._task.configuration
        seconds = STOP_MARGIN if order is Order.HURRY else own.drain_delay + own.stop_grace + STOP_MARGIN
        asyncio.get_running_loop().call_later(seconds, self._kill)
        if self._process is None or self._process.returncode is not None:
            return
        if self._serves and self._process.stdin is not None:
            self._process.stdin.write(f"{order.value}\n".encode())
        else:
            # It does not read orders yet, and has nothing to finish.
            self._process.terminate()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            log.error("worker does not stop, and is killed", worker=self._task.number)
            self._process.kill()

    async def _live(self) -> str:
        """One process, from its start to its end; returns what it ended of."""
        # A session of its own: Ctrl-C is for the parent, who tells the others. And -P, as the working directory is not
        # where modules are to come from.
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "pullgate_server.worker", stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        assert process.stdin is not None  # noqa: S101 - PIPE
        assert process.stdout is not None  # noqa: S101 - PIPE
        if self._stopping.is_set():
            process.terminate()
        process.stdin.write(f"{pickle.dumps(self._task).hex()}\n".encode())
        line = await process.stdout.readline()
        report: WorkerServes | WorkerFailed | None = None
        if line:
            report = pickle.loads(bytes.fromhex(line.decode()))  # noqa: S301 - of our own process
        if isinstance(report, WorkerServes):
            self._begin_to_serve()
        code = await process.wait()
        self._serves = False
        if isinstance(report, WorkerFailed):
            return report.problem
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"worker {self._task.number} {how}; its log may say why"

    def _begin_to_serve(self) -> None:
        self._serves = True
        if not self.has_served:
            self.has_served = True
            self._on_first_served()
