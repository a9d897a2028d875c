"""Whether a request to the engine may go on: what it is about, what that is here, and what is decided."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pullgate_docker.deciders import Decider, NoDecisionError, QuestionRefusedError
from pullgate_docker.engine import Engine, EngineUnavailableError, references_of
from pullgate_docker.requests import (
    ALL_TAGS,
    EngineRequest,
    RefusedRequestError,
    Unseen,
    Wanted,
    reference_of,
    wanted,
)
from pullgate_policy import CredentialKind, Effect, Identity, InvalidIdentityError, Membership, parse_reference
from pullgate_policy.answer import Answer
from pullgate_policy.reference import is_image_id

DENIED = "image access denied"
"""How every message begins that is not a decision's own."""


class Outcome(Enum):
    """What became of a request."""

    ALLOWED = "allowed"
    DENIED = "denied"
    """By a decision."""
    REFUSED = "refused"
    """Without asking for a decision: what it pulls cannot be told."""
    UNDECIDED = "undecided"
    """There was no decision, and what holds then is configuration."""
    NO_CONCERN = "no concern"
    """It is not about images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a request may go on.

    Attributes:
        message: for whoever sent it; empty if it may go on.
        facts: what the log says of it.
    """

    outcome: Outcome
    allow: bool
    message: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


