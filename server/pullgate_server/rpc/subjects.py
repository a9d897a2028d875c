"""Whom decisions are about: identities that callers state, and those whose tokens they show."""

from collections.abc import Sequence
from typing import Protocol

from pullgate_policy import ANONYMOUS, Identity
from pullgate_policy.caller import Caller, CallerRole
from pullgate_policy.errors import OrganizationMissingError, PullgateError
from pullgate_policy.subject import Subject, identity_of, may_decide_for, subject_of
from pullgate_server.errors import IdentityTokenInvalidError, RetryableError
from pullgate_server.snapshot import Snapshot


class Persons(Protocol):
    """Whose the tokens are that identities are read from.

    Attributes:
        used: the ids of those whose tokens were used since somebody emptied it.
    """

    used: set[str]

    async def caller_of_slowly(self, secret: str) -> Caller:
        """The caller that presents this token; raises RetryableError, and PullgateError where it is nobody's."""
        ...


class Subjects:
    """Finds out whom a decision is about, and the organizations that have a say."""

    def __init__(self, persons: Persons) -> None:
        self._persons = persons

    async def find(
        self, stated: Identity | str, organizations: Sequence[str], caller: Caller, snapshot: Snapshot
    ) -> Subject:
        """The subject of an identity.

        Args:
            stated: the identity, or a token to read it from.
            organizations: that have a say besides the identity's own.

        Raises:
            IdentityTokenInvalidError: the token is not of a person that the caller may decide for.
            PullgateError: as `subject_of` does.
        """
        try:
            if isinstance(stated, Identity):
                person, identity = None, stated
            else:
                person = await self._person(stated, caller)
                identity = identity_of(person)
            return subject_of(caller, identity, organizations, snapshot.members, person, followed=snapshot.followed)
        except (OrganizationMissingError, RetryableError):
            if not snapshot.failing_open:
                raise
            # Everything is allowed: who asks, and whose policy would have held, need not be known.
            return Subject(identity=ANONYMOUS, organizations=tuple(organizations) or (caller.organization,))

    def use(self, person_id: str) -> None:
        """Note that a person's token was used; empty for none."""
        if person_id:
            self._persons.used.add(person_id)

    async def _person(self, token: str, caller: Caller) -> Caller:
        try:
            person = await self._persons.caller_of_slowly(token)
        except RetryableError:
            raise
        except PullgateError as error:
            # Why is nobody's business but the operator's: it could be another organization's token.
            problem = str(error) if caller.role is CallerRole.OPERATOR else ""
            raise IdentityTokenInvalidError(problem) from error
        if not may_decide_for(caller, person):
            raise IdentityTokenInvalidError
        self._persons.used.add(person.id)
        return person
