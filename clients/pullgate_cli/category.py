"""`pullgate category`: what is known of categories, and pins, which hold whatever the sources say."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import REFUSED, connects
from pullgate_cli.evidence import category_in_words, evidence_data
from pullgate_cli.moments import Moment, moment_data
from pullgate_cli.tables import one_line, print_table
from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_policy.catalogue import CatalogueEntry, catalogue_yaml
from pullgate_policy.category_lookup import CategoryLookup, Outcome
from pullgate_policy.pins import CategoryPin, InvalidPinError, in_words

if TYPE_CHECKING:
    from pullgate_client import Client

_WORDS = {
    "official": (Category.OFFICIAL, None),
    "verified_publisher": (Category.VERIFIED_PUBLISHER, None),
    "community": (Category.COMMUNITY, None),
    "sponsored_open_source": (Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE),
}

_FOR_WHOM = "As it is for this organization, whose own namespaces and pins count. Default: the caller's own."
_WHOSE = "For this organization alone. Default: for every one, which is for operators."


EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused: for want of permission
  2  wrong usage, or not pinned
  3  the service could not be asked"""


class CategoryWord(click.Choice):  # type: ignore[type-arg]  # generic in later clicks alone
    """A category's name in any letter case, with dashes or underscores."""

    def __init__(self) -> None:
        super().__init__(list(_WORDS))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as _WORDS has it."""
        return str(super().convert(value.lower().replace("-", "_"), param, ctx))


@click.group(epilog=EXIT_CODES)
def category() -> None:
    """Of which category a namespace or repository of Docker Hub is: what is known and how, and what is pinned."""


@category.command(
    epilog="""\b
Examples:
  pullgate category lookup grafana bitnami
  pullgate category lookup vendor/agent --org acme --json

\b
Exit codes:
  0  all are known
  1  one is unknown, or refused: for want of permission
  2  wrong usage
  3  the service could not be asked"""
)
@click.argument("names", metavar="NAMESPACE[/REPOSITORY]...", nargs=-1, required=True)
@click.option("--org", "organization", metavar="ORG", default="", help=_FOR_WHOM)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def lookup(*, client: "Client", names: tuple[str, ...], organization: str, as_json: bool) -> None:
    """Tell what is known, how fresh it is, and who was asked, in order."""
    _tell(client.look_up_categories(names, organization=organization), as_json=as_json)


@category.command(
    epilog="""\b
Examples:
  pullgate category refresh grafana

\b
Exit codes:
  0  all are known, and asked for anew
  1  one is unknown or could not be asked for, or refused: for want of permission
  2  wrong usage
  3  the service could not be asked"""
)
@click.argument("names", metavar="NAMESPACE[/REPOSITORY]...", nargs=-1, required=True)
@click.option("--org", "organization", metavar="ORG", default="", help=_FOR_WHOM)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def refresh(*, client: "Client", names: tuple[str, ...], organization: str, as_json: bool) -> None:
    """Ask the sources anew, whatever is remembered, and tell what is known then."""
    found = list(client.look_up_categories(names, organization=organization, anew=True))
    _tell(found, as_json=as_json)
    if any(step.outcome is Outcome.FAILED for item in found for step in item.steps):
        sys.exit(REFUSED)


@category.command(
    "list",
    epilog="""\b
Examples:
  pullgate category list
  pullgate category list --category verified_publisher --json