LET_GO = Verdict(outcome=Outcome.NO_CONCERN, allow=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who pulls on this host.

    Attributes:
        identity: the name of whoever opens the engine's socket, about whom the engine knows nothing.
        organizations: whose host this is: everybody here is at least a member, whether a member list names them or not.
        users: names for those who show the engine a certificate, by its common name, where the two differ.
    """

    identity: str
    organizations: Sequence[str]
    users: Mapping[str, str] = field(default_factory=dict)

    def pulls(self, user: str, method: str) -> Identity:
        """The identity behind a request; raises InvalidIdentityError.

        Args:
            user: whom the engine has recognised; empty on its unix socket.
            method: how: TLS for a certificate.
        """
        by_certificate = method == "TLS" and user
        return Identity(
            username=self.users.get(user, user) if by_certificate else self.identity,
            memberships=tuple(Membership(organization=name) for name in self.organizations),
            # As machines sign in. A member list holds people, and a person who is not on it would be nobody, whom
            # a policy without required sign-in does not bind.
            credential=CredentialKind.OIDC,
        )


class Judge:
    """Judges requests.

    Args:
        who: who pulls, given whom the engine has recognised, and how.
        local_images: whether images may be used that were never in a registry.
        seconds: how long a verdict may take. Without a decision by then there is none.
        allow_undecided: whether what there is no decision about goes on.
    """

    def __init__(
        self,
        decider: Decider,
        engine: Engine,
        who: Callable[[str, str], Identity],
        *,
        let_through: frozenset[Unseen] = frozenset(),
        local_images: bool = True,
        seconds: float = 5.0,
        allow_undecided: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decider = decider
        self._engine = engine
        self._who = who
        self._let_through = let_through
        self._local_images = local_images
        self._seconds = seconds
        self._allow_undecided = allow_undecided
        self._clock = clock

    async def judge(self, request: EngineRequest, user: str, method: str) -> Verdict:
        """Whether the request may go on. Always says so in time, and raises nothing but what is a defect."""
        started = self._clock()
        facts: dict[str, str] = {}
        try:
            images = wanted(request, self._let_through)
            if not images:
                return LET_GO
            facts["images"] = " ".join(map(_in_log, (*images.pulled, *images.used)))
            identity = self._who(user, method)
            facts["user"] = identity.username
            async with asyncio.timeout(self._seconds):
                asked, problem = await self._asked(images)
                answers = await self._decider.decide(identity, list(asked)) if asked else ()
        except (RefusedRequestError, QuestionRefusedError, InvalidIdentityError) as error:
            facts["problem"] = str(error)
            return Verdict(outcome=Outcome.REFUSED, allow=False, message=f"{DENIED}: {error}", facts=facts)
        except NoDecisionError as error:
            return self._undecided(str(error), facts)
        except TimeoutError:
            return self._undecided(f"there was none after {self._seconds:g} seconds", facts)
        facts["seconds"] = f"{self._clock() - started:.4f}"
        verdict = _decided(list(asked.items()), answers, facts) if answers else self._undecided(problem, facts)
        return self._undecided(problem, facts) if problem and verdict.allow else verdict

    async def _asked(self, images: Wanted) -> tuple[dict[str, str], str]:
        """What has to be decided, each with the name that it is here because of; and why that is not all."""
        asked, problem = dict.fromkeys(images.pulled, ""), ""
        for name in images.used:
            references: Sequence[str] = ()
            try:
                image = await self._engine.image(name)
                references = references_of(name, image, local_images=self._local_images)
            except EngineUnavailableError as error:
                problem = f"the Docker Engine could not be asked what {name} is here: {error}"
                # Whatever it is, a denial by its name holds.
                if not is_image_id(name):
                    references = (str(reference_of(name)),)
            for reference in references:
                asked.setdefault(reference, name)
        return asked, problem

    def _undecided(self, problem: str, facts: Mapping[str, str]) -> Verdict:
        return Verdict(
            outcome=Outcome.UNDECIDED,
            allow=self._allow_undecided,
            message="" if self._allow_undecided else f"{DENIED}: no decision was made: {problem}",
            facts={**facts, "problem": problem},
        )


def _decided(asked: Sequence[tuple[str, str]], answers: Sequence[Answer], facts: Mapping[str, str]) -> Verdict:
    """The verdict of several decisions: a denial wins."""
    for (reference, name), answer in zip(asked, answers, strict=True):
        if answer.decision.effect is Effect.DENY:
            return Verdict(
                outcome=Outcome.DENIED,
                allow=False,
                message=_denial(reference, name, answer),
                facts={**facts, **_facts([reference], [answer])},
            )
    references = [reference for reference, _ in asked]
    return Verdict(outcome=Outcome.ALLOWED, allow=True, facts={**facts, **_facts(references, answers)})


def _denial(reference: str, name: str, answer: Answer) -> str:
    """The decision's message, then what it is about, and what the organization says to that."""
    about, called = in_words(reference), name if is_image_id(name) else name and in_words(name)
    if name and about != called:
        about = f"{called} is {about} here"
    text = f"{answer.decision.message} ({about}; decision {answer.decision_id})"
    return f"{text}. {answer.decision.help}" if answer.decision.help else text


def in_words(reference: str) -> str:
    """A reference as Docker shows it."""
    repository, _, digest = reference.partition("@")
    if digest == ALL_TAGS:
        return f"all tags of {parse_reference(repository).familiar.removesuffix(':latest')}"
    return parse_reference(reference).familiar


def _in_log(reference: str) -> str:
    """A reference as the log has it."""
    return reference.replace(f"@{ALL_TAGS}", " (all tags)")


def _facts(references: Sequence[str], answers: Sequence[Answer]) -> Mapping[str, str]:
    """What the log says of decisions: mostly of one, else of all of them side by side."""

    def each(fact: Callable[[Answer], object]) -> str:
        return " ".join(str(fact(answer)) for answer in answers)

    known = {answer.known_as_of.isoformat() for answer in answers if answer.known_as_of}
    return {
        "reference": " ".join(map(_in_log, references)),
        "organization": each(lambda answer: answer.decision.organization),
        "reason": each(lambda answer: answer.decision.reason.name),
        "enforced": each(lambda answer: str(answer.decision.enforced).lower()),
        "decision_id": each(lambda answer: answer.decision_id),
        "revision": each(lambda answer: answer.policy_revision),
        **({"known_as_of": min(known)} if known else {}),
    }
