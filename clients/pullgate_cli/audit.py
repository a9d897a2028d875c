"""`pullgate audit`: administrative events."""

import json
import sys
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import connects
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import one_line, print_table
from pullgate_policy.event import AdministrativeEvent, EventSubject

if TYPE_CHECKING:
    from pullgate_client import Client

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_OWNED = {EventSubject.TOKEN, EventSubject.CATEGORY_PIN}
"""What is not named after its organization."""


@click.command(
    epilog="""\b
Examples:
  pullgate audit --org acme
  pullgate audit --subject token -n 10
  pullgate audit --json > audit.jsonl         # all of it, the newest first
  pullgate audit --follow --since -1 --json   # all of it in order, and what comes

\b
Exit codes:
  0  done
  1  refused: for want of permission
  2  wrong usage
  3  the service could not be asked, or the stream ended
  130  interrupted, with --follow"""
)
@click.option("--org", "organization", metavar="ORG", default="", help="Events of this organization alone.")
@click.option(
    "--subject", type=click.Choice([subject.value for subject in EventSubject]), help="Events about this alone."
)
@click.option("--name", default="", help="Events about the thing of this name, such as a token's id.")
@click.option("-n", "--number", type=click.IntRange(min=1), help="The newest so many. Default: 20, or all with --json.")
@click.option("--follow", is_flag=True, help="Events as they are written, until interrupted.")
@click.option(
    "--since",
    type=click.IntRange(min=-1),
    help="With --follow: begin after this revision, -1 for all of it. Default: now.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with what was and what is.")
@connects
def audit(
    *,
    client: "Client",
    organization: str,
    subject: str | None,
    name: str,
    number: int | None,
    follow: bool,
    since: int | None,
    as_json: bool,
) -> None:
    """Print who changed which policy, member, token or pin, when, and from where."""
    if follow and (subject or name or number):
        raise click.UsageError("--follow goes with --org and --since alone")
    if since is not None and not follow:
        raise click.UsageError("--since goes with --follow")
    if follow:
        events = client.stream_events(organization=organization, since_revision=since)
    else:
        wanted = None if subject is None else EventSubject(subject)
        events = client.list_events(organization=organization, subject=wanted, name=name)
    if as_json or follow:
        try:
            for event in islice(events, number):
                click.echo(json.dumps(_data(event), ensure_ascii=False) if as_json else _line(event))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    else:
        _print_table(islice(events, number or 20))


def _print_table(events: Iterable[AdministrativeEvent]) -> None:
    print_table(
        ("revision", "when", "who", "what", "from", "comment"),
        (
            (
                str(event.revision),
                f"{event.written_at:%Y-%m-%d %H:%M:%S} UTC",
                event.author,
                _what(event),
                event.origin or "-",
                event.comment,
            )
            for event in events
        ),
        whole=["revision", "when", "what"],
        empty="no events",
    )


def _line(event: AdministrativeEvent) -> str:
    parts = [
        str(event.revision),
        f"{event.written_at:%Y-%m-%d %H:%M:%S} UTC",
        event.author,
        _what(event),
        event.comment,
    ]
    return "  ".join(one_line(part) for part in parts if part)


def _what(event: AdministrativeEvent) -> str:
    if event.subject is EventSubject.MEMBERS:
        number = len(event.after or {})
        return f"{number} member{'' if number == 1 else 's'} of {event.name} changed"
    done = "created" if event.before is None else "deleted" if event.after is None else "changed"
    whose = f" of {event.organization}" if event.subject in _OWNED and event.organization else ""
    if event.subject is EventSubject.TOKEN and event.after is not None and event.after["revoked_at"] is not None:
        done = "revoked"
    return f"{event.subject.value.replace('_', ' ')} {event.name}{whose} {done}"


def _data(event: AdministrativeEvent) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "written_at": moment_data(event.written_at),
        "author": event.author,
        "caller_id": event.caller_id,
        "origin": event.origin,
        "subject": event.subject.value,
        "organization": event.organization,
        "name": event.name,
        "before": event.before,
        "after": event.after,
        "comment": event.comment,
        **({"documents_left_out": True} if event.documents_left_out else {}),
    }
