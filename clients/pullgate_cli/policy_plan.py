"""`pullgate policy plan` and `apply`: what files of policies would change, in words, and the change itself."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.changes import change_data, told
from pullgate_cli.connecting import REFUSED, connects
from pullgate_cli.decide import reason_in_words
from pullgate_cli.files import FILE, read_policies
from pullgate_policy import Effect, Identity, InvalidIdentityError, Membership, Policy, Role
from pullgate_policy.changes import SettingChange, policy_changes

if TYPE_CHECKING:
    from pullgate_client import Client
    from pullgate_policy.stored_policy import StoredPolicy

_POLICIES = click.option(
    "-f",
    "--file",
    "files",
    required=True,
    multiple=True,
    type=FILE,
    help="Policies in YAML, several in one file separated by ---; a folder; or - for standard input. Repeatable.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPolicy:
    """One organization's policy as it is and as it is to be."""

    wanted: Policy
    current: "StoredPolicy | None"
    changes: Sequence[SettingChange]

    @property
    def organization(self) -> str:
        """Whose it is."""
        return self.wanted.organization

    @property
    def revision(self) -> int:
        """The revision that the plan starts from; 0 where there is no policy."""
        return self.current.revision if self.current else 0


@click.command(
    epilog="""\b
Examples:
  pullgate policy plan -f acme.yaml
  pullgate policy plan -f policies/ --check
  pullgate policy plan -f acme.yaml --user dev --team data-science nginx someuser/tool

\b
Exit codes:
  0  planned; nothing is written
  1  refused; or there are changes, with --check
  2  wrong usage, or a policy that is not valid
  3  the service could not be asked"""
)
@click.argument("references", nargs=-1, metavar="[REFERENCE]...")
@_POLICIES
@click.option("--user", metavar="USER", help="Also say what the policies would decide for this user about REFERENCE.")
@click.option("--role", type=click.Choice([role.value for role in Role]), default="member", help="The user's role.")
@click.option("--team", "teams", multiple=True, metavar="TEAM", help="The user's team; repeatable.")
@click.option("--check", is_flag=True, help="Exit with 1 if anything would change.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each organization.")
@connects
def plan(
    *,
    client: "Client",
    references: Sequence[str],
    files: Sequence[Path],
    user: str | None,
    role: str,
    teams: Sequence[str],
    check: bool,
    as_json: bool,
) -> None:
    """Show what policies would change, and what that means in words. Writes nothing."""
    if bool(references) != bool(user):
        raise click.UsageError("REFERENCE and --user go together")
    planned = make_plan(client, read_policies(files))
    for item in planned:
        decisions = _try(client, item, user, role, teams, references) if user else []
        if as_json:
            decided = {"decisions": [_without_words(decision) for decision in decisions]} if user else {}
            click.echo(json.dumps({**_data(item), **decided}, ensure_ascii=False))
        else:
            click.echo("\n".join([*_told(item), *_told_decisions(decisions)]))
    if not as_json:
        click.echo(_summary(planned))
    sys.exit(REFUSED if check and any(item.changes for item in planned) else 0)


@click.command(
    epilog="""\b
Examples:
  pullgate policy apply -f acme.yaml --comment "allow what verified publishers publish"
  pullgate policy apply -f policies/ --yes
  pullgate policy preset strict --org acme | pullgate policy apply --yes -f -

\b
Exit codes:
  0  done: everything is as the files say
  1  refused: for want of permission, because somebody else changed a policy meanwhile, or because you said no
  2  wrong usage, or a policy that is not valid
  3  the service could not be asked"""
)
@_POLICIES
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--comment", default="", help="A note for the history.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: organization, revision and changed.")
@connects
def apply(*, client: "Client", files: Sequence[Path], yes: bool, comment: str, as_json: bool) -> None:
    """Write policies, after showing what changes. Refused where somebody else changed a policy meanwhile."""
    planned = make_plan(client, read_policies(files))
    changing = [item for item in planned if item.changes]
    if not as_json:
        click.echo("\n".join(line for item in planned for line in _told(item)))
        click.echo(_summary(planned))
    if changing and not yes:
        if as_json or any(str(file) == "-" for file in files) or not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask here; say --yes to write it")
        if not click.confirm("Write this?"):
            click.echo("nothing was written")
            sys.exit(REFUSED)
    done: list[str] = []
    for item in planned:
        revision = item.revision
        if item.changes:
            revision = _write(client, item, comment, done)
            done.append(item.organization)
        if as_json:
            written = {"organization": item.organization, "revision": revision, "changed": bool(item.changes)}
            click.echo(json.dumps(written))
        elif item.changes:
            click.echo(f"{item.organization}: written as revision {revision}")


