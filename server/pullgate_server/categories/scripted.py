"""A category source that says what it is told to: for tests, and for trying things out."""

import asyncio

from pullgate_server.categories.port import AskedBy, Outcome, SourceAnswer


class ScriptedSource:
    """Implements `CategorySource`.

    Attributes:
        answers: by namespace; what is not here is ABSENT.
        asked: the namespaces that were asked for, in order.
        asked_by: on whose behalf, the same.
    """

    name = "scripted"
    identity = "scripted"

    def __init__(self) -> None:
        self.answers: dict[str, SourceAnswer] = {}
        self.asked: list[str] = []
        self.asked_by: list[AskedBy] = []
        self._go_on = asyncio.Event()
        self._go_on.set()
        self._arrived = asyncio.Condition()

    def hold(self) -> None:
        """Answer nobody until `let_go`."""
        self._go_on.clear()

    def let_go(self) -> None:
        """Answer whoever waits, and whoever asks from now on."""
        self._go_on.set()

    async def until_asked(self, count: int) -> None:
        """Wait until there were so many questions in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.asked) >= count)

    async def look_up(self, namespace: str, asked_by: AskedBy) -> SourceAnswer:
        """What it was told to say when it is let go."""
        asked_by.begin()
        self.asked.append(namespace)
        self.asked_by.append(asked_by)
        async with self._arrived:
            self._arrived.notify_all()
        await self._go_on.wait()
        return self.answers.get(namespace, SourceAnswer(outcome=Outcome.ABSENT, detail="no such namespace"))
