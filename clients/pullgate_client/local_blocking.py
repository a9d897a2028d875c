"""The local decider for programs without an event loop: it follows in a thread of its own.

with LocalDecider(Connection.from_environment(os.environ)) as decider:
    decider.ready(5)
    answer = decider.decide(identity, "nginx")
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from pullgate_client.aio import AsyncClient
from pullgate_client.connection import Connection
from pullgate_client.local import AsyncLocalDecider
from pullgate_policy import Identity
from pullgate_policy.answer import Answer
from pullgate_policy.knowledge import Knowledge

T = TypeVar("T")


class LocalDecider:
    """Follows a service, and decides from what it was told. Safe to share between threads.

    Args:
        options: those of AsyncLocalDecider.
    """

    def __init__(self, connection: Connection, **options: Any) -> None:
        self._connection = connection
        self._options = options
        self._thread = threading.Thread(target=self._run, name="pullgate-local-decider", daemon=True)
        self._started: Future[AsyncLocalDecider] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Know what is on disk, and begin to follow. Does not wait for the service: see `ready`.

        Raises:
            ConnectionSettingsError: what it was told about the connection cannot be used.
        """
        self._thread.start()
        self._started.result()

    def close(self) -> None:
        """Follow no more, and keep what is known."""
        if self._loop is not None and self._ending is not None:
            # Closed already where the loop is.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def knowledge(self) -> Knowledge:
        """What decisions are made from now, and how it stands."""
        return self._decider.knowledge

    @property
    def state_problem(self) -> str:
        """Why what was kept on disk could not be used; empty if nothing was wrong with it."""
        return self._decider.state_problem

    def call_on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `knowledge` was replaced or a category is another one; from the decider's thread."""
        self._decider.call_on_change(callback)

    def ready(self, wait: float | None = None) -> None:
        """Wait until it is connected and was told everything.

        Raises:
            NoKnowledgeError: it is not within `wait` seconds (None: however long it takes), or never will be.
        """
        self._wait_for(self._decider.ready(wait))

    def at_least(self, revision: int, wait: float) -> None:
        """Wait until what is known is as of a revision or later; raises TimeoutError."""
        self._wait_for(self._decider.at_least(revision, wait))

    def decide(self, identity: Identity | str, reference: str, *, organizations: Sequence[str] = ()) -> Answer:
        """May `identity` use `reference`? Raises what AsyncLocalDecider's does."""
        if isinstance(identity, Identity):
            answer = self._decider.decide_now(identity, reference, organizations=organizations)
            if answer is not None:
                return answer
        return self._wait_for(self._decider.decide(identity, reference, organizations=organizations))

    @property
    def _decider(self) -> AsyncLocalDecider:
        return self._started.result(timeout=0)

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            raise RuntimeError("the decider has not been started")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with (
                AsyncClient(self._connection) as client,
                AsyncLocalDecider(client, **self._options) as decider,
            ):
                self._started.set_result(decider)
                await self._ending.wait()
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
