"""`pullgate watch`: policies, member lists and pins as they change."""

import asyncio
import io
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from pullgate_cli import watched
from pullgate_cli.connecting import NO_ANSWER, exit_code, explain, names_connection, say_error
from pullgate_policy.policy_state import PolicyState
from pullgate_policy.watch import Bookmark, CategoriesFound, Changed, GoAway, Opened, SnapshotEnd, SnapshotPart

if TYPE_CHECKING:
    from pullgate_client import AsyncClient, Connection
    from pullgate_client.following import FollowerEvent, Interrupted

REPORT_SECONDS = 1.0
"""The shortest time between two reports of what was shown."""


@click.command(
    epilog="""\b
Examples:
  pullgate watch --org acme
  pullgate watch --json | jq -r 'select(.event == "change") | .organizations[]'
  pullgate watch --org acme --count 1 --json       # waits for the next change
  pullgate watch --org acme --categories --verbose

\b
Exit codes:
  0  ended by Ctrl-C or SIGTERM, by whoever reads what is printed, or after --count
  1  refused: the token is not accepted, or may not watch this
  2  wrong usage
  3  the service cannot be followed, or what is told not written; or the stream ended, with --no-reconnect"""
)
@click.option("--org", "organizations", multiple=True, metavar="ORG", help="This organization alone; repeatable.")
@click.option("--categories", is_flag=True, help="Categories too, as the service finds them for these organizations.")
@click.option("--name", help="The own name in the list of subscribers. Default: pullgate watch on this host.")
@click.option("--count", type=click.IntRange(min=0), help="End after so many changes; 0: once it says what it follows.")
@click.option("--no-reconnect", is_flag=True, help="End with the stream, instead of coming back.")
@click.option("-v", "--verbose", is_flag=True, help="Also say when nothing is missing, and every vain attempt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with `event` and `revision`.")
@names_connection("--address", envvar="PULLGATE_ADDRESS", help_text="HOST:PORT or unix:PATH of the service.")
def watch(
    *,
    connection: "Connection",
    organizations: Sequence[str],
    categories: bool,
    name: str | None,
    count: int | None,
    no_reconnect: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show changes of policies, member lists and pins as they come, until interrupted. Comes back by itself."""
    from pullgate_client import ConnectionSettingsError

    _prepare_output(as_json=as_json)
    following = _Following(
        connection=connection,
        organizations=organizations,
        include_categories=categories,
        name=name or f"pullgate watch on {socket.gethostname()}",
        count=count,
        comes_back=not no_reconnect,
        voice=ForPrograms(connection, verbose=verbose) if as_json else ForPeople(connection, verbose=verbose),
    )
    try:
        code = asyncio.run(following.run())
    except ConnectionSettingsError as error:
        raise click.UsageError(str(error)) from error
    except asyncio.CancelledError:
        code = 0
    except BrokenPipeError:
        _give_up_output()
        code = 0
    except OSError as error:
        _give_up_output()
        say_error(f"what is told cannot be written: {error.strerror}")
        code = NO_ANSWER
    sys.exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was told, and what it comes to.

    Attributes:
        asked: the organizations followed by name; empty for all of them.
        before: the former state; None before there was any.
    """

    event: "FollowerEvent"
    asked: Sequence[str]
    before: PolicyState | None
    after: PolicyState

    @property
    def differences(self) -> watched.Differences | None:
        """What is different; None where nothing was known."""
        if self.before is None:
            return None
        change = self.event.change if isinstance(self.event, Changed) else None
        return watched.differences(self.before, self.after, change)


class Voice(Protocol):
    """Shows what is told."""

    def tell(self, told: Told) -> None:
        """Show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Following:
    """One run of the command."""

    connection: "Connection"
    organizations: Sequence[str]
    include_categories: bool
    name: str
    count: int | None
    comes_back: bool
    voice: Voice

    async def run(self) -> int:
        """Follow until it ends; returns the exit code. Cancelled where somebody ends it."""
        from pullgate_client import AsyncClient

        _cancel_on_end()
        async with AsyncClient(self.connection) as client:
            reports = _Reports(client)
            reporting = asyncio.create_task(reports.run())
            try:
                return await self._follow(client, reports)
            finally:
                reporting.cancel()

    async def _follow(self, client: "AsyncClient", reports: "_Reports") -> int:
        from pullgate_client.following import Follower, Interrupted

        follower = Follower(
            client,
            subscriber=self.name,
            organizations=self.organizations,
            include_categories=self.include_categories,
        )
        asked, before, changes = self.organizations, None, 0
        async with aclosing(follower.events()) as events:
            async for event in events:
                if isinstance(event, Opened):
                    # Who is no operator sees the own organization, asked for or not.
                    asked = asked or [name for name in [event.caller.organization] if name]
                    reports.begin(event.subscription_id)
                state = follower.told.state
                self.voice.tell(Told(event=event, asked=sorted(set(asked)), before=before, after=state))
                if isinstance(event, SnapshotEnd | Changed | Bookmark):
                    changes += before is not None and not isinstance(event, Bookmark)
                    before = state
                    reports.note(state.revision)
                    if self.count is not None and changes >= self.count:
                        break
                if isinstance(event, Interrupted) and event.retry_after is None and event.error is not None:
                    return _exit_code(event.error)
                if isinstance(event, Interrupted) and not self.comes_back:
                    return NO_ANSWER
        return 0


class _Reports:
    """Tells the service what was shown, so that a watcher does not look like an enforcement point that hangs."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client
        self._subscription_id = ""
        self._revision = 0
        self._reported: int | None = None
        self._due = asyncio.Event()

    def begin(self, subscription_id: str) -> None:
        """Report of this subscription from now on."""
        self._subscription_id, self._reported = subscription_id, None

    def note(self, revision: int) -> None:
        """This revision was shown."""
        if revision != self._reported:
            self._revision = revision
            self._due.set()

    async def run(self) -> None:
        """Report, not more often than it is worth; what cannot be reported now is reported with what follows."""
        from pullgate_client import ClientError

        while True:
            await self._due.wait()
            self._due.clear()
            subscription_id, revision = self._subscription_id, self._revision
            with suppress(ClientError):
                await self._client.report_applied(subscription_id, revision)
                if subscription_id == self._subscription_id:
                    self._reported = revision
            await asyncio.sleep(REPORT_SECONDS)


class ForPeople:
    """In words: what is told on standard output, and how the connection fares on standard error."""

    def __init__(self, connection: "Connection", *, verbose: bool) -> None:
        self._connection = connection
        self._verbose = verbose
        self._interruption = ""
        self._is_away = False
        self._is_sent_away = False

    def tell(self, told: Told) -> None:
        """Show it."""
        event = told.event
        match event:
            case Opened() if event.resumed:
                self._say(f"connected again, going on after revision {told.after.revision}", dim=True)
                self._interruption = ""
            case SnapshotEnd():
                self._interruption = ""
                _print(watched.snapshot_in_words(event, told.after, _whose(told.asked), told.differences))
            case Changed():
                _print(watched.changed_in_words(event, told.differences or watched.NO_DIFFERENCES))
            case CategoriesFound():
                _print(watched.categories_in_words(event.categories))
            case Bookmark():
                self._tell_bookmark(event)
            case GoAway():
                self._say(watched.go_away_in_words(event), dim=True)
            case Opened() | SnapshotPart():
                pass
            case interruption:
                self._tell_interruption(interruption)
        self._is_sent_away = isinstance(event, GoAway)

    def _tell_bookmark(self, event: Bookmark) -> None:
        if event.known_as_of is not None and not self._is_away:
            as_of = f"{event.known_as_of:%Y-%m-%d %H:%M:%S} UTC"
            self._warn(f"the service's database is out of reach: what is newer than {as_of} is not told")
        if event.known_as_of is None and self._is_away:
            self._say("the service's database is within reach again", dim=True)
        self._is_away = event.known_as_of is not None
        if self._verbose:
            _print([click.style(watched.bookmark_in_words(event), dim=True)])

    def _tell_interruption(self, event: "Interrupted") -> None:
        if event.error is None and self._is_sent_away:
            return
        reason = _reason(event, self._connection)
        if event.retry_after is None:
            say_error(reason)
        elif reason != self._interruption or self._verbose:
            self._warn(reason + watched.again_in_words(event))
        self._interruption = reason

    def _warn(self, text: str) -> None:
        self._say(f"{click.style('warning:', fg='yellow', bold=True)} {text}")

    def _say(self, text: str, *, dim: bool = False) -> None:
        click.echo(click.style(text, dim=True) if dim else text, err=True)


class ForPrograms:
    """One JSON object a line."""

    def __init__(self, connection: "Connection", *, verbose: bool) -> None:
        self._connection = connection
        self._verbose = verbose
        self._interruption = ""

    def tell(self, told: Told) -> None:
        """Show it."""
        event = told.event
        match event:
            case Opened() if event.resumed:
                self._interruption = ""
                self._print("resumed", told, {})
            case SnapshotEnd():
                self._interruption = ""
                concerned = told.asked or sorted(told.after.organizations)
                self._print("snapshot", told, watched.snapshot_data(told.after, told.differences), concerned)
            case Changed():
                data = watched.changed_data(event, told.differences or watched.NO_DIFFERENCES)
                self._print("change", told, data, sorted(filter(None, event.change.organizations)))
            case CategoriesFound():
                self._print("categories", told, watched.categories_data(event.categories))
            case Bookmark():
                self._print("bookmark", told, watched.bookmark_data(event))
            case GoAway():
                self._print("go_away", told, watched.go_away_data(event))
            case Opened() | SnapshotPart():
                pass
            case interruption:
                self._tell_interruption(interruption, told)

    def _tell_interruption(self, event: "Interrupted", told: Told) -> None:
        reason = _reason(event, self._connection)
        if reason != self._interruption or self._verbose or event.retry_after is None:
            self._print("interrupted", told, watched.interrupted_data(event, reason))
        self._interruption = reason
        if event.retry_after is None:
            say_error(reason)

    def _print(self, event: str, told: Told, data: dict[str, Any], concerned: Sequence[str] | None = None) -> None:
        organizations = told.asked if concerned is None else concerned
        head = {"event": event, "revision": told.after.revision, "organizations": list(organizations)}
        _print([json.dumps({**head, **data}, ensure_ascii=False)])


def _prepare_output(*, as_json: bool) -> None:
    """JSON is UTF-8 everywhere; of words, a terminal or file of another encoding gets what it can hold."""
    # Closed from the start it is None, and then there is nobody to show anything to.
    if isinstance(sys.stdout, io.TextIOWrapper):
        if as_json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="replace")


def _give_up_output() -> None:
    # What could not be written would be tried once more at the end.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(lines: Iterable[str]) -> None:
    """Print lines, and flush them."""
    click.echo("\n".join(lines))


def _whose(asked: Sequence[str]) -> str:
    return ", ".join(asked) or "every organization"


def _reason(event: "Interrupted", connection: "Connection") -> str:
    """Why the stream has ended, for a person."""
    from pullgate_client import CallError

    error = event.error
    if error is None:
        return "the stream has ended"
    # How long it was silent says the error itself.
    told_here = isinstance(error, CallError) and error.code.name != "DEADLINE_EXCEEDED"
    return explain(error, connection) if isinstance(error, CallError) and told_here else str(error)


def _exit_code(error: Exception) -> int:
    from pullgate_client import CallError

    return exit_code(error) if isinstance(error, CallError) else NO_ANSWER


def _cancel_on_end() -> None:
    """Cancel the task that runs this when somebody ends it: by a signal, or as they no longer read what is printed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    # Else `pullgate watch | head -1` would end with the change after the first.
    with suppress(OSError, ValueError):
        if sys.stdout is not None and stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            loop.add_reader(sys.stdout.fileno(), task.cancel)
