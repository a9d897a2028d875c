"""Administrative events: one for every write and none for what was not written, listed and streamed."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from aiosqlite import Connection
from google.protobuf import json_format

from pullgate.v1 import event_pb2, member_pb2, policy_admin_pb2, policy_pb2
from pullgate_policy import Preset, policy_data, preset_policy
from pullgate_server.stores import engines
from pullgate_server.stores.port import EventFilter
from tests.conftest import SOON, Serve, Service
from tests.server.test_policy_admin_service import STRICT, put
from tests.server.test_policy_writes import METHODS, OPEN, PIN, WRITES, any_store, call, prepare, refused, signed_in
from tests.stores import put_policy, store_at

__all__ = ["any_store"]

DOCUMENTS: dict[str, Any] = {
    preset.value: policy_data(preset_policy(preset, "acme")) for preset in (Preset.STRICT, Preset.STANDARD, Preset.OPEN)
}
MEMBER = {"role": "member", "teams": []}
SEEN = {"category": "COMMUNITY", "community_class": None, "reason": "", "expires_at": None}


async def events(service: Service, **filters: Any) -> list[event_pb2.AdministrativeEvent]:
    """The newest events."""
    return list((await call(service, "ListEvents", **filters)).events)


async def stream(
    service: Service, number: int, while_open: Callable[[], Awaitable[None]] | None = None, **fields: Any
) -> list[event_pb2.AdministrativeEvent]:
    """The first so many events of a stream, during which something may happen once the first has come."""
    open_call = service.administration.StreamEvents(
        policy_admin_pb2.StreamEventsRequest(**fields), metadata=service.metadata, timeout=SOON
    )
    found = []
    async with aclosing(aiter(open_call)) as responses:
        async for response in responses:
            found.append(response.event)
            if while_open is not None and len(found) == 1:
                await while_open()
            if len(found) == number:
                break
    open_call.cancel()
    return found


@pytest.mark.parametrize(
    ("method", "subject", "organization", "name", "before", "after"),
    [
        ("PutPolicy", "POLICY", "acme", "acme", DOCUMENTS["standard"], DOCUMENTS["open"]),
        ("PatchPolicy", "POLICY", "acme", "acme", DOCUMENTS["standard"], DOCUMENTS["standard"]),
        ("DeletePolicy", "POLICY", "acme", "acme", DOCUMENTS["standard"], None),
        ("RollbackPolicy", "POLICY", "acme", "acme", DOCUMENTS["standard"], DOCUMENTS["strict"]),
        ("PutCategoryPin", "CATEGORY_PIN", "", "vendor", None, {**SEEN, "reason": "seen"}),
        ("DeleteCategoryPin", "CATEGORY_PIN", "", "someuser", SEEN, None),
        ("WriteMembers", "MEMBERS", "acme", "acme", {"new": None}, {"new": MEMBER}),
        ("RemoveMembers", "MEMBERS", "acme", "acme", {"dev": MEMBER}, {"dev": None}),
    ],
)
async def test_every_write_makes_one_event(
    serve: Serve,
    any_store: Callable[[], Any],
    method: str,
    subject: str,
    organization: str,
    name: str,
    before: Any,
    after: Any,
) -> None:
    """The event says who wrote what, when and from where, what was and what is; the write's revision is the event's."""
    fields = {name: fields for name, fields, _ in WRITES}[method]
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        newest = await prepare(service)
        service.clock.advance(hours=1)
        caller_id = (await call(service, "GetCaller")).caller_id
        await call(service, method, **fields)
        found = await events(service)
        event = found[0]

        assert [item.revision for item in found] == list(range(newest + 1, -1, -1))
        assert event_pb2.EventSubject.Name(event.subject) == f"EVENT_SUBJECT_{subject}"
        assert (event.organization, event.name) == (organization, name)
        assert (event.author, event.caller_id) == ("operator", caller_id)
        assert event.origin.startswith("ipv4:127.0.0.1:")
        assert event.written_at.ToJsonString() == "2026-06-01T01:00:00Z"
        assert (as_data(event, "before"), as_data(event, "after")) == (before, after)


def as_data(event: event_pb2.AdministrativeEvent, side: Literal["before", "after"]) -> Any:
    """What was or is, as plain data; None where the field is unset."""
    return json_format.MessageToDict(getattr(event, side)) if event.HasField(side) else None


async def test_tokens_make_events_without_their_secrets(serve: Serve, any_store: Callable[[], Any]) -> None:
    """Making, rotating and revoking a token is an event each, with its organization and nothing of its secrets."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        made = await call(service, "CreateToken", name="proxy", role=5, organization="acme")
        rotated = await call(service, "RotateToken", id=made.token.id, overlap={"seconds": 60})
        await call(service, "RevokeToken", id=made.token.id, comment="lost")
        revoked, rotation, creation, first = await events(service)

        assert [(item.revision, item.name, item.organization) for item in (creation, rotation, revoked)] == [
            (revision, made.token.id, "acme") for revision in (1, 2, 3)
        ]
        assert as_data(creation, "before") is None
        assert as_data(creation, "after")["name"] == "proxy"
        assert as_data(rotation, "after")["former_secret_until"] == "2026-06-01T00:01:00Z"
        assert as_data(revoked, "before")["revoked_at"] is None
        assert as_data(revoked, "after")["revoked_at"] == "2026-06-01T00:00:00Z"
        assert (revoked.comment, first.author, first.revision) == ("lost", "pullgate serve", 0)
        told = "".join(str(item) for item in (creation, rotation, revoked, first))
        for secret in (made.secret, rotated.secret, service.token):
            assert secret not in told