def make_plan(client: "Client", policies: Iterable[Policy]) -> Sequence[PlannedPolicy]:
    """What each policy changes of the one that is there."""
    return [planned_policy(policy, newest_policy(client, policy.organization)) for policy in policies]


def planned_policy(wanted: Policy, current: "StoredPolicy | None") -> PlannedPolicy:
    """What a policy changes of another."""
    changes = policy_changes(None if current is None else current.policy, wanted)
    return PlannedPolicy(wanted=wanted, current=current, changes=changes)


def newest_policy(client: "Client", organization: str) -> "StoredPolicy | None":
    """An organization's policy, or None if it has none."""
    from pullgate_client import CallError

    try:
        return client.get_policy(organization)
    except CallError as error:
        if error.reason != "POLICY_NOT_FOUND":
            raise
        return None


def _write(client: "Client", item: PlannedPolicy, comment: str, done: Sequence[str]) -> int:
    from pullgate_client import CallError

    try:
        return client.put_policy(item.wanted, expected_revision=item.revision, comment=comment).revision
    except CallError as error:
        unknown = error.code.name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
        if done or unknown:
            before = f"written before this: {', '.join(done)}; " if done else ""
            this = f"perhaps written: {item.organization}; not written: " if unknown else "not written: "
            click.echo(f"{before}{this}{'' if unknown else f'{item.organization} and '}what follows", err=True)
        raise


def _try(
    client: "Client", item: PlannedPolicy, user: str, role: str, teams: Sequence[str], references: Sequence[str]
) -> list[dict[str, Any]]:
    """What would be decided with the policy, beside what is decided now."""
    membership = Membership(organization=item.organization, role=Role(role), teams=frozenset(teams))
    try:
        identity = Identity(username=user, memberships=(membership,))
    except InvalidIdentityError as error:
        raise click.UsageError(error.problem) from error
    trial = client.dry_run_policy(
        item.organization, item.wanted, identities=[identity], references=references, against_revision=item.revision
    )
    decisions: list[dict[str, Any]] = []
    for result in trial.results:
        if not isinstance(result.answers, tuple):
            decisions.append({"input": result.reference, "error": result.answers.message})
            continue
        before, after = (answer.decision for answer in result.answers)
        decisions.append(
            {
                "input": result.reference,
                "before": before.effect.name,
                "after": after.effect.name,
                "reason": after.reason.name,
                "message": after.message,
                "words": reason_in_words(after),
            }
        )
    return decisions


def _data(item: PlannedPolicy) -> dict[str, Any]:
    return {
        "organization": item.organization,
        "revision": item.revision,
        "changes": [change_data(change) for change in item.changes],
    }


def _without_words(decision: dict[str, Any]) -> dict[str, Any]:
    """A decision for programs."""
    return {name: value for name, value in decision.items() if name != "words"}


def _told(item: PlannedPolicy) -> Iterable[str]:
    name = click.style(item.organization, bold=True)
    if item.current is None:
        yield f"{name}: has no policy yet"
    elif not item.changes:
        yield f"{name}: unchanged, at revision {item.revision}"
    else:
        number = len(item.changes)
        yield f"{name}: {number} change{'s' if number > 1 else ''} to revision {item.revision}"
    yield from told(item.changes)


def _told_decisions(decisions: Iterable[dict[str, Any]]) -> Iterable[str]:
    colours = {Effect.ALLOW.name: "green", Effect.DENY.name: "red"}
    for decision in decisions:
        if "error" in decision:
            yield f"  {click.style('ERROR', fg='red', bold=True)}          {decision['input']}  {decision['error']}"
            continue
        before, after = (
            click.style(f"{decision[side]:<5}", fg=colours[decision[side]], bold=True) for side in ("before", "after")
        )
        changed = "→" if decision["before"] != decision["after"] else "="
        yield f"  {before} {changed} {after}  {decision['input']}  {decision['words']}"


def _summary(planned: Sequence[PlannedPolicy]) -> str:
    created = sum(item.current is None for item in planned)
    changed = sum(bool(item.changes) and item.current is not None for item in planned)
    parts = [f"{created} to create", f"{changed} to change", f"{len(planned) - created - changed} unchanged"]
    return f"Plan: {', '.join(parts)}."