"""
    + EXIT_CODES,
)
@click.option("--category", "word", metavar="CATEGORY", type=CategoryWord(), help="Those of this category alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def list_(*, client: "Client", word: str | None, as_json: bool) -> None:
    """List what is pinned, and what the sources have said so far.

    What the sources said is for operators, because it tells what all organizations asked for; others see pins alone.
    """
    from pullgate_client import CallError

    kind, community_class = _WORDS[word] if word else (None, None)
    now = datetime.now(UTC)
    known = [
        (item.name, item.organization, item.evidence)
        for item in client.list_pins()
        if item.holds_at(now) and kind in {None, item.category}
    ]
    try:
        known += [(item.name, "", item.evidence) for item in client.list_categories(kind)]
    except CallError as error:
        if error.reason != "ROLE_NOT_PERMITTED":
            raise
        click.echo("pins alone: what the sources have said is for operators", err=True)
    if community_class is not None:
        known = [item for item in known if item[2].community_class is community_class]
    known.sort(key=lambda item: item[:2])
    if as_json:
        for name, organization, evidence in known:
            data = {"name": name, "organization": organization or None, **category_data(evidence)}
            click.echo(json.dumps(data, ensure_ascii=False))
        return
    print_table(
        ("name", "category", "source", "checked at", "next look", "detail"),
        (
            (
                name,
                category_in_words(evidence) + (", stale" if evidence.stale else ""),
                evidence.source + _for(organization),
                _minute(evidence.checked_at),
                _minute(evidence.refresh_at),
                evidence.detail,
            )
            for name, organization, evidence in known
        ),
        whole=["name"],
        empty="nothing is known yet: categories are looked up when they are first needed",
    )


@category.command(
    epilog="""\b
Examples:
  pullgate category export > catalogue.yaml
  pullgate serve --catalogue catalogue.yaml --category-sources catalogue

"""
    + EXIT_CODES
)
@connects
def export(*, client: "Client") -> None:
    """Print what the sources have said so far as a catalogue, for sites without Docker Hub. Pins are not among it."""
    now = datetime.now(UTC)
    entries = [
        CatalogueEntry.of_evidence(item.name, item.evidence, retrieved_at=now) for item in client.list_categories()
    ]
    click.echo(catalogue_yaml(entries), nl=False)
    click.echo(f"{len(entries)} entries", err=True)


@category.command(
    epilog="""\b
Examples:
  pullgate category pin someuser community --reason "seen on Docker Hub"
  pullgate category pin vendor/agent verified-publisher --reason "contract" --org acme
  pullgate category pin vendor official --reason "until the migration" --expires 2027-01-01 --org acme
  pullgate category pin vendor official --reason "this week" --expires 7d --org acme

\b
Categories:
  official, verified_publisher, community, sponsored_open_source

"""
    + EXIT_CODES
)
@click.argument("name", metavar="NAMESPACE[/REPOSITORY]")
@click.argument("word", metavar="CATEGORY", type=CategoryWord())
@click.option("--reason", required=True, help="Why: decisions that rest on the pin say so.")
@click.option(
    "--expires",
    "expires_at",
    type=Moment(),
    metavar="TIME",
    help="When it ends: 2027-01-01, 2027-01-01T12:00:00Z, or 90d from now. Default: when it is taken back.",
)
@click.option("--org", "organization", metavar="ORG", default="", help=_WHOSE)
@connects
def pin(*, client: "Client", name: str, word: str, reason: str, expires_at: datetime | None, organization: str) -> None:
    """Pin a category, in place of a pin that is there.

    An organization's own pins go before those for every organization, and a repository's before its namespace's. The
    organization's own namespaces go before all pins.
    """
    kind, community_class = _WORDS[word]
    try:
        wanted = CategoryPin.checked(
            name=name,
            category=kind,
            community_class=community_class,
            reason=reason,
            author="",
            written_at=datetime.now(UTC),
            organization=organization,
            expires_at=expires_at,
        )
    except InvalidPinError as error:
        raise click.UsageError(str(error)) from error
    stored = client.put_pin(wanted)
    end = f" until {in_words(stored.expires_at)}" if stored.expires_at else ""
    click.echo(f"{stored.name} is pinned as {word}{_for(organization)}{end}")


@category.command(
    epilog="""\b
Examples:
  pullgate category unpin someuser
  pullgate category unpin vendor/agent --org acme

"""
    + EXIT_CODES
)
@click.argument("name", metavar="NAMESPACE[/REPOSITORY]")
@click.option("--org", "organization", metavar="ORG", default="", help=_WHOSE)
@connects
def unpin(*, client: "Client", name: str, organization: str) -> None:
    """Take a pin back."""
    client.delete_pin(name, organization=organization)
    click.echo(f"{name} is no longer pinned{_for(organization)}")


@category.command(
    epilog="""\b