async def test_pins_of_organizations_make_events_of_theirs(serve: Serve, any_store: Callable[[], Any]) -> None:
    """The event of an organization's pin is that organization's, and says until when the pin was and is to hold."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        manager = await signed_in(service, "policy_manager")
        pin = policy_admin_pb2.CategoryPin(name="vendor", category=4, organization="acme")  # type: ignore[arg-type]
        await call(manager, "PutCategoryPin", pin=pin)
        pin.expires_at.FromJsonString("2026-12-01T00:00:00Z")
        await call(manager, "PutCategoryPin", pin=pin)
        await call(manager, "DeleteCategoryPin", name="vendor", organization="acme")
        found = await events(manager, subject=SUBJECTS.EVENT_SUBJECT_CATEGORY_PIN)
        ends = {**SEEN, "expires_at": "2026-12-01T00:00:00Z"}

        assert [(event.organization, event.name, event.author) for event in found] == [
            ("acme", "vendor", "policy_manager")
        ] * 3
        assert [(as_data(event, "before"), as_data(event, "after")) for event in found] == [
            (ends, None),
            (SEEN, ends),
            (None, SEEN),
        ]


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PutPolicy", {"policy": policy_pb2.Policy()}),
        ("PutPolicy", {"policy": STRICT, "expected_revision": 0}),
        ("PutPolicy", {"policy": STRICT, "comment": "\x1b"}),
        ("PatchPolicy", {"policy": STRICT}),
        ("PatchPolicy", {"policy": STRICT, "update_mask": {"paths": ["x"]}}),
        ("DeletePolicy", {"organization": "globex"}),
        ("RollbackPolicy", {"organization": "acme", "revision": 99}),
        ("PutCategoryPin", {}),
        ("DeleteCategoryPin", {"name": "nobody"}),
        ("DeleteCategoryPin", {"name": "someuser", "organization": "acme"}),
        ("WriteMembers", {"organization": "acme"}),
        ("RemoveMembers", {"organization": "acme", "usernames": ["nobody"]}),
        ("CreateToken", {"name": "x"}),
        ("RevokeToken", {"id": "tok_0"}),
        ("RotateToken", {"id": "tok_0"}),
    ],
)
async def test_a_refused_write_makes_no_event(
    serve: Serve, any_store: Callable[[], Any], method: str, fields: dict[str, Any]
) -> None:
    """What was not done leaves no event, and takes no revision from what is done next."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        newest = await prepare(service)
        before = await events(service)
        await refused(call(service, method, **fields))
        after = await events(service)

        assert after == before
        assert (await put(service, OPEN)).revision == newest + 1


