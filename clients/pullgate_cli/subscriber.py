"""`pullgate subscriber`: who follows the policies, and what each says it runs."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import REFUSED, connects
from pullgate_cli.durations import Duration
from pullgate_cli.moments import moment_data
from pullgate_cli.tables import print_table
from pullgate_policy.subscriber import Subscriber

if TYPE_CHECKING:
    from pullgate_client import Client

POLL_SECONDS = 0.2
"""How often --wait looks."""

DEFAULT_MAX_LAG = timedelta(seconds=10)


@click.group()
def subscriber() -> None:
    """Who follows the policies, and what each runs."""


@subscriber.command(
    "list",
    epilog="""\b
Examples:
  pullgate subscriber list
  pullgate subscriber list --org acme --json
  pullgate subscriber list --check --max-lag 30s
  pullgate subscriber list --check --applied 17 --wait 1m   # has everybody taken in revision 17?

\b
Exit codes:
  0  done; with --check: nobody lags, and nobody has refused anything
  1  refused; or, with --check, somebody does not run what they should
  2  wrong usage
  3  the service could not be asked""",
)
@click.option("--org", "organization", metavar="ORG", default="", help="Those that belong to this organization.")
@click.option("--check", is_flag=True, help="Exit with 1 if somebody lags or has refused a revision; list those alone.")
@click.option("--max-lag", type=Duration(), help="With --check: how long one may lag, such as 30s. Default: 10s.")
@click.option(
    "--applied",
    type=click.IntRange(min=1),
    metavar="REVISION",
    help="With --check: everybody runs this or a later one.",
)
@click.option("--wait", type=Duration(), help="With --check: for how long to wait until all is well, such as 1m.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def list_(
    *,
    client: "Client",
    organization: str,
    check: bool,
    max_lag: timedelta | None,
    applied: int | None,
    wait: timedelta | None,
    as_json: bool,
) -> None:
    """List subscribers: those that lag or have refused a revision first.

    Listed is who is connected, and for a minute who has refused a revision and left.
    """
    if not check:
        if any(option is not None for option in (max_lag, applied, wait)):
            raise click.UsageError("--max-lag, --applied and --wait go with --check")
        _print(_ordered(client.list_subscribers(organization=organization)), as_json=as_json, empty="nobody subscribes")
        return
    longest = DEFAULT_MAX_LAG if max_lag is None else max_lag
    end = time.monotonic() + (wait or timedelta()).total_seconds()
    while True:
        known = list(client.list_subscribers(organization=organization))
        behind = [item for item in known if _is_behind(item, longest, applied or 0)]
        if not behind or time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
    _print(_ordered(behind), as_json=as_json, empty=f"all is well with {len(known)} subscribed")
    sys.exit(REFUSED if behind else 0)


def _is_behind(item: Subscriber, longest: timedelta, revision: int) -> bool:
    return bool(item.error) or item.applied_revision < revision or (item.lag is not None and item.lag > longest)


def _ordered(subscribers: Iterable[Subscriber]) -> Sequence[Subscriber]:
    """Those first that have refused a revision, then those that lag, the longest first."""
    return sorted(
        subscribers, key=lambda item: (not item.error, -(item.lag or timedelta()), item.name, item.subscription_id)
    )


def _print(subscribers: Sequence[Subscriber], *, as_json: bool, empty: str) -> None:
    if as_json:
        for item in subscribers:
            click.echo(json.dumps(_data(item), ensure_ascii=False))
        return
    print_table(
        ("name", "caller", "organization", "watches", "connected since", "sent", "applied", "lag", "error"),
        (
            (
                item.name or "-",
                item.caller,
                item.organization or "-",
                ", ".join(item.watched) or "all",
                f"{item.connected_at:%Y-%m-%d %H:%M:%S} UTC",
                str(item.sent_revision),
                "-" if item.applied_at is None else str(item.applied_revision),
                "-" if item.lag is None else f"{item.lag.total_seconds():.1f}s",
                item.error or "-",
            )
            for item in subscribers
        ),
        whole=["name", "sent", "applied", "lag"],
        empty=empty,
    )


def _data(item: Subscriber) -> dict[str, object]:
    return {
        "name": item.name,
        "subscription_id": item.subscription_id,
        "caller": item.caller,
        "organization": item.organization or None,
        "watched": list(item.watched),
        "connected_at": moment_data(item.connected_at),
        "sent_revision": item.sent_revision,
        "applied_revision": item.applied_revision,
        "applied_at": moment_data(item.applied_at),
        "lag": None if item.lag is None else f"{item.lag.total_seconds():g}s",
        "error": item.error,
        "server": item.server,
    }
