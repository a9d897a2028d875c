"""`pullgate subscriber list` against a server process: who follows, what each runs, and whether all is as it should."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pullgate_client import AsyncClient, Connection
from pullgate_policy import Preset, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.watch import Opened, SnapshotEnd
from tests.conftest import SOON, ServerProcess, run_pullgate, start_server, stop_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, as those who have refused something are listed for a minute after they are gone."""
    server = start_server(tmp_path / "data")
    yield server
    stop_server(server)


@dataclass
class Subscribed:
    """An enforcement point that has said nothing yet of what it runs."""

    client: AsyncClient
    subscription_id: str
    revision: int

    async def applied(self, revision: int = 0, error: str = "") -> None:
        """Say what it runs; without a revision what it was told first."""
        await self.client.report_applied(self.subscription_id, revision or self.revision, error=error)


@asynccontextmanager
async def subscribed(server: ServerProcess, name: str, *organizations: str) -> AsyncIterator[Subscribed]:
    """Subscribe, and read the snapshot."""
    connection = Connection.from_environment(server.environment())
    async with AsyncClient(connection, deadline=SOON) as client:
        stream = client.watch(subscriber=name, organizations=organizations)
        async with aclosing(stream):
            opened = await anext(stream)
            assert isinstance(opened, Opened)
            while not isinstance(event := await anext(stream), SnapshotEnd):
                pass
            yield Subscribed(client, opened.subscription_id, event.revision)


async def listed(server: ServerProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What the command prints."""
    arguments = ("subscriber", "list", *arguments)
    return await asyncio.to_thread(run_pullgate, *arguments, environment=server.environment())


def objects(text: str) -> list[dict[str, Any]]:
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


async def test_subscribers_are_listed(server: ServerProcess) -> None:
    """Each has a line; those that have refused something stand first, then those that lag."""
    async with (
        subscribed(server, "a-proxy") as proxy,
        subscribed(server, "b-builder", "acme", "globex"),
        subscribed(server, "c-cluster") as cluster,
    ):
        await proxy.client.put_policy(preset_policy(Preset.STRICT, "acme"))
        await proxy.applied(1)
        await cluster.applied(1, error="no such setting")
        table = await listed(server)
        data = objects((await listed(server, "--json")).stdout)
        # Who leaves having refused something stays on the list for a minute.
        await cluster.applied(1)

    lines = [re.split(r" {2,}", text.strip()) for text in table.stdout.splitlines()]
    assert table.returncode == 0
    assert lines[0] == [
        "name", "caller", "organization", "watches", "connected since", "sent", "applied", "lag", "error",
    ]  # fmt: skip
    assert [line[0] for line in lines[1:]] == ["c-cluster", "b-builder", "a-proxy"]
    assert lines[1][-2:] == ["-", "no such setting"]
    assert (lines[2][3], lines[2][6]) == ("acme, globex", "-")
    assert re.fullmatch(r"\d+\.\ds", lines[2][7])
    assert lines[3][5:] == ["1", "1", "-", "-"]
    assert [item["name"] for item in data] == ["c-cluster", "b-builder", "a-proxy"]
    assert list(data[0]) == [
        "name", "subscription_id", "caller", "organization", "watched", "connected_at", "sent_revision",
        "applied_revision", "applied_at", "lag", "error", "server",
    ]  # fmt: skip
    assert (data[0]["error"], data[1]["watched"], data[1]["applied_at"]) == (
        "no such setting",
        ["acme", "globex"],
        None,
    )


async def test_check(server: ServerProcess) -> None:
    """--check lists those that lag or have refused something, and exits with 1 if there are any."""
    async with subscribed(server, "proxy") as proxy, subscribed(server, "builder") as builder:
        lags = await listed(server, "--check", "--max-lag", "0s", "--json")
        patient = await listed(server, "--check", "--max-lag", "1h")
        await proxy.applied()
        await builder.applied()
        well = await listed(server, "--check", "--max-lag", "0s")
        await builder.applied(error="no such setting")
        refused = await listed(server, "--check", "--json")
        await builder.applied()

    assert [result.returncode for result in (lags, patient, well, refused)] == [1, 0, 0, 1]
    assert sorted(item["name"] for item in objects(lags.stdout)) == ["builder", "proxy"]
    assert patient.stdout == well.stdout == "all is well with 2 subscribed\n"
    assert [item["name"] for item in objects(refused.stdout)] == ["builder"]


async def test_waiting_until_a_revision_is_applied(server: ServerProcess) -> None:
    """--applied N --wait ends with 0 once everybody runs revision N or a later one, and with 1 when time is up."""
    async with subscribed(server, "proxy") as proxy:
        stored = await proxy.client.put_policy(preset_policy(Preset.STRICT, "globex"))
        asked = ("--check", "--applied", f"{stored.revision}")
        not_yet = await listed(server, *asked)
        waiting = asyncio.ensure_future(listed(server, *asked, "--wait", f"{SOON:.0f}s"))
        await proxy.applied(stored.revision)
        done = await waiting
        never = await listed(server, "--check", "--applied", f"{stored.revision + 1}", "--wait", "1s")

    assert [result.returncode for result in (not_yet, done, never)] == [1, 0, 1]
    assert done.stdout == "all is well with 1 subscribed\n"


async def test_nobody(server: ServerProcess) -> None:
    """Without subscribers there is a word about it, nothing for programs, and nothing to be said against anybody."""
    told = [await listed(server, *arguments) for arguments in ((), ("--json",), ("--check",))]

    assert [result.returncode for result in told] == [0, 0, 0]
    assert [result.stdout for result in told] == ["nobody subscribes\n", "", "all is well with 0 subscribed\n"]


async def test_who_may_list(server: ServerProcess) -> None:
    """Owners see their organization's subscribers, and members none: exit code 1."""
    async with AsyncClient(Connection.from_environment(server.environment())) as client:
        ada, _ = await client.create_token("ada", CallerRole.OWNER, organization="acme", username="ada")
        dev, _ = await client.create_token("dev", CallerRole.MEMBER, organization="acme", username="dev")
    async with subscribed(server, "operator's own"):
        own = await listed(server, "--token", ada)
        refused = await listed(server, "--token", dev)

    assert (own.returncode, own.stdout, refused.returncode) == (0, "nobody subscribes\n", 1)
    assert "may not list subscribers" in refused.stderr


@pytest.mark.parametrize("arguments", [("--max-lag", "5s"), ("--applied", "3"), ("--wait", "5s")])
async def test_what_goes_with_check(server: ServerProcess, arguments: tuple[str, str]) -> None:
    """What only --check looks at is wrong usage without it."""
    result = await listed(server, *arguments)

    assert result.returncode == 2
    assert "go with --check" in result.stderr


async def test_a_service_that_is_not_there(server: ServerProcess) -> None:
    """When nothing answers the exit code is 3."""
    result = await listed(server, "--address", "127.0.0.1:1")

    assert result.returncode == 3
    assert "no service answers on 127.0.0.1:1" in result.stderr