Examples:
  pullgate category pins
  pullgate category pins --org acme --json

"""
    + EXIT_CODES
)
@click.option("--org", "organization", metavar="ORG", default="", help="Those that hold for this organization alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def pins(*, client: "Client", organization: str, as_json: bool) -> None:
    """List the pins, expired ones too. Those without an organization hold for every one."""
    stored = client.list_pins(organization=organization)
    if as_json:
        for item in stored:
            click.echo(json.dumps(pin_data(item), ensure_ascii=False))
        return
    now = datetime.now(UTC)
    print_table(
        ("organization", "name", "category", "expires", "author", "written at", "reason"),
        (
            (
                item.organization or "-",
                item.name,
                (item.community_class or item.category).value,
                _expires(item, now),
                item.author,
                f"{item.written_at:%Y-%m-%d %H:%M:%S} UTC",
                item.reason,
            )
            for item in stored
        ),
        whole=["organization", "name"],
        empty="nothing is pinned",
    )


def _tell(lookups: Iterable[CategoryLookup], *, as_json: bool) -> None:
    """Print what is known, and leave if not all is."""
    is_known = True
    for found in lookups:
        is_known &= found.evidence.category is not Category.UNKNOWN
        click.echo(json.dumps(_lookup_data(found), ensure_ascii=False) if as_json else "\n".join(_lookup_lines(found)))
    if not is_known:
        sys.exit(REFUSED)


def _lookup_lines(found: CategoryLookup) -> Iterator[str]:
    evidence = found.evidence
    colour = "yellow" if evidence.category is Category.UNKNOWN or evidence.stale else "green"
    stale = ", stale" if evidence.stale else ""
    yield f"{click.style(found.name, bold=True)}  {click.style(category_in_words(evidence) + stale, fg=colour)}"
    if evidence.source:
        yield f"  {_label('says')} {evidence.source}: {evidence.detail}"
    if evidence.checked_at is not None:
        yield f"  {_label('checked')} {_minute(evidence.checked_at)}"
    if evidence.refresh_at is not None:
        yield f"  {_label('next look')} {_minute(evidence.refresh_at)}"
    for index, step in enumerate(found.steps):
        yield f"  {_label('' if index else 'asked')} {step.source:<10}  {step.outcome.value:<6}  {step.detail}"
        for action in step.actions:
            yield f"  {_label('')} {'':<10}          {action}"


def _label(text: str) -> str:
    return click.style(f"{text:<9}", dim=True)


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def category_data(evidence: CategoryEvidence) -> dict[str, object]:
    """A category, and how it is known, as `--json` has it."""
    return {"category": evidence.category.name, "evidence": evidence_data(evidence)}


def _lookup_data(found: CategoryLookup) -> dict[str, object]:
    return {
        "name": found.name,
        **category_data(found.evidence),
        "steps": [
            {
                "source": step.source,
                "outcome": step.outcome.name,
                "detail": step.detail,
                "actions": list(step.actions),
            }
            for step in found.steps
        ],
    }


def _for(organization: str) -> str:
    return f" for {organization}" if organization else ""


def _expires(item: CategoryPin, now: datetime) -> str:
    if item.expires_at is None:
        return "never"
    return in_words(item.expires_at) + ("" if item.holds_at(now) else " (expired)")


def pin_in_words(item: CategoryPin) -> str:
    """What a pin says of its name."""
    end = f" until {in_words(item.expires_at)}" if item.expires_at else ""
    reason = f": {one_line(item.reason)}" if item.reason else ""
    return f"{(item.community_class or item.category).value}{end}{reason}"


def pin_data(item: CategoryPin) -> dict[str, object]:
    """A pin as `--json` has it."""
    return {
        "organization": item.organization or None,
        "name": item.name,
        "category": item.category.name,
        "community_class": item.community_class.name if item.community_class else None,
        "expires_at": moment_data(item.expires_at),
        "author": item.author,
        "written_at": moment_data(item.written_at),
        "reason": item.reason,
    }