async def test_what_is_only_tried_makes_no_event(serve: Serve) -> None:
    """A dry run, and a list of members as it is already, are no writes."""
    async with serve() as service:
        newest = await prepare(service)
        await call(service, "DryRunPolicy", organization="acme", policy=OPEN)
        members = [member_pb2.Member(username="dev")]
        await call(service, "WriteMembers", organization="acme", members=members, replace=True, dry_run=True)
        await call(service, "WriteMembers", organization="acme", members=members)

        assert (await events(service, page_size=1))[0].revision == newest


@pytest.mark.parametrize(("method", "fields", "_other"), WRITES, ids=METHODS)
async def test_a_repeated_request_makes_no_second_event(
    serve: Serve, method: str, fields: dict[str, Any], _other: dict[str, Any]
) -> None:
    """However often a request is sent, also at the same instant, it has one event."""
    async with serve() as service:
        newest = await prepare(service)
        await asyncio.gather(*(call(service, method, **fields, request_id="one") for _ in range(3)))
        await call(service, method, **fields, request_id="one")

        assert [item.revision for item in await events(service, page_size=2)] == [newest + 1, newest]


SUBJECTS = event_pb2.EventSubject


@pytest.mark.parametrize(
    ("filters", "revisions"),
    [
        ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"organization": "acme"}, [8, 7, 5, 2, 1]),
        ({"organization": "globex"}, [6]),
        ({"organization": "initech"}, []),
        ({"subject": SUBJECTS.EVENT_SUBJECT_POLICY}, [7, 6, 2, 1]),
        ({"subject": SUBJECTS.EVENT_SUBJECT_CATEGORY_PIN}, [9, 4, 3]),
        ({"subject": SUBJECTS.EVENT_SUBJECT_MEMBERS}, [5]),
        ({"subject": SUBJECTS.EVENT_SUBJECT_TOKEN}, [8, 0]),
        ({"name": "acme"}, [7, 5, 2, 1]),
        ({"name": "someuser"}, [9, 3]),
        ({"name": "acme", "subject": SUBJECTS.EVENT_SUBJECT_MEMBERS}, [5]),
        ({"organization": "acme", "subject": SUBJECTS.EVENT_SUBJECT_TOKEN}, [8]),
        ({"organization": "globex", "name": "acme"}, []),
    ],
)
async def test_events_are_filtered(
    serve: Serve, any_store: Callable[[], Any], filters: dict[str, Any], revisions: list[int]
) -> None:
    """Events fit all of what the request names, the newest first, on every page."""
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        await prepare(service)
        await put(service, policy_pb2.Policy(organization="globex"))
        await put(service, OPEN)
        await call(service, "CreateToken", name="proxy", role=5, organization="acme")
        await call(service, "DeleteCategoryPin", name="someuser")
        pages: list[list[int]] = []
        token = ""
        while True:
            page = await call(service, "ListEvents", **filters, page_size=3, page_token=token)
            pages.append([event.revision for event in page.events])
            token = page.next_page_token
            if not token:
                break

        assert [event.revision for event in await events(service, **filters)] == revisions
        assert pages == [revisions[start : start + 3] for start in range(0, max(len(revisions), 1), 3)]


@pytest.mark.parametrize(
    "fields", [{"subject": 99}, {"page_size": 1001}, {"page_size": -1}, {"page_token": "x"}, {"page_token": "-1"}]
)
async def test_a_list_that_cannot_be_given_is_refused(serve: Serve, fields: dict[str, Any]) -> None:
    """A subject that is none, and a page that is none, are wrong fields."""
    async with serve() as service:
        told = await refused(call(service, "ListEvents", **fields))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_a_page_of_large_events_ends_early(serve: Serve) -> None:
    """However large the policies, a page of events is small enough for every client, and none is left out."""
    async with serve() as service:
        large = policy_pb2.Policy(organization="acme")
        for index in range(4000):
            large.image_access.blocklist.add(repository=f"someuser/tool{index}", reason="because " * 12)
        for _ in range(4):
            await put(service, large)
        listed: list[int] = []
        token = ""
        while True:
            page = await call(service, "ListEvents", page_token=token)
            assert page.ByteSize() < 4 * 1024 * 1024
            listed += [event.revision for event in page.events]
            token = page.next_page_token
            if not token:
                break

        assert listed == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(("since", "first"), [(-1, 0), (0, 1), (3, 4)])
