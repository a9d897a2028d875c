"""`pullgate policy`: reads and changes policies. Plans and tests of files are modules of their own."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli import docker_setting, policy_plan, policy_test
from pullgate_cli.changes import change_data, told
from pullgate_cli.connecting import REFUSED, connects
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import print_table
from pullgate_policy import Preset, policy_data, policy_yaml, preset_policy

if TYPE_CHECKING:
    from pullgate_client import Client
    from pullgate_policy.stored_policy import PolicyRevision, StoredPolicy

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused: for want of permission, because somebody else was first, or because you said no
  2  wrong usage, or not there
  3  the service could not be asked"""

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_YES = click.option("--yes", is_flag=True, help="Write without asking.")
_COMMENT = click.option("--comment", default="", help="A note for the history.")


@click.group(epilog=EXIT_CODES)
def policy() -> None:
    """Read, try, test and change policies."""


for _command in (
    policy_plan.plan,
    policy_plan.apply,
    policy_test.test,
    docker_setting.import_,
    docker_setting.export,
):
    policy.add_command(_command)


@policy.command("list", epilog=EXIT_CODES)
@_JSON
@connects
def list_(*, client: "Client", as_json: bool) -> None:
    """List the organizations that have a policy."""
    stored = client.list_policies()
    if as_json:
        for item in stored:
            click.echo(json.dumps(_stored_data(item), ensure_ascii=False))
        return
    print_table(
        ("organization", "image access", "registries", "revision", "author", "written at"),
        (
            (
                item.policy.organization,
                item.policy.image_access.mode.value if item.policy.image_access.enabled else "off",
                "restricted" if item.policy.registry_access.enabled else "any",
                str(item.revision),
                item.author,
                f"{item.written_at:%Y-%m-%d %H:%M:%S} UTC",
            )
            for item in stored
        ),
        whole=["organization"],
        empty="no organization has a policy; begin with: pullgate policy preset strict --org ORG",
    )


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@click.option(
    "--revision", type=click.IntRange(min=1), default=None, help="As it was at this revision. Default: the newest."
)
@click.option("--json", "as_json", is_flag=True, help="The policy and who wrote it, as one JSON object.")
@connects
def get(*, client: "Client", organization: str, revision: int | None, as_json: bool) -> None:
    """Print an organization's policy as YAML, every setting spelled out."""
    stored = client.get_policy(organization, revision=revision or 0)
    if as_json:
        click.echo(json.dumps(_stored_data(stored), ensure_ascii=False))
    else:
        click.echo(
            f"# revision {stored.revision}, written by {stored.author} at {stored.written_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        click.echo(policy_yaml(stored.policy), nl=False)


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@click.option("-n", "--number", type=click.IntRange(min=1), default=None, help="The newest so many. Default: all.")
@_JSON
@connects
def history(*, client: "Client", organization: str, number: int | None, as_json: bool) -> None:
    """List the revisions of an organization's policy, the newest first: who wrote them, when, and why."""
    from itertools import islice

    revisions = islice(client.policy_history(organization), number)
    if as_json:
        for item in revisions:
            click.echo(json.dumps(_revision_data(organization, item), ensure_ascii=False))
        return
    print_table(
        ("revision", "written at", "author", "comment"),
        (
            (
                str(item.revision),
                f"{item.written_at:%Y-%m-%d %H:%M:%S} UTC",
                item.author,
                item.comment if item.policy is not None else f"policy deleted: {item.comment}".rstrip(": "),
            )
            for item in revisions
        ),
        whole=["revision", "written at"],
        empty="no revisions",
    )


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@click.argument("from_revision", metavar="FROM", type=click.IntRange(min=0))
@click.argument("to_revision", metavar="[TO]", type=click.IntRange(min=0), default=0)
@_JSON
@connects
def diff(*, client: "Client", organization: str, from_revision: int, to_revision: int, as_json: bool) -> None:
    """Show what changed between two revisions, and what it means. FROM 0: before there was a policy; TO: the newest."""
    changes = client.diff_policy(organization, from_revision, to_revision)
    if as_json:
        for change in changes:
            click.echo(json.dumps(change_data(change), ensure_ascii=False))
    elif changes:
        click.echo("\n".join(told(changes)))
    else:
        click.echo("no difference")


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@click.argument("revision", metavar="REVISION", type=click.IntRange(min=1))
@_YES
@_COMMENT
@click.option("--json", "as_json", is_flag=True, help="One JSON object: organization and revision.")
@connects
def rollback(*, client: "Client", organization: str, revision: int, yes: bool, comment: str, as_json: bool) -> None:
    """Write an earlier revision again, as a new one, after showing what changes."""
    current = policy_plan.newest_policy(client, organization)
    planned = policy_plan.planned_policy(client.get_policy(organization, revision=revision).policy, current)
    if not planned.changes:
        if as_json:
            click.echo(json.dumps({"organization": organization, "revision": planned.revision}))
        else:
            click.echo(f"{organization}: is as it was at revision {revision}; nothing to write")
        return
    if not as_json:
        click.echo("\n".join(told(planned.changes)))
    _confirm(f"Write revision {revision} of {organization} again?", yes=yes)
    stored = client.roll_back_policy(
        organization,
        revision,
        expected_revision=planned.revision,
        comment=comment or f"rollback to revision {revision}",
    )
    if as_json:
        click.echo(json.dumps({"organization": organization, "revision": stored.revision}))
    else:
        click.echo(f"{organization}: as at revision {revision}, written as revision {stored.revision}")


@policy.command(epilog=EXIT_CODES)
@click.argument("organization", metavar="ORG")
@_YES
@_COMMENT
@click.option("--json", "as_json", is_flag=True, help="One JSON object: organization and revision.")
@connects
def delete(*, client: "Client", organization: str, yes: bool, comment: str, as_json: bool) -> None:
    """Take an organization's policy away: nothing is restricted then. The history stays, and so does rollback."""
    current = client.get_policy(organization)
    _confirm(f"Delete the policy of {organization}, so that nothing is restricted there?", yes=yes)
    revision = client.delete_policy(organization, expected_revision=current.revision, comment=comment)
    if as_json:
        click.echo(json.dumps({"organization": organization, "revision": revision}))
    else:
        click.echo(f"{organization}: has no policy since revision {revision}")


@policy.command(
    epilog="""\b
Example:
  pullgate policy preset strict --org acme | pullgate policy apply --yes -f -"""
)
@click.argument("name", metavar="NAME", type=click.Choice([preset.value for preset in Preset]))
@click.option("--org", "organization", default="acme", show_default=True, help="The organization it is for.")
def preset(name: str, organization: str) -> None:
    """Print a ready-made policy as YAML: strict, standard or open.

    \b
    strict    the organization's own and official images
    standard  and those of verified publishers
    open      and community images
    """  # noqa: D301 - the backspace is click's mark
    from pullgate_policy.names import organization_name

    try:
        organization_name(organization)
    except ValueError as error:
        raise click.UsageError(f"--org {organization} {error}") from error
    click.echo(policy_yaml(preset_policy(Preset(name), organization)), nl=False)


@policy.command(
    epilog="""\b
Example, for editors that use yaml-language-server:
  pullgate policy schema > policy.schema.json
  and as the first line of a policy:  # yaml-language-server: $schema=policy.schema.json"""
)
def schema() -> None:
    """Print the JSON Schema of policies, by which editors complete and check them."""
    from pullgate_policy.policy_schema import policy_schema

    click.echo(json.dumps(policy_schema(), indent=2, ensure_ascii=False))


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask here; say --yes to write it")
    if not click.confirm(question):
        click.echo("nothing was written")
        sys.exit(REFUSED)


def _stored_data(stored: "StoredPolicy") -> dict[str, Any]:
    return {
        "organization": stored.policy.organization,
        "revision": stored.revision,
        "policy": policy_data(stored.policy),
        "author": stored.author,
        "written_at": moment_data(stored.written_at),
        "comment": stored.comment,
    }


def _revision_data(organization: str, revision: "PolicyRevision") -> dict[str, Any]:
    return {
        "organization": organization,
        "revision": revision.revision,
        "policy": None if revision.policy is None else policy_data(revision.policy),
        "author": revision.author,
        "written_at": moment_data(revision.written_at),
        "comment": revision.comment,
    }
