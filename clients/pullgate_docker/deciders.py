"""Who decides: the service, or a decider in this process that follows it. Behind one port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pullgate_client import AsyncClient, AsyncLocalDecider, CallError, ClientError, InvalidRequestError
from pullgate_policy import Identity
from pullgate_policy.answer import Answer
from pullgate_policy.errors import PullgateError


class NoDecisionError(Exception):
    """No decision was made; the message says why."""


class QuestionRefusedError(Exception):
    """There will never be a decision, because something is wrong with the question."""


class Decider(Protocol):
    """Decides about images."""

    async def decide(self, identity: Identity, references: Sequence[str]) -> Sequence[Answer]:
        """An answer for each reference, in their order.

        Raises:
            NoDecisionError: not now.
            QuestionRefusedError: never.
        """
        ...


@dataclass(kw_only=True)
class FakeDecider:
    """Answers for tests by reference, or does not."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    problem: str = ""
    asked: list[tuple[Identity, tuple[str, ...]]] = field(default_factory=list)

    async def decide(self, identity: Identity, references: Sequence[str]) -> Sequence[Answer]:
        """The answers that were put there."""
        self.asked.append((identity, tuple(references)))
        if self.problem:
            raise NoDecisionError(self.problem)
        return [self.answers[reference] for reference in references]


class ServiceDecider:
    """Asks the service.

    Args:
        organizations: who has a say.
    """

    def __init__(self, client: AsyncClient, organizations: Sequence[str]) -> None:
        self._client = client
        self._organizations = tuple(organizations)

    async def decide(self, identity: Identity, references: Sequence[str]) -> Sequence[Answer]:
        """What the service answers."""
        try:
            if len(references) == 1:
                return [await self._client.decide(identity, references[0], organizations=self._organizations)]
            answers = self._client.decide_all(identity, references, organizations=self._organizations)
            return [_answered(result) async for result in answers]
        except InvalidRequestError as error:
            raise QuestionRefusedError(error.message) from error
        except CallError as error:
            raise NoDecisionError(self._in_words(error)) from error
        except ClientError as error:
            raise NoDecisionError(str(error)) from error

    def _in_words(self, error: CallError) -> str:
        address = self._client.connection.address
        match error.code.name:
            case "UNAVAILABLE" if not error.reason:
                return f"no pullgate service answers on {address}"
            case "DEADLINE_EXCEEDED":
                return f"the pullgate service on {address} did not answer in time"
        return error.message or error.code.name


class LocalDecider:
    """Decides in this process, from what the service has told.

    Args:
        organizations: who has a say.
    """

    def __init__(self, decider: AsyncLocalDecider, organizations: Sequence[str]) -> None:
        self._decider = decider
        self._organizations = tuple(organizations)

    async def decide(self, identity: Identity, references: Sequence[str]) -> Sequence[Answer]:
        """What follows from the policies that are known here."""
        try:
            return [
                await self._decider.decide(identity, reference, organizations=self._organizations)
                for reference in references
            ]
        except PullgateError as error:
            raise QuestionRefusedError(str(error)) from error
        except (ClientError, ConnectionError) as error:
            raise NoDecisionError(str(error)) from error


def _answered(result: Answer | CallError) -> Answer:
    if isinstance(result, CallError):
        raise result
    return result