async def test_a_stream_begins_after_a_revision(serve: Serve, since: int, first: int) -> None:
    """Events after since_revision come in their order, as ListEvents has them, and then what is written."""
    async with serve(store_poll=3600.0) as service:
        newest = await prepare(service)

        async def write() -> None:
            await put(service, OPEN, comment="while open")

        found = await stream(service, newest + 2 - first, write, since_revision=since)
        listed = await events(service)

        assert [event.revision for event in found] == list(range(first, newest + 2))
        assert found == listed[::-1][first:]
        assert found[-1].comment == "while open"


@pytest.mark.parametrize("writers", [1, 4])
async def test_a_stream_loses_nothing_and_repeats_nothing(
    serve: Serve, any_store: Callable[[], Any], writers: int
) -> None:
    """While several write at once, every subscriber has every event once and in order, wherever it begins."""
    rounds = 60 // writers
    async with any_store() as store, serve(store=store, store_poll=3600.0) as service:
        newest = await prepare(service)

        async def write(organization: str) -> None:
            for number in range(rounds):
                await put(service, policy_pb2.Policy(organization=organization), comment=f"{number}")

        last = newest + rounds * writers
        *streams, _ = await asyncio.gather(
            stream(service, last, since_revision=0),
            stream(service, last - newest, since_revision=newest),
            stream(service, last - newest - 10, since_revision=newest + 10),
            stream(service, rounds, since_revision=0, organization="globex"),
            asyncio.gather(*(write(name) for name in ("globex", "initech", "acme1", "acme2")[:writers])),
        )
        whole, tail, later, globex = ([event.revision for event in found] for found in streams)

        assert whole == list(range(1, last + 1))
        assert tail == whole[newest:]
        assert later == whole[newest + 10 :]
        assert [event.comment for event in streams[3]] == [f"{number}" for number in range(rounds)]
        assert globex == sorted(globex)


async def test_a_stream_begins_with_what_is_written_from_now_on(serve: Serve) -> None:
    """Without since_revision nothing from before comes, and nothing is left out after the first event."""
    async with serve() as service:
        newest = await prepare(service)
        following = asyncio.create_task(stream(service, 5))
        while not following.done():
            # When the server has opened the stream cannot be seen, so there is always something new to tell.
            await put(service, OPEN)
        found = [event.revision for event in following.result()]

        assert found[0] > newest
        assert found == list(range(found[0], found[0] + 5))


