"""`pullgate token`: makes, lists, rotates and revokes tokens."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import connects
from pullgate_cli.durations import Duration
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import print_table
from pullgate_policy.access_token import AccessToken, CallerRole

if TYPE_CHECKING:
    from pullgate_client import Client

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused: for want of permission
  2  wrong usage, or no such token
  3  the service could not be asked"""

_ORGANIZATION_ROLES = [role.value for role in CallerRole if role is not CallerRole.OPERATOR]


@click.group(epilog=EXIT_CODES)
def token() -> None:
    """Make, list and revoke the tokens by which callers are known."""


@token.command(
    epilog="""\b
Roles:
  owner           changes the organization's policy, members and tokens; exempt from the policy
  policy_manager  changes the organization's policy; governed by it
  member          reads the organization's policy, and decides for oneself
  enforcer        decides for the people that it vouches for: a proxy, a plugin, a CI system

\b
Examples:
  pullgate token create --name proxy --org acme --role enforcer --expires-in 90d
  pullgate token create --name ada --org acme --role owner
  export PULLGATE_TOKEN=$(pullgate token create --name admin --operator)

"""
    + EXIT_CODES
)
@click.option("--name", required=True, help="For people; the author of what is written with it.")
@click.option("--operator", is_flag=True, help="For an operator, who may do everything for every organization.")
@click.option("--org", "organization", metavar="ORG", help="Whose token it is; goes with --role.")
@click.option("--role", type=click.Choice(_ORGANIZATION_ROLES), help="What its bearer may do in the organization.")
@click.option("--user", metavar="USER", help="The person it belongs to, if not as --name; not for enforcers.")
@click.option(
    "--may-assert-roles",
    is_flag=True,
    help="The enforcer's word on people's roles and teams counts where the organization has no member list.",
)
@click.option(
    "--expires-in", type=Duration(), metavar="90d", help="For how long it is accepted. Default: until revoked."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: id, token and expires_at.")
@connects
def create(
    *,
    client: "Client",
    name: str,
    operator: bool,
    organization: str | None,
    role: str | None,
    user: str | None,
    may_assert_roles: bool,
    expires_in: timedelta | None,
    as_json: bool,
) -> None:
    """Make a token, and print its secret, which is shown this once."""
    if operator == bool(organization or role) or bool(organization) != bool(role):
        raise click.UsageError("say either --operator, or both --org and --role")
    secret, made = client.create_token(
        name,
        CallerRole(role or "operator"),
        organization=organization or "",
        username=user or "",
        may_assert_roles=may_assert_roles,
        expires_in=expires_in,
    )
    _print_secret(secret, made, as_json=as_json)


@token.command("list", epilog=EXIT_CODES)
@click.option("--org", "organization", metavar="ORG", default="", help="Tokens of this organization alone.")
@click.option("--all", "include_ended", is_flag=True, help="Also those that have expired or were revoked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def list_(*, client: "Client", organization: str, include_ended: bool, as_json: bool) -> None:
    """List the tokens that you may manage. Their secrets are not kept."""
    tokens = client.list_tokens(organization=organization, include_ended=include_ended)
    if as_json:
        for item in tokens:
            click.echo(json.dumps(_data(item), ensure_ascii=False))
    else:
        _print_table(list(tokens))


@token.command(
    epilog="""\b
Examples:
  pullgate token rotate tok_0123456789abcdef --overlap 1h

"""
    + EXIT_CODES
)
@click.argument("token_id", metavar="ID")
@click.option("--overlap", type=Duration(), default="0s", metavar="1h", help="How long the former secret goes on.")
@click.option("--expires-in", type=Duration(), metavar="90d", help="For how long from now. Default: as before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: id, token and expires_at.")
@connects
def rotate(*, client: "Client", token_id: str, overlap: timedelta, expires_in: timedelta | None, as_json: bool) -> None:
    """Give a token a new secret, and print it."""
    secret, made = client.rotate_token(token_id, overlap=overlap, expires_in=expires_in)
    _print_secret(secret, made, as_json=as_json)


@token.command(epilog=EXIT_CODES)
@click.argument("token_id", metavar="ID")
@click.option("--comment", default="", help="Why, for the audit.")
@click.option("--json", "as_json", is_flag=True, help="The token as one JSON object.")
@connects
def revoke(*, client: "Client", token_id: str, comment: str, as_json: bool) -> None:
    """End a token at once, on every server."""
    ended = client.revoke_token(token_id, comment=comment)
    click.echo(json.dumps(_data(ended), ensure_ascii=False) if as_json else f"{ended.id} ({ended.name}) is revoked")


def _print_secret(secret: str, made: AccessToken, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"id": made.id, "token": secret, "expires_at": moment_data(made.expires_at)}))
        return
    click.echo(secret)
    expires = f"expires {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else "does not expire"
    click.echo(f"{made.id} {expires}. Keep the token: it is not shown again.", err=True)


def _print_table(tokens: Sequence[AccessToken]) -> None:
    now = datetime.now(UTC)
    print_table(
        ("id", "name", "role", "organization", "user", "expires", "last used", "state"),
        (
            (
                item.id,
                item.name,
                item.role.value + (" (may assert roles)" if item.may_assert_roles else ""),
                item.organization or "-",
                item.username or "-",
                _short(item.expires_at, "never"),
                _short(item.last_used_at, "not yet"),
                "revoked" if item.revoked_at else "valid" if item.is_valid(now) else "expired",
            )
            for item in tokens
        ),
        whole=["id"],
        empty="there are no tokens that you may manage here",
    )


def _data(item: AccessToken) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "role": item.role.value,
        "organization": item.organization or None,
        "username": item.username or None,
        "may_assert_roles": item.may_assert_roles,
        "created_at": moment_data(item.created_at),
        "created_by": item.created_by,
        "expires_at": moment_data(item.expires_at),
        "revoked_at": moment_data(item.revoked_at),
        "last_used_at": moment_data(item.last_used_at),
    }


def _short(moment: datetime | None, none: str) -> str:
    return none if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
