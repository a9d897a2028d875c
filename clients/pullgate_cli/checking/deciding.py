"""The answers about images: of the service, or from policies in files without asking anybody."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Protocol

import click

import pullgate_policy
from pullgate_cli.checking.report import Failure, Result
from pullgate_cli.connecting import explain
from pullgate_cli.identities import StatedIdentity, say_what_to_state
from pullgate_policy import (
    ANONYMOUS,
    Category,
    CategoryEvidence,
    CategoryNeeded,
    HubRepository,
    Identity,
    Policy,
    Reason,
    Reference,
    decide,
    organizations_concerned,
)
from pullgate_policy.answer import Answer
from pullgate_policy.catalogue import CATALOGUE, STARTER, STARTER_FILE, CatalogueEntry, parse_catalogue

if TYPE_CHECKING:
    from pullgate_client import Client

Answered = Callable[[int], None]
"""Called with how many images are answered."""


class Decider(Protocol):
    """Answers whether images may be used."""

    @property
    def teams(self) -> frozenset[str]:
        """The teams that whoever pulls is said to be in."""

    @property
    def failure(self) -> str:
        """Why there were no more answers from some image on, in a sentence; empty where all were given."""

    @property
    def warning(self) -> str:
        """What makes it doubtful that the right organization was asked, in a sentence; empty where nothing does."""

    def decide_all(self, references: Sequence[Reference], on_answer: Answered = lambda _: None) -> Sequence[Result]:
        """A result for each image, in their order; nothing is raised for want of an answer.

        Of a reference with neither tag nor digest, which means all of a repository, the service is asked about
        `latest`.
        """

    def policy_of(self, organization: str) -> Policy | None:
        """An organization's policy; None where it cannot be read."""


class ServiceDecider:
    """Asks the service, in batches."""

    def __init__(self, client: "Client", who: StatedIdentity) -> None:
        self.teams = frozenset(who.teams)
        self.failure = ""
        self._client = client
        self._identity = who.identity(client.connection.current_token())
        self._asked = who.asked
        self._says_organization = bool(who.organizations)
        self._policies: dict[str, Policy | None] = {}
        self._decided: set[tuple[Reason, str]] = set()

    @property
    def warning(self) -> str:
        """That nothing is restricted: so it is said of an organization that there is not, too."""
        if {reason for reason, _ in self._decided} != {Reason.POLICY_DISABLED}:
            return ""
        names = ", ".join(sorted(organization for _, organization in self._decided))
        question = "is --org right?" if self._says_organization else "is it the right one? --org says another"
        return f"organization {names} restricts nothing; {question}"

    def decide_all(self, references: Sequence[Reference], on_answer: Answered = lambda _: None) -> Sequence[Result]:
        """A result for each image, in their order. Where the service fails, its error stands for those left."""
        from pullgate_client import CallError

        results: list[Result] = []
        texts = [str(reference) for reference in references]
        try:
            for result in self._client.decide_all(self._identity, texts, organizations=self._asked):
                if isinstance(result, Answer):
                    self._decided.add((result.decision.reason, result.decision.organization))
                results.append(result if isinstance(result, Answer) else Failure(result.code.name, result.message))
                on_answer(len(results))
        except CallError as error:
            say_what_to_state(error)
            self.failure = explain(error, self._client.connection)
            results.extend([Failure(error.code.name, self.failure)] * (len(texts) - len(results)))
        return results

    def policy_of(self, organization: str) -> Policy | None:
        """The policy, where the caller may read it."""
        from pullgate_client import CallError

        if organization not in self._policies:
            try:
                self._policies[organization] = self._client.get_policy(organization).policy
            except CallError:
                self._policies[organization] = None
        return self._policies[organization]


class OfflineDecider:
    """Decides from policies and catalogues at hand. What these do not know of is of an unknown category.

    Args:
        policies: at least one. Who says no organization is signed in with all of theirs.
        catalogue: what is known besides the catalogue that is shipped, and before it.
        now: the moment of the decisions.
    """

    def __init__(
        self, policies: Iterable[Policy], catalogue: Iterable[CatalogueEntry], who: StatedIdentity, now: datetime
    ) -> None:
        self.teams = frozenset(who.teams)
        self.failure = ""
        self.warning = ""
        self._policies = {policy.organization: policy for policy in policies}
        self._now = now
        self._identity = self._identity_of(who)
        self._organizations = organizations_concerned(self._identity, who.organizations or self._policies)
        self._known = (
            {entry.name: entry.evidence(CATALOGUE) for entry in catalogue},
            {entry.name: entry.evidence(STARTER) for entry in starter_catalogue()},
        )

    def decide_all(self, references: Sequence[Reference], on_answer: Answered = lambda _: None) -> Sequence[Answer]:
        """An answer for each image, in their order."""
        answers = [self._decide(reference) for reference in references]
        on_answer(len(answers))
        return answers

    def policy_of(self, organization: str) -> Policy | None:
        """The policy as the files have it."""
        return self._policies.get(organization)

    def _identity_of(self, who: StatedIdentity) -> Identity:
        missing = sorted(set(who.organizations) - self._policies.keys())
        if missing:
            raise click.UsageError(f"no --policy is of organization {', '.join(missing)}")
        if who.anonymous:
            return ANONYMOUS
        # Who it is makes no difference to a policy, and in a container there may be no name for it.
        return who.member_of(who.organizations or tuple(self._policies), who.user or "somebody")

    def _decide(self, reference: Reference) -> Answer:
        known: dict[HubRepository, CategoryEvidence] = {}
        while True:
            decision = decide(self._organizations, self._policies, self._identity, reference, known, self._now)
            if not isinstance(decision, CategoryNeeded):
                break
            known[decision.repository] = self._evidence(decision.repository)
        return Answer(
            decision=decision,
            policy_revision=0,
            decision_id="",
            cacheable_for=timedelta(0),
            notes=("decided from files, without asking the service",),
        )

    def _evidence(self, repository: HubRepository) -> CategoryEvidence:
        for known in self._known:
            evidence = known.get(repository.path) or known.get(repository.namespace)
            if evidence is not None:
                return evidence
        detail = f"no catalogue at hand says what {repository.namespace} is; name one with --catalogue"
        return CategoryEvidence(category=Category.UNKNOWN, detail=detail)


def starter_catalogue() -> Sequence[CatalogueEntry]:
    """The small catalogue that is shipped with pullgate."""
    return parse_catalogue(resources.files(pullgate_policy).joinpath(STARTER_FILE).read_text(encoding="utf-8"))