@pytest.mark.parametrize("since", [-2, -(2**63)])
async def test_a_stream_from_no_revision_is_refused(serve: Serve, since: int) -> None:
    """What is no revision is a wrong field."""
    async with serve() as service:
        told = await refused(stream(service, 1, since_revision=since))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_a_stream_ends_when_the_store_is_out_of_reach(serve: Serve) -> None:
    """A subscriber learns that events cannot be read; who comes back with the last revision misses nothing."""
    async with serve(store_poll=3600.0) as service:
        await prepare(service)
        service.store.available = False  # type: ignore[attr-defined]
        told = await refused(stream(service, 1, since_revision=0))
        service.store.available = True  # type: ignore[attr-defined]
        found = await stream(service, 5, since_revision=0)

        assert (told.code, told.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert [event.revision for event in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("role", ["owner", "policy_manager"])
async def test_who_belongs_to_an_organization_sees_its_events_alone(serve: Serve, role: str) -> None:
    """Lists and streams hold the caller's own organization's events, named or not; another's are refused."""
    async with serve() as service:
        await put(service, STRICT)
        await put(service, policy_pb2.Policy(organization="globex"))
        await call(service, "PutCategoryPin", pin=PIN)
        caller = await signed_in(service, role)
        await put(service, OPEN)
        own = [await events(caller), await events(caller, organization="acme")]
        streamed = [await stream(caller, 3, since_revision=-1, organization=name) for name in ("", "acme")]
        told = [
            await refused(call(caller, "ListEvents", organization="globex")),
            await refused(stream(caller, 1, organization="globex", since_revision=0)),
        ]

        assert [[event.revision for event in found] for found in own] == [[5, 4, 1]] * 2
        assert [[event.revision for event in found] for found in streamed] == [[1, 4, 5]] * 2
        assert {item.reason for item in told} == {"ORGANIZATION_NOT_PERMITTED"}


@pytest.mark.parametrize("role", ["member", "enforcer"])
async def test_others_see_no_events(serve: Serve, role: str) -> None:
    """Events are for who administers."""
    async with serve() as service:
        caller = await signed_in(service, role)
        told = [
            await refused(call(caller, "ListEvents", organization="acme")),
            await refused(stream(caller, 1, organization="acme", since_revision=0)),
        ]

        assert {(item.code, item.reason) for item in told} == {("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")}


async def test_a_stream_ends_with_its_callers_token(serve: Serve) -> None:
    """Who is revoked while following is told so, and has no further event."""
    async with serve() as service:
        await put(service, STRICT)
        owner = await signed_in(service, "owner")
        token_id = (await call(owner, "GetCaller")).caller_id

        async def revoke() -> None:
            await call(service, "RevokeToken", id=token_id)

        told = await refused(stream(owner, 99, revoke, since_revision=0))

        assert (told.code, told.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")


@contextmanager
def failing_events(file: Path) -> Iterator[None]:
    """While this lasts the database refuses new events."""
    with sqlite3.connect(file) as database:
        database.execute("CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no events'); END")
    database.close()
    try:
        yield
    finally:
        with sqlite3.connect(file) as database:
            database.execute("DROP TRIGGER refuse")
        database.close()


@pytest.mark.parametrize(("method", "fields", "_other"), WRITES, ids=METHODS)
async def test_a_write_and_its_event_are_committed_together(
    serve: Serve, tmp_path: Path, method: str, fields: dict[str, Any], _other: dict[str, Any]
) -> None:
    """Where the event cannot be kept, the write did not happen and took no revision."""
    async with store_at("sqlite", tmp_path, "") as store, serve(store=store, store_poll=3600.0) as service:
        newest = await prepare(service)
        before = await store.read(None)
        with failing_events(tmp_path / "pullgate.db"):
            told = await refused(call(service, method, **fields))
        after = await store.read(None)
        await call(service, method, **fields)

        assert (told.code, told.reason) == ("INTERNAL", "INTERNAL")
        assert "no events" not in told.message
        assert after == before
        assert await store.revision() == newest + 1
        assert [event.revision for event in await events(service, page_size=2)] == [newest + 1, newest]


async def test_a_reader_that_leaves_does_not_hold_up_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ends while the database reads for it, as streams and calls past their deadline do, leaves no lock."""
    monkeypatch.setattr(engines, "_BUSY_TIMEOUT_SECONDS", 0.2)
    execute = Connection._execute

    async def and_leave(connection: Any, function: Any, *arguments: Any, **options: Any) -> Any:
        if not reading.done() and str(arguments[:1]).startswith("('SELECT"):
            reading.cancel()
        return await execute(connection, function, *arguments, **options)

    async with store_at("sqlite", tmp_path, "") as store:
        await put_policy(store, preset_policy(Preset.STRICT, "acme"))
        monkeypatch.setattr(Connection, "_execute", and_leave)
        reading = asyncio.create_task(store.events(EventFilter(), limit=10))
        (outcome,) = await asyncio.gather(reading, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)

        await put_policy(store, preset_policy(Preset.OPEN, "acme"))
