"""The options that say who pulls, shared by all commands that ask for somebody."""

import functools
import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pullgate_policy import ANONYMOUS, CredentialKind, Identity, InvalidIdentityError, Membership, Role

if TYPE_CHECKING:
    from pullgate_client import CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedIdentity:
    """Who pulls, as far as the options say it.

    Attributes:
        organizations: signed in with; of somebody anonymous, whose policies are asked.
        user: None for who runs the command.
        anonymous: nobody is signed in.
    """

    organizations: Sequence[str] = ()
    user: str | None = None
    role: str | None = None
    teams: Sequence[str] = ()
    credential: str | None = None
    anonymous: bool = False

    def __post_init__(self) -> None:
        if self.anonymous and self._is_described:
            raise click.UsageError(
                "--anonymous is nobody: it goes with none of --user, --role, --team and --credential"
            )

    @property
    def asked(self) -> Sequence[str]:
        """The organizations that have a say although nobody is signed in with them."""
        return self.organizations if self.anonymous else ()

    def identity(self, own_token: str) -> Identity | str:
        """Who that is, or the token that says it; raises click.UsageError.

        Args:
            own_token: what the call is made with. Who says nothing of an identity, and has one, asks for oneself.
        """
        if self.anonymous:
            return ANONYMOUS
        if own_token and not self._is_described and not self.organizations:
            return own_token
        return self.member_of(self.organizations, self.user or logged_in())

    def member_of(self, organizations: Sequence[str], user: str) -> Identity:
        """The user, signed in with these organizations as the options say; raises click.UsageError."""
        try:
            return Identity(
                username=user,
                memberships=tuple(
                    Membership(organization=name, role=Role(self.role or "member"), teams=frozenset(self.teams))
                    for name in organizations
                ),
                credential=CredentialKind(self.credential or "unspecified"),
            )
        except InvalidIdentityError as error:
            raise click.UsageError(error.problem) from error

    @property
    def _is_described(self) -> bool:
        return bool(self.user or self.role or self.teams or self.credential)


def states_identity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say who pulls, and `who` they describe."""

    @click.option(
        "--org", "organizations", multiple=True, metavar="ORG", help="Organization signed in with; repeatable."
    )
    @click.option("--user", metavar="USER", help="Who pulls. Default: the name you are logged in with here.")
    @click.option("--role", type=click.Choice([role.value for role in Role]), help="Role in those organizations.")
    @click.option("--team", "teams", multiple=True, metavar="TEAM", help="Team in those organizations; repeatable.")
    @click.option(
        "--credential",
        type=click.Choice([kind.value for kind in CredentialKind if kind.value != "unspecified"]),
        help="What was signed in with.",
    )
    @click.option("--anonymous", is_flag=True, help="Nobody is signed in; --org says whose policy is asked.")
    @functools.wraps(command)
    def stated(
        *,
        organizations: Sequence[str],
        user: str | None,
        role: str | None,
        teams: Sequence[str],
        credential: str | None,
        anonymous: bool,
        **arguments: Any,
    ) -> Any:
        who = StatedIdentity(
            organizations=organizations, user=user, role=role, teams=teams, credential=credential, anonymous=anonymous
        )
        return command(who=who, **arguments)

    return stated


def logged_in() -> str:
    """The name of who runs this; raises click.UsageError."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("nobody is logged in here by name; say --user") from None


def say_what_to_state(error: "CallError") -> None:
    """Have an error say which options are missing, where the service can only say that somebody is."""
    if error.reason == "IDENTITY_TOKEN_INVALID":
        error.message = "say --org and --user: the token is no person's, so there is nobody to decide for"
