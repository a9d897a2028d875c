"""Staying subscribed: what is not whole is refused, and after every interruption comes a pause and another attempt."""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import grpc
import pytest

from pullgate.v1 import mapping, policy_watch_pb2
from pullgate_client import (
    AsyncClient,
    BrokenStreamError,
    CallError,
    Connection,
    UnavailableError,
    UnusableUpdateError,
)
from pullgate_client.following import FATAL, FIRST_PAUSE, LONGEST_PAUSE, Follower, Interrupted
from pullgate_client.watch_reader import WatchedState, WatchReader
from pullgate_policy import Preset, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.members import Member
from pullgate_policy.policy_state import StateChange
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_policy.watch import (
    Bookmark,
    Changed,
    GoAway,
    GoAwayReason,
    Opened,
    SnapshotEnd,
    SnapshotPart,
    WatchEvent,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OPENED = Opened(
    subscription_id="sub_1",
    store_id="store",
    resumed=False,
    bookmark_interval=timedelta(seconds=10),
    caller=Caller(id="", name="operator", role=CallerRole.OPERATOR),
    newest_revision=1,
)
END = SnapshotEnd(revision=1, count=0, resume_token="one")


def stored(preset: Preset, revision: int, organization: str = "acme") -> StoredPolicy:
    """A policy as a revision wrote it."""
    policy = preset_policy(preset, organization)
    return StoredPolicy(policy=policy, revision=revision, author="ada", written_at=NOW, comment="")


def changed(revision: int, prev_revision: int, preset: Preset = Preset.OPEN) -> Changed:
    """A revision that wrote acme's policy."""
    change = StateChange(revision=revision, policies={"acme": stored(preset, revision)})
    return Changed(change=change, prev_revision=prev_revision, resume_token=f"token {revision}")


def bookmark(revision: int) -> Bookmark:
    """A bookmark."""
    return Bookmark(revision=revision, resume_token=f"token {revision}", server_time=NOW)


THE_END = CallError(grpc.StatusCode.UNIMPLEMENTED, "the end", reason="ROLE_NOT_PERMITTED")


class Script:
    """Stands for a client: each subscription tells what the next entry of a script says, and ends so."""

    def __init__(self, *streams: Sequence[WatchEvent | Exception], token_file: Path | None = None) -> None:
        self.connection = Connection(token_file=token_file)
        self.asked_with: list[str] = []
        self._streams = list(streams)

    async def watch(self, *, resume_token: str, **_options: Any) -> AsyncGenerator[WatchEvent]:
        """The next stream."""
        self.asked_with.append(resume_token)
        for event in self._streams.pop(0) if self._streams else [THE_END]:
            if isinstance(event, Exception):
                raise event
            yield event


async def follow(script: Script) -> tuple[Follower, list[Any], list[float]]:
    """What a follower makes of a script: itself at the end, the events, and the pauses."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    follower = Follower(cast("AsyncClient", script), random=Random(1), sleep=sleep)
    events = [event async for event in follower.events()]
    return follower, events, pauses


async def test_it_goes_on_where_it_was() -> None:
    """After an interruption the newest resume token is shown, and what was told stays."""
    script = Script(
        [OPENED, END, changed(2, 1), UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")],
        [OPENED, bookmark(5), changed(6, 5)],
    )
    follower, events, _ = await follow(script)

    assert script.asked_with == ["", "token 2", "token 6"]
    assert follower.told.state.revision == 6
    assert [event for event in events if isinstance(event, Interrupted)][-1].retry_after is None


async def test_a_gap_is_noticed() -> None:
    """A change that does not follow what was told is not taken in: the next subscription begins with a snapshot."""
    script = Script([OPENED, END, changed(4, 3)], [OPENED, END])
    follower, events, _ = await follow(script)

    assert script.asked_with == ["", "", "one"]
    interruption = next(event for event in events if isinstance(event, Interrupted))
    assert interruption.begins_anew
    assert "revision 4 follows 3, and 1 was the last that arrived" in str(interruption.error)
    assert follower.told.state.policies == {}


async def test_a_bookmark_that_goes_back_is_noticed() -> None:
    """A store that went back is not followed on without a snapshot."""
    script = Script([OPENED, END, changed(2, 1), bookmark(1)])
    _, events, _ = await follow(script)

    assert any(isinstance(event, Interrupted) and event.begins_anew for event in events)


async def test_a_snapshot_that_breaks_off_changes_nothing() -> None:
    """What was known goes on until the end of another snapshot, and half of one is forgotten."""
    part = SnapshotPart(policies=(stored(Preset.OPEN, 1),))
    other = SnapshotPart(policies=(stored(Preset.STRICT, 3, "globex"),))
    broken = UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")
    script = Script([OPENED, part, END, BrokenStreamError("gap")], [OPENED, other, broken], [OPENED, part, END])
    follower = Follower(cast("AsyncClient", script), random=Random(1), sleep=_at_once)
    events = follower.events()
    states = [set(follower.told.state.policies) async for event in events if isinstance(event, Interrupted)]

    assert states[:3] == [{"acme"}, {"acme"}, {"acme"}]


async def test_pauses_grow_and_have_a_random_length() -> None:
    """Full jitter: each pause lies anywhere between nothing and a limit that doubles, up to the longest."""
    failure = UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")
    failures: list[Sequence[WatchEvent | Exception]] = [[failure]] * 40
    _, _, pauses = await follow(Script(*failures))

    limits = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**number) for number in range(40)]
    assert len(pauses) == 40
    assert all(0 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert max(pauses[8:]) > LONGEST_PAUSE / 2
    assert min(pauses[8:]) < LONGEST_PAUSE / 4


async def test_a_stream_that_ends_in_peace_is_followed_by_a_pause_too() -> None:
    """Who is let in and sent away again and again does not come back in a tight loop."""
    streams: list[Sequence[WatchEvent | Exception]] = [[OPENED, END]] * 10
    _, events, pauses = await follow(Script(*streams))

    assert len(pauses) == 10
    assert sum(pauses) > 10
    assert [event.error for event in events if isinstance(event, Interrupted)][:10] == [None] * 10


async def test_a_go_away_says_when_to_come_back() -> None:
    """The pause that a server asks for is the one that is made."""
    go_away = GoAway(reason=GoAwayReason.AGE, reconnect_after=timedelta(seconds=0.25))
    _, _, pauses = await follow(Script([OPENED, END, go_away], [OPENED, bookmark(1), go_away]))

    assert pauses == [0.25, 0.25]


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    """The RetryInfo of a refusal is the least that is waited."""
    busy = CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=5.0)
    _, _, pauses = await follow(Script([busy], [busy]))

    assert all(pause >= 5.0 for pause in pauses)


@pytest.mark.parametrize("code", sorted(FATAL, key=str))
async def test_a_fatal_status_ends_it(code: grpc.StatusCode) -> None:
    """What does not mend itself is not tried again."""
    script = Script([CallError(code, "no", reason="ROLE_NOT_PERMITTED")], [OPENED, END])
    _, events, pauses = await follow(script)

    assert len(script.asked_with) == 1
    assert pauses == []
    assert events[-1].retry_after is None


async def test_what_lies_in_between_is_not_the_service() -> None:
    """The same statuses without a reason of the service's, as from a load balancer, are tried again."""
    script = Script(*[[CallError(code, "no")] for code in FATAL], [OPENED, END])
    _, _, pauses = await follow(script)

    assert len(pauses) == len(FATAL) + 1


async def test_a_long_pause_that_is_asked_for_has_a_limit() -> None:
    """Who is asked to come back in ten hours comes back sooner, as nothing is known meanwhile."""
    go_away = GoAway(reason=GoAwayReason.AGE, reconnect_after=timedelta(hours=10))
    _, _, pauses = await follow(Script([OPENED, END, go_away]))

    assert pauses == [LONGEST_PAUSE]


async def test_a_token_from_a_file_may_be_late() -> None:
    """UNAUTHENTICATED with a token file is tried again, as the file is read anew."""
    script = Script(
        [CallError(grpc.StatusCode.UNAUTHENTICATED, "expired", reason="TOKEN_EXPIRED")],
        [OPENED, END],
        token_file=Path("/mounted/token"),
    )
    _, _, pauses = await follow(script)

    assert len(script.asked_with) == 3
    assert len(pauses) == 2


async def test_another_store_is_begun_anew() -> None:
    """STORE_REPLACED is no end: the token is dropped, and a snapshot asked for."""
    replaced = CallError(grpc.StatusCode.FAILED_PRECONDITION, "another store", reason="STORE_REPLACED")
    script = Script([OPENED, END, replaced], [OPENED, END])
    _, events, _ = await follow(script)

    assert script.asked_with[:2] == ["", ""]
    assert any(isinstance(event, Interrupted) and event.begins_anew for event in events)


async def test_a_token_that_cannot_be_read_is_dropped() -> None:
    """A service of another version that does not know the token's form is asked for a snapshot."""
    unknown = CallError(
        grpc.StatusCode.INVALID_ARGUMENT, "what?", violations=[("resume_token", "is none that an earlier stream gave")]
    )
    script = Script([OPENED, END, UnavailableError(grpc.StatusCode.UNAVAILABLE, "")], [unknown], [OPENED, END])
    await follow(script)

    assert script.asked_with[:3] == ["", "one", ""]


async def test_what_cannot_be_used_is_refused_and_the_rest_goes_on() -> None:
    """An update of a newer service leaves what was known, and is asked for again where it was."""
    script = Script([OPENED, END, changed(2, 1), UnusableUpdateError("newer")], [OPENED, bookmark(2)])
    follower, _, _ = await follow(script)

    assert script.asked_with[:2] == ["", "token 2"]
    assert follower.told.state.revision == 2


async def _at_once(_seconds: float) -> None:
    return


def chunk(*policies: StoredPolicy) -> bytes:
    """A part of a snapshot as it is sent."""
    message = policy_watch_pb2.SnapshotChunk(policies=map(mapping.stored_policy_to_message, policies))
    return policy_watch_pb2.WatchResponse(snapshot_chunk=message).SerializeToString()


def end(*chunks: bytes, count: int) -> bytes:
    """The end of a snapshot of these parts."""
    message = policy_watch_pb2.SnapshotEnd(revision=1, count=count, digest=hashlib.sha256(b"".join(chunks)).digest())
    return policy_watch_pb2.WatchResponse(snapshot_end=message).SerializeToString()


FIRST, SECOND = chunk(stored(Preset.OPEN, 1)), chunk(stored(Preset.STRICT, 2, "globex"))


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([FIRST, end(FIRST, SECOND, count=2)], "a snapshot of 2 entries arrived with 1"),
        ([SECOND, FIRST, end(FIRST, SECOND, count=2)], "its digest is another one"),
        ([FIRST, FIRST, end(FIRST, SECOND, count=2)], "its digest is another one"),
        ([FIRST, b"\xff\xff"], "cannot be read"),
    ],
)
def test_a_snapshot_that_is_not_whole_is_refused(messages: list[bytes], problem: str) -> None:
    """Parts that are missing, doubled, in another order or unreadable are told by count and digest."""
    reader = WatchReader()
    *before, last = messages
    for message in before:
        reader.read(message)
    with pytest.raises(BrokenStreamError, match=problem):
        reader.read(last)


