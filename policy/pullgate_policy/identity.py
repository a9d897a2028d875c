"""Who pulls: a person or a machine, and the organizations signed in with."""

import enum
from dataclasses import dataclass

from pullgate_policy.errors import InvalidIdentityError, shown
from pullgate_policy.names import organization_name, team_name


class Role(enum.Enum):
    """What somebody is in an organization."""

    MEMBER = "member"
    """Governed by the policy."""

    POLICY_MANAGER = "policy_manager"
    """May change the policy, and is governed by it."""

    OWNER = "owner"
    """May change the policy, and is exempt from it."""


class CredentialKind(enum.Enum):
    """What somebody signed in with."""

    UNSPECIFIED = "unspecified"
    """The caller vouches for a signed-in person and does not say with what."""

    PERSONAL_ACCESS_TOKEN = "personal_access_token"
    """A person's own token."""

    ORGANIZATION_ACCESS_TOKEN = "organization_access_token"
    """A token that belongs to an organization and to no person."""

    SINGLE_SIGN_ON = "single_sign_on"
    """The organization's identity provider."""

    OIDC = "oidc"
    """A workload's OpenID Connect token, as CI systems issue them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What an identity is in one organization."""

    organization: str
    role: Role = Role.MEMBER
    teams: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who pulls. Without a username nobody is signed in.

    Attributes:
        username: empty for an anonymous pull.
        memberships: the organizations signed in with, each once.
        credential: what was signed in with.
    """

    username: str = ""
    memberships: tuple[Membership, ...] = ()
    credential: CredentialKind = CredentialKind.UNSPECIFIED

    def __post_init__(self) -> None:
        seen = set()
        for index, membership in enumerate(self.memberships):
            path = f"memberships[{index}].organization"
            try:
                organization_name(membership.organization)
            except ValueError as error:
                raise InvalidIdentityError(path, f"{shown(membership.organization)} {error}") from error
            if membership.organization in seen:
                raise InvalidIdentityError(path, f"{shown(membership.organization)} is named twice; join its teams")
            seen.add(membership.organization)
            for team in membership.teams:
                try:
                    team_name(team)
                except ValueError as error:
                    raise InvalidIdentityError(f"memberships[{index}].teams", f"{shown(team)} {error}") from error
        if not self.username.isprintable():
            raise InvalidIdentityError("username", f"{shown(self.username)} has characters that cannot be printed")
        if self.memberships and not self.username:
            raise InvalidIdentityError("username", "is empty, and nobody cannot be a member of an organization")

    def membership_in(self, organization: str) -> Membership | None:
        """The membership in `organization`, or None if not signed in with it."""
        for membership in self.memberships:
            if membership.organization == organization:
                return membership
        return None


ANONYMOUS = Identity()
"""Nobody signed in."""
