"""`pullgate policy`: reads and changes policies."""

import difflib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import USAGE, connects
from pullgate_policy import InvalidPolicyError, Preset, parse_policy_yaml, policy_data, policy_yaml, preset_policy

if TYPE_CHECKING:
    from pullgate_client import Client
    from pullgate_policy.stored_policy import StoredPolicy

EXIT_CODES = """\b
Exit codes:
  0  done
  1  not done, because you said no
  2  wrong usage, a policy that is not valid, not there, or changed by somebody else meanwhile
  3  the service could not be asked"""


@click.group(epilog=EXIT_CODES)
def policy() -> None:
    """Read and change policies."""


@policy.command("list", epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def list_(*, client: "Client", as_json: bool) -> None:
    """List the organizations that have a policy."""
    stored = client.list_policies()
    if as_json:
        for item in stored:
            click.echo(json.dumps(_data(item)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("organization", "image access", "registries", "revision", "author", "written at", box=None)
    for item in stored:
        access = item.policy.image_access
        table.add_row(
            item.policy.organization,
            access.mode.value if access.enabled else "off",
            "restricted" if item.policy.registry_access.enabled else "any",
            str(item.revision),
            item.author,
            f"{item.written_at:%Y-%m-%d %H:%M:%S} UTC",
        )
    if table.row_count:
        Console().print(table)
    else:
        click.echo("no organization has a policy; begin with: pullgate policy preset strict --org ORG")


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@click.option("--json", "as_json", is_flag=True, help="The policy and who wrote it, as one JSON object.")
@connects
def get(*, client: "Client", organization: str, as_json: bool) -> None:
    """Print an organization's policy as YAML, every setting spelled out."""
    stored = client.get_policy(organization)
    if as_json:
        click.echo(json.dumps(_data(stored)))
    else:
        written = (
            f"# revision {stored.revision}, written by {stored.author} at {stored.written_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        click.echo(f"{written}\n{policy_yaml(stored.policy)}", nl=False)


@policy.command(
    epilog="""\b
Examples:
  pullgate policy apply -f acme.yaml
  pullgate policy preset strict --org acme | pullgate policy apply --yes -f -

"""
    + EXIT_CODES
)
@click.option(
    "-f",
    "--file",
    "file",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The policy as YAML; - for standard input.",
)
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--comment", default="", help="A note for the history.")
@connects
def apply(*, client: "Client", file: Path, yes: bool, comment: str) -> None:
    """Write a policy, after showing what changes. Refused if somebody else changed it meanwhile."""
    from pullgate_client import CallError

    source = "standard input" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        wanted = parse_policy_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{source} cannot be read: {error}") from error
    except InvalidPolicyError as error:
        click.echo(f"{click.style('not a valid policy:', fg='red', bold=True)} {source}", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(USAGE)
    try:
        current: StoredPolicy | None = client.get_policy(wanted.organization)
    except CallError as error:
        if error.reason != "POLICY_NOT_FOUND":
            raise
        current = None
    if current is not None and current.policy == wanted:
        click.echo(f"{wanted.organization}: unchanged, at revision {current.revision}")
        return
    before = policy_yaml(current.policy) if current else ""
    click.echo("\n".join(_diff(before, policy_yaml(wanted), wanted.organization, current)))
    if not yes:
        if str(file) == "-" or not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask here; say --yes to write it")
        if not click.confirm(f"Write the policy of {wanted.organization}?"):
            sys.exit(1)
    stored = client.put_policy(wanted, expected_revision=current.revision if current else 0, comment=comment)
    click.echo(f"{wanted.organization}: written as revision {stored.revision}")


@policy.command(epilog=EXIT_CODES)
@click.argument("name", metavar="NAME", type=click.Choice([preset.value for preset in Preset]))
@click.option("--org", "organization", default="acme", show_default=True, help="The organization it is for.")
def preset(name: str, organization: str) -> None:
    r"""Print a ready-made policy as YAML: strict, standard or open.

    \b
    strict    the organization's own and official images
    standard  and those of verified publishers
    open      and community images
    """
    from pullgate_policy.names import organization_name

    try:
        organization_name(organization)
    except ValueError as error:
        raise click.UsageError(f"--org {organization} {error}") from error
    click.echo(policy_yaml(preset_policy(Preset(name), organization)), nl=False)


def _data(stored: "StoredPolicy") -> dict[str, Any]:
    return {
        "policy": policy_data(stored.policy),
        "revision": stored.revision,
        "author": stored.author,
        "written_at": stored.written_at.isoformat().replace("+00:00", "Z"),
        "comment": stored.comment,
    }


def _diff(before: str, after: str, organization: str, current: "StoredPolicy | None") -> Iterable[str]:
    """The change as a unified diff, in colour on a terminal."""
    old = f"{organization} at revision {current.revision}" if current else f"{organization} has no policy"
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), old, f"{organization} as it will be", lineterm=""
    )
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        yield click.style(line, fg=colours.get(line[:1]))
