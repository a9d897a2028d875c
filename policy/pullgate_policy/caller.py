"""Who asks."""

from dataclasses import dataclass
from datetime import datetime

from pullgate_policy.access_token import AccessToken, CallerRole

__all__ = ["Caller", "CallerRole", "caller_of_token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated API client.

    Attributes:
        id: tells callers apart, also those of one name.
        name: for people; the author of what the caller writes.
        organization: the one it belongs to; empty for operators alone.
        username: the person behind it; empty for operators and enforcers.
        may_assert_roles: whether its word on roles and teams counts where there is no member list.
        expires_at: from this moment on it is nobody; None for never.
    """

    id: str
    name: str
    role: CallerRole
    organization: str = ""
    username: str = ""
    may_assert_roles: bool = False
    expires_at: datetime | None = None

    @property
    def asserts_roles(self) -> bool:
        """Whether what it says of people's roles and teams counts where there is no member list."""
        return self.role is CallerRole.OPERATOR or (self.role is CallerRole.ENFORCER and self.may_assert_roles)


def caller_of_token(token: AccessToken) -> Caller:
    """The caller that presents this token."""
    return Caller(
        id=token.id,
        name=token.name,
        role=token.role,
        organization=token.organization,
        username=token.username,
        may_assert_roles=token.may_assert_roles,
        expires_at=token.expires_at,
    )
