"""`pullgate member`: reads and changes organizations' member lists."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from pullgate_cli.changes import told_entry
from pullgate_cli.connecting import connects
from pullgate_cli.files import FILE, read_text, refuse
from pullgate_cli.tables import print_table
from pullgate_policy import Role
from pullgate_policy.members import (
    InvalidMembersError,
    Member,
    MembersWritten,
    member_data,
    members_csv,
    parse_members,
    parse_members_csv,
    parse_members_json,
)

if TYPE_CHECKING:
    from pullgate_client import Client

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused: for want of permission
  2  wrong usage, a list that is not valid, or nobody of that name
  3  the service could not be asked"""

_ORGANIZATION = click.option("--org", "organization", metavar="ORG", required=True, help="Whose member list.")
_COMMENT = click.option("--comment", default="", help="A note for the audit.")
_WRITTEN_JSON = click.option("--json", "as_json", is_flag=True, help="What changed, as one JSON object.")


@click.group(epilog=EXIT_CODES)
def member() -> None:
    """Read and change member lists, from which roles and teams come where an organization has one."""


@member.command(
    "list",
    epilog="""\b
Examples:
  pullgate member list --org acme
  pullgate member list --org acme --team data-science --json
  pullgate member list --org acme --csv > acme.csv

"""
    + EXIT_CODES,
)
@_ORGANIZATION
@click.option("--team", default="", metavar="TEAM", help="Members of this team alone.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, as `member import` reads it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def list_(*, client: "Client", organization: str, team: str, as_csv: bool, as_json: bool) -> None:
    """List an organization's members."""
    members = client.list_members(organization, team=team)
    if as_csv:
        click.echo(members_csv(members), nl=False)
        return
    if as_json:
        for item in members:
            click.echo(json.dumps({"organization": organization, **_data(item)}, ensure_ascii=False))
        return
    none = f"{organization} has no member list; begin with: pullgate member import --org {organization} members.csv"
    print_table(
        ("username", "role", "teams"),
        ((item.username, item.role.value, ", ".join(sorted(item.teams))) for item in members),
        whole=["username"],
        empty=f"nobody of {organization} is in team {team}" if team else none,
    )


@member.command(
    "import",
    epilog="""\b
CSV has a header, and teams separated by semicolons; Docker's export of members is read as it is:
  username,role,teams
  ada,owner,data-science;web
  dev,,

\b
Examples:
  pullgate member import --org acme members.csv
  pullgate member import --org acme --replace --dry-run members.json

"""
    + EXIT_CODES,
)
@_ORGANIZATION
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--replace", is_flag=True, help="The file is the whole list: who is not in it is removed.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--allow-empty", is_flag=True, help="Let --replace remove everybody.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), help="Default: by the name, else by the content.")
@_COMMENT
@_WRITTEN_JSON
@connects
def import_(
    *,
    client: "Client",
    organization: str,
    file: Path,
    replace: bool,
    dry_run: bool,
    allow_empty: bool,
    form: str | None,
    comment: str,
    as_json: bool,
) -> None:
    """Add and change members as a file says, in CSV or JSON; - for standard input."""
    text = read_text(file)
    parse = parse_members_json if (form or _form(file, text)) == "json" else parse_members_csv
    members = _checked(lambda: parse(text), file)
    written = client.write_members(
        organization, members, replace=replace, allow_empty=allow_empty, dry_run=dry_run, comment=comment
    )
    _tell(organization, written, as_json=as_json, dry_run=dry_run)


@member.command(
    "set",
    epilog="""\b
Examples:
  pullgate member set --org acme ada --role owner
  pullgate member set --org acme dev ana --team data-science --team web

"""
    + EXIT_CODES,
)
@_ORGANIZATION
@click.argument("usernames", nargs=-1, required=True, metavar="USER...")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="Default: as it is; member for new ones."
)
@click.option("--team", "teams", multiple=True, metavar="TEAM", help="Repeatable. Default: as they are.")
@click.option("--no-team", is_flag=True, help="In no team.")
@_COMMENT
@_WRITTEN_JSON
@connects
def set_(
    *,
    client: "Client",
    organization: str,
    usernames: Sequence[str],
    role: str | None,
    teams: Sequence[str],
    no_team: bool,
    comment: str,
    as_json: bool,
) -> None:
    """Put people on the list, or change their role and teams. What is not said stays as it is."""
    if teams and no_team:
        raise click.UsageError("say either --team or --no-team")
    data: Any = [{"username": name, "role": role or "member", "teams": list(teams)} for name in usernames]
    # The name alone changes nothing of who is on the list already.
    said = ["username", *(["role"] if role else []), *(["teams"] if teams or no_team else [])]
    try:
        members = parse_members(data)
    except InvalidMembersError as error:
        raise click.UsageError("; ".join(problem.description for problem in error.problems)) from error
    _tell(organization, client.write_members(organization, members, fields=said, comment=comment), as_json=as_json)


@member.command(epilog=EXIT_CODES)
@_ORGANIZATION
@click.argument("usernames", nargs=-1, required=True, metavar="USER...")
@_COMMENT
@_WRITTEN_JSON
@connects
def remove(*, client: "Client", organization: str, usernames: Sequence[str], comment: str, as_json: bool) -> None:
    """Take people off the list. If one of them is not on it, nobody is removed."""
    _tell(organization, client.remove_members(organization, usernames, comment=comment), as_json=as_json)


def _form(file: Path, text: str) -> str:
    if file.suffix.lower() in {".csv", ".json", ".jsonl"}:
        return "csv" if file.suffix.lower() == ".csv" else "json"
    return "json" if text.lstrip("\ufeff \t\r\n").startswith(("[", "{")) else "csv"


def _checked(parse: Callable[[], Sequence[Member]], file: Path) -> Sequence[Member]:
    try:
        return parse()
    except InvalidMembersError as error:
        refuse("not a valid member list", {file: error.problems})


def _tell(organization: str, written: MembersWritten, *, as_json: bool, dry_run: bool = False) -> None:
    if as_json:
        click.echo(json.dumps(_written_data(organization, written), ensure_ascii=False))
        return
    for before, after in written.changes:
        click.echo(f"  {told_member(before, after)}")
    changed, unchanged = len(written.changes), written.unchanged
    outcome = "nothing was written" if dry_run or not changed else f"written as revision {written.revision}"
    click.echo(f"{organization}: {changed} changed, {unchanged} unchanged; {outcome}")


def told_member(before: Member | None, after: Member | None) -> str:
    """What became of an entry, in a line; one of the two is there."""
    (username, *_) = (item.username for item in (before, after) if item is not None)
    return told_entry(username, before, after, _words)


def _words(item: Member) -> str:
    teams = f" in {', '.join(sorted(item.teams))}" if item.teams else ""
    return f"{item.role.value}{teams}"


def _written_data(organization: str, written: MembersWritten) -> dict[str, Any]:
    return {
        "organization": organization,
        "revision": written.revision,
        "added": sum(before is None for before, _ in written.changes),
        "changed": sum(before is not None and after is not None for before, after in written.changes),
        "removed": sum(after is None for _, after in written.changes),
        "unchanged": written.unchanged,
        "changes": [
            {"before": before and _data(before), "after": after and _data(after)} for before, after in written.changes
        ],
    }


def _data(item: Member) -> dict[str, Any]:
    return cast("dict[str, Any]", member_data(item))
