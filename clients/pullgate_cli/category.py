"""`pullgate category`: pins."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import connects
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import print_table
from pullgate_policy import Category, CommunityClass
from pullgate_policy.pins import CategoryPin, InvalidPinError

if TYPE_CHECKING:
    from pullgate_client import Client

_WORDS = {
    "official": (Category.OFFICIAL, None),
    "verified_publisher": (Category.VERIFIED_PUBLISHER, None),
    "community": (Category.COMMUNITY, None),
    "sponsored_open_source": (Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE),
}


EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused: for want of permission
  2  wrong usage, or not pinned
  3  the service could not be asked"""


@click.group(epilog=EXIT_CODES)
def category() -> None:
    """Say of which category a namespace or repository of Docker Hub is, whatever the sources say."""


@category.command(
    epilog="""\b
Examples:
  pullgate category pin someuser community --reason "seen on Docker Hub"
  pullgate category pin vendor/agent verified_publisher

"""
    + EXIT_CODES
)
@click.argument("name", metavar="NAMESPACE[/REPOSITORY]")
@click.argument("word", metavar="CATEGORY", type=click.Choice(list(_WORDS)))
@click.option("--reason", default="", help="Why.")
@connects
def pin(*, client: "Client", name: str, word: str, reason: str) -> None:
    """Pin a category."""
    kind, community_class = _WORDS[word]
    try:
        wanted = CategoryPin.checked(
            name=name,
            category=kind,
            community_class=community_class,
            reason=reason,
            author="",
            written_at=datetime.now(UTC),
        )
    except InvalidPinError as error:
        raise click.UsageError(str(error)) from error
    stored = client.put_pin(wanted)
    click.echo(f"{stored.name} is pinned as {word}")


@category.command(epilog=EXIT_CODES)
@click.argument("name", metavar="NAMESPACE[/REPOSITORY]")
@connects
def unpin(*, client: "Client", name: str) -> None:
    """Take a pin back."""
    client.delete_pin(name)
    click.echo(f"{name} is no longer pinned")


@category.command(epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def pins(*, client: "Client", as_json: bool) -> None:
    """List the pins."""
    stored = client.list_pins()
    if as_json:
        for item in stored:
            click.echo(json.dumps(_data(item)))
        return
    print_table(
        ("name", "category", "author", "written at", "reason"),
        (
            (
                item.name,
                (item.community_class or item.category).value,
                item.author,
                f"{item.written_at:%Y-%m-%d %H:%M:%S} UTC",
                item.reason,
            )
            for item in stored
        ),
        whole=["name"],
        empty="nothing is pinned",
    )


def _data(item: CategoryPin) -> dict[str, object]:
    return {
        "name": item.name,
        "category": item.category.name,
        "community_class": item.community_class.name if item.community_class else None,
        "author": item.author,
        "written_at": moment_data(item.written_at),
        "reason": item.reason,
    }
