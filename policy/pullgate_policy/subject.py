"""Who pulls, as far as this service can vouch for it: what a caller states, against the member lists.

Membership, role and teams come from the organization's own member list where it holds one, else from a caller that may
assert them. What was stated and is not taken is told in a note with the answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pullgate_policy import CredentialKind, Identity, Membership, Role, organizations_concerned
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.errors import (
    FieldInvalidError,
    OrganizationMissingError,
    OrganizationNotPermittedError,
    RoleNotPermittedError,
    shown,
)
from pullgate_policy.members import MemberList
from pullgate_policy.names import organization_name

_OF_NO_PERSON = {CredentialKind.ORGANIZATION_ACCESS_TOKEN, CredentialKind.OIDC}
"""What machines sign in with. Member lists hold people, so these are members by what the caller states, and no more."""

_ROLES = {CallerRole.OWNER: Role.OWNER, CallerRole.POLICY_MANAGER: Role.POLICY_MANAGER, CallerRole.MEMBER: Role.MEMBER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a decision is about, and whose policies it follows.

    Attributes:
        organizations: that have a say, at least one.
        notes: what was stated and not taken, in sentences.
        valid_until: from this moment on the identity may be another; None for never.
        person_id: of the caller whose token the identity was read from; empty for a stated one.
    """

    identity: Identity
    organizations: tuple[str, ...]
    notes: tuple[str, ...] = ()
    valid_until: datetime | None = None
    person_id: str = ""


def identity_of(person: Caller) -> Identity:
    """The identity of who presents a token of their own."""
    return Identity(
        username=person.username,
        memberships=(Membership(organization=person.organization, role=_ROLES[person.role]),),
        credential=CredentialKind.PERSONAL_ACCESS_TOKEN,
    )


def may_decide_for(caller: Caller, person: Caller) -> bool:
    """Whether whoever's token this is, is a person for whom `caller` may decide."""
    is_entitled = caller.role is CallerRole.OPERATOR or caller.organization == person.organization
    return person.role.is_person and is_entitled


def subject_of(
    caller: Caller,
    identity: Identity,
    asked: Sequence[str],
    members: Mapping[str, MemberList],
    person: Caller | None = None,
    *,
    followed: frozenset[str] | None = None,
) -> Subject:
    """What the service takes for true of a stated identity.

    Args:
        asked: organizations that have a say besides the identity's own.
        members: the member lists of the organizations that have one.
        person: whose token the identity was read from; None for an identity that the caller states.
        followed: the organizations whose policies are known here; None for all that the caller has to do with.

    Raises:
        FieldInvalidError, OrganizationMissingError: nobody's policy is asked about, or one that is not known here.
        OrganizationNotPermittedError: an organization is not the caller's.
        RoleNotPermittedError: the caller decides for itself alone, and this is somebody else.
    """
    for index, organization in enumerate(asked):
        try:
            organization_name(organization)
        except ValueError as error:
            raise FieldInvalidError(f"organizations[{index}]", f"{shown(organization)} {error}") from error
    organizations = organizations_concerned(identity, asked)
    if caller.role is not CallerRole.OPERATOR:
        organizations = organizations or (caller.organization,)
        for organization in organizations:
            if organization != caller.organization:
                raise OrganizationNotPermittedError(organization, caller.organization)
    if not organizations:
        raise OrganizationMissingError
    # Without its policy an organization would look as if it restricted nothing.
    if followed is not None and (unknown := [name for name in organizations if name not in followed]):
        problem = f"the policy of {unknown[0]} is not followed here: follow it too, or ask the service"
        raise FieldInvalidError("organizations", problem)
    if caller.role is CallerRole.MEMBER and identity.username not in {"", caller.username}:
        raise RoleNotPermittedError(
            f"{caller.name}, a member of organization {caller.organization}, decides for {caller.username} alone: "
            "deciding for others is for its enforcers, policy managers and owners, and for operators"
        )
    if not identity.username:
        return Subject(identity=identity, organizations=organizations)
    notes: list[str] = []
    known = person or (caller if caller.username == identity.username and caller.role.is_person else None)
    memberships = [
        membership
        for organization in organizations
        if (
            membership := _membership(
                organization, identity, caller, known, members.get(organization), notes, shown_token=person is not None
            )
        )
        is not None
    ]
    return Subject(
        identity=Identity(username=identity.username, memberships=tuple(memberships), credential=identity.credential),
        organizations=organizations,
        notes=tuple(notes),
        valid_until=None if person is None else person.expires_at,
        person_id="" if person is None else person.id,
    )


def _membership(
    organization: str,
    identity: Identity,
    caller: Caller,
    person: Caller | None,
    members: MemberList | None,
    notes: list[str],
    *,
    shown_token: bool,
) -> Membership | None:
    """What somebody is in one organization.

    Args:
        members: the organization's member list; None where it has none.
        person: the one whose token proves who it is, if there is one: the caller's own, or one that it has shown.
        shown_token: whether the identity was read from a token, and nobody stated anything.
    """
    stated = identity.membership_in(organization)
    if members is not None:
        known = _listed(organization, identity.username, members)
        if known is None and stated is not None:
            notes.append(f"{identity.username} is not on the member list of organization {organization}")
            if identity.credential in _OF_NO_PERSON:
                return Membership(organization=organization)
        elif known is not None and stated is not None and not shown_token:
            notes.extend(_differences(stated, known, identity.username))
        return known
    if person is not None and person.organization == organization:
        proven = Membership(organization=organization, role=_ROLES[person.role])
        notes.extend(_not_proven(stated, proven, caller))
        return proven
    if stated is None or caller.asserts_roles:
        return stated
    if stated.role is Role.OWNER:
        notes.append(_not_asserted(caller, "the role owner"))
    if stated.teams:
        notes.append(_not_asserted(caller, "teams"))
    return Membership(organization=organization)


def _listed(organization: str, username: str, members: MemberList) -> Membership | None:
    member = members.get(username)
    return None if member is None else Membership(organization=organization, role=member.role, teams=member.teams)


def _not_proven(stated: Membership | None, proven: Membership, caller: Caller) -> Iterable[str]:
    if stated is None:
        return
    if stated.role is not Role.MEMBER and stated.role is not proven.role:
        yield f"the role {_word(stated.role)} was not taken: the token is a {_word(proven.role)}'s"
    if stated.teams:
        yield _not_asserted(caller, "teams")


def _differences(stated: Membership, listed: Membership, username: str) -> Iterable[str]:
    if stated.role is not Role.MEMBER and stated.role is not listed.role:
        yield (
            f"the role {_word(stated.role)} was not taken: the member list of organization {listed.organization} says "
            f"that {username} is a {_word(listed.role)}"
        )
    if stated.teams and stated.teams != listed.teams:
        teams = ", ".join(sorted(listed.teams)) or "none"
        yield f"the teams were not taken: the member list of organization {listed.organization} says: {teams}"


def _not_asserted(caller: Caller, what: str) -> str:
    return (
        f"{what} as stated by {caller.name} did not count: that takes a member list, or a token that may assert roles "
        "(pullgate token create --may-assert-roles)"
    )


def _word(role: Role) -> str:
    return role.value.replace("_", " ")
