"""TLS outside of the gRPC library, for what that does not offer: -insecure and SSLKEYLOGFILE.

A thread takes connections on a unix socket that nobody else can reach, and carries each over TLS to the server; the
gRPC library speaks plaintext to the socket.
"""

import asyncio
import contextlib
import queue
import ssl
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from pgcurl.errors import FailureError
from pgcurl.probing import connection_words
from pgcurl.target import Target

CHUNK_BYTES = 65536


class Relay:
    """What carries connections to one server.

    Attributes:
        path: of the socket that it listens on.
    """

    def __init__(self, target: Target, path: Path) -> None:
        self.path = path
        self._target = target
        self._tls = target.tls_context()
        self._problem: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def problem(self) -> str | None:
        """In words, why the last connection could not be made or broke; None for no known reason."""
        return self._problem

    async def run(self, listening: Callable[[], None], stop: asyncio.Event) -> None:
        """Carry connections until it is told to stop. Raises OSError if it cannot listen."""
        server = await asyncio.start_unix_server(self._carry, self.path)
        listening()
        await stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._tasks.add(task)
        try:
            await self._to_server(reader, writer)
        except (ConnectionResetError, BrokenPipeError):
            # The alert that says why may be lost when writing fails before it is read: the connection is tried again.
            self._problem = None
        except OSError as error:
            self._problem = connection_words(self._target, error)
        except asyncio.CancelledError:
            pass  # told to stop; asyncio would log an error if that went further
        finally:
            self._tasks.discard(task)
            await _close(writer)

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await self._connect()
        try:
            protocol = far_writer.get_extra_info("ssl_object").selected_alpn_protocol()
            if protocol != "h2":
                self._problem = "the server offers TLS, but no HTTP/2 (ALPN h2), and so no gRPC"
                return
            self._problem = None
            await _first_of(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            # A polite end of TLS would wait half a minute for servers that do not answer it.
            far_writer.transport.abort()
            await _close(far_writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._target.verified_name
        if self._target.socket_path is not None:
            return await asyncio.open_unix_connection(self._target.socket_path, ssl=self._tls, server_hostname=name)
        host, port = self._target.host_and_port or ("", "")
        return await asyncio.open_connection(host, port, ssl=self._tls, server_hostname=name)


@contextlib.contextmanager
def running_relay(target: Target) -> Iterator[Relay]:
    """Carry connections to a server until the block ends. Raises FailureError for TLS settings that are wrong,
    and for temporary files that cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="pgcurl-") as directory:  # readable by its owner alone
        relay = Relay(target, Path(directory, "relay"))
        loops: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event] | OSError] = queue.SimpleQueue()

        async def run() -> None:
            stop = asyncio.Event()
            try:
                await relay.run(lambda: loops.put((asyncio.get_running_loop(), stop)), stop)
            except OSError as error:
                loops.put(error)

        thread = threading.Thread(target=asyncio.run, args=(run(),), name="pgcurl-relay", daemon=True)
        thread.start()
        begun = loops.get()
        if isinstance(begun, OSError):
            raise FailureError(
                f"Failed to listen on a unix socket in {directory} ({begun}); "
                "TMPDIR may name a directory with a shorter path"
            )
        try:
            yield relay
        finally:
            loop, stop = begun
            loop.call_soon_threadsafe(stop.set)
            thread.join()


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Until one of them has ended, however it did; the others are cancelled."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
