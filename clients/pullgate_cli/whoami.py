"""`pullgate whoami`: the caller, as the service sees it."""

import json
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import connects
from pullgate_cli.moments import moment_data

if TYPE_CHECKING:
    from pullgate_client import Client


@click.command(
    epilog="""\b
Exit codes:
  0  done
  1  the token is not accepted
  3  the service could not be asked"""
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@connects
def whoami(*, client: "Client", as_json: bool) -> None:
    """Say whom the service takes you for, and what you may do."""
    caller = client.who_am_i()
    data = {
        "name": caller.name,
        "caller_id": caller.caller_id,
        "role": caller.role.value,
        "organization": caller.organization or None,
        "username": caller.username or None,
        "may_assert_roles": caller.may_assert_roles,
        "expires_at": moment_data(caller.expires_at),
    }
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
        return
    for name, value in data.items():
        shown = "-" if value is None else value if isinstance(value, str) else "yes" if value else "no"
        click.echo(f"{click.style(f'{name:<16}', dim=True)}  {shown}")
