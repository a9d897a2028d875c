"""Tokens that callers present, as far as they may be shown: everything but the secret."""

import enum
from dataclasses import dataclass
from datetime import datetime


class CallerRole(enum.Enum):
    """What a caller may do. What exactly is in the server's one table (authorization.py)."""

    OPERATOR = "operator"
    """Everything, for every organization."""

    OWNER = "owner"
    """Changes the organization's policy, members and tokens; exempt from the policy."""

    POLICY_MANAGER = "policy_manager"
    """Changes the organization's policy; governed by it."""

    MEMBER = "member"
    """Reads the organization's policy, and decides for oneself."""

    ENFORCER = "enforcer"
    """Decides for the people that it vouches for: a proxy, a plugin, a CI system."""

    @property
    def is_person(self) -> bool:
        """Whether somebody with this role has an identity of their own."""
        return self in {CallerRole.OWNER, CallerRole.POLICY_MANAGER, CallerRole.MEMBER}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What is known of a token besides its secret.

    Attributes:
        id: names it for `token revoke`.
        name: for people; the author of what is written with it.
        organization: whose it is; empty for operators alone.
        username: the person it belongs to; empty for operators and enforcers.
        may_assert_roles: whether an enforcer's word on roles and teams counts.
        created_by: the name of the caller that made it.
        expires_at: None for never.
        revoked_at: None while it may be used.
        last_used_at: to the minute; None before the first use.
    """

    id: str
    name: str
    role: CallerRole
    organization: str = ""
    username: str = ""
    may_assert_roles: bool = False
    created_at: datetime
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it may be used at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
