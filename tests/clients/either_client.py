"""The two clients, spoken to in one way, so that one test is about both."""

from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from pullgate_client import AsyncClient, Client, Connection, Question

KINDS = ("asyncio", "synchronous")


class EitherClient:
    """A client whose calls are awaited and whose lists are asked with `async for`, whichever it is."""

    def __init__(self, client: AsyncClient | Client) -> None:
        self.client: Any = client
        self._asynchronous = isinstance(client, AsyncClient)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        """A method of the client."""
        method = getattr(self.client, name)
        return method if self._asynchronous else lambda *positional, **named: _awaited(method(*positional, **named))

    def with_deadline(self, deadline: float | None) -> "EitherClient":
        """A view, spoken to in the same way."""
        return EitherClient(self.client.with_deadline(deadline))

    def stream_decide(self, questions: Iterable[Question]) -> Any:
        """Ask these questions over one stream."""
        asked: Any = _asynchronous(questions) if self._asynchronous else questions
        answers = self.client.stream_decide(asked)
        return answers if self._asynchronous else _Iterated(answers)


def either_client(kind: str, connection: Connection, **options: Any) -> EitherClient:
    """A client of one of the KINDS."""
    return EitherClient((AsyncClient if kind == "asyncio" else Client)(connection, **options))


async def listed(entries: AsyncIterator[Any]) -> list[Any]:
    """All entries."""
    return [entry async for entry in entries]


async def received(entries: AsyncIterator[Any]) -> tuple[list[Any], Exception | None]:
    """What came, and what ended it."""
    items: list[Any] = []
    try:
        async for entry in entries:
            items.append(entry)  # noqa: PERF401 - what came before the error counts
    except Exception as error:
        return items, error
    return items, None


class _Iterated:
    """An iterator as an asynchronous one."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Any = iterator

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Take no more."""
        self._iterator.close()


def _awaited(result: Any) -> Any:
    return _Iterated(result) if isinstance(result, Iterator) else _at_once(result)


async def _at_once(result: Any) -> Any:
    return result


async def _asynchronous(items: Iterable[Question]) -> AsyncIterator[Question]:
    for item in items:
        yield item
