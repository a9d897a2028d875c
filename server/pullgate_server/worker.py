"""One of the processes that share a port: what `workers` starts, as `python -m pullgate_server.worker`.

Standard input brings the configuration and then orders, a line each, and ends when the parent does, however that ends.
Standard output tells the parent how the start went.
"""

# First, as it sets what grpc reads when it is imported.
from pullgate_server.event_loop import loop_factory  # isort: skip

import asyncio
import os
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from pullgate_server.composition import World
from pullgate_server.errors import StartupError
from pullgate_server.logs import configure_logs
from pullgate_server.server import Order, run
from pullgate_server.workers import WorkerFailed, WorkerServes, WorkerTask


def main() -> None:
    """Serve until told to stop, by an order, a signal, or the end of the parent."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        sys.exit(runner.run(_work()))


async def _work() -> int:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    line = await lines.readline()
    if not line:
        return 0
    task: WorkerTask = pickle.loads(bytes.fromhex(line.decode()))  # noqa: S301 - of the parent
    configure_logs(task.configuration.log_format)
    structlog.contextvars.bind_contextvars(worker=task.number)
    try:
        await run(task.configuration, World(), lambda *_: _tell(WorkerServes()), _orders(lines))
    except StartupError as error:
        _tell(WorkerFailed(str(error)))
        return 2
    return 0


async def _orders(lines: asyncio.StreamReader) -> AsyncIterator[Order]:
    while line := await lines.readline():
        yield Order(line.decode().strip())
    yield Order.STOP


def _tell(report: WorkerServes | WorkerFailed) -> None:
    # The parent may be gone; then the orders have ended too.
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{pickle.dumps(report).hex()}\n".encode())


if __name__ == "__main__":
    main()