def test_a_whole_snapshot_is_read() -> None:
    """Count and digest of what was sent hold, also of a second snapshot on the same stream."""
    reader, told = WatchReader(), WatchedState()
    for _ in range(2):
        for message in (FIRST, SECOND, end(FIRST, SECOND, count=2)):
            event = reader.read(message)
            assert event is not None
            told.take(event)

    assert set(told.state.policies) == {"acme", "globex"}


def test_a_change_in_pieces_is_one_change() -> None:
    """Messages that continue are joined, and nothing is told before the last one."""
    reader = WatchReader()
    pieces = [
        policy_watch_pb2.Change(
            revision=2,
            prev_revision=1,
            continues=index < 2,
            members=[mapping.organization_member_to_message("acme", Member(username=f"dev{index}"))],
        )
        for index in range(3)
    ]
    read = [reader.read(policy_watch_pb2.WatchResponse(change=piece).SerializeToString()) for piece in pieces]

    assert read[:2] == [None, None]
    assert isinstance(read[2], Changed)
    assert set(read[2].change.members["acme"]) == {"dev0", "dev1", "dev2"}


def test_a_policy_that_is_not_known_here_is_refused() -> None:
    """A value of a newer service is not half understood."""
    message = mapping.stored_policy_to_message(stored(Preset.OPEN, 1))
    message.policy.image_access.mode = 17  # type: ignore[assignment]
    part = policy_watch_pb2.SnapshotChunk(policies=[message])
    with pytest.raises(UnusableUpdateError, match="is it newer than this client"):
        WatchReader().read(policy_watch_pb2.WatchResponse(snapshot_chunk=part).SerializeToString())
    assert WatchReader().read(b"") is None
