"""The store in a relational database, through SQLAlchemy. engines.py has what differs between databases."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pullgate_policy import Category, CommunityClass, Policy, parse_policy
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member, MemberList
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.errors import RequestIdReusedError
from pullgate_server.stores import schema
from pullgate_server.stores.documents import (
    changed_entries,
    contents_of_events,
    event_of,
    fingerprint,
    fingerprint_of,
    first_event,
    members_from_entries,
    pin_document,
    pin_of_event,
    policy_document,
    token_document,
)
from pullgate_server.stores.hints import REVISION, telling
from pullgate_server.stores.port import Authorship, EventFilter, StoreContents, StoredToken, Written
from pullgate_server.stores.transactions import SqlTransactions, to_the_end

MAX_OWN_REVISIONS = 64
"""More than are ever between a commit and its hint."""


class SqlStore(SqlTransactions):
    """Implements `Store` on an engine whose database is up to date. Owns the engine from then on.

    Attributes:
        on_written: called when a write through this store has been committed.
        own_revisions: the last ones that were taken through this store, but for those that came to nothing.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.own_revisions: set[int] = set()
        self.on_written: Callable[[], None] = lambda: None

    @to_the_end
    async def read(self, since: int | None) -> StoreContents:
        """What was written after `since`, or everything, in one transaction."""
        async with self.transaction() as connection:
            revision = await _current_revision(connection)
            if since is None:
                return await _everything(connection, revision)
            rows = await connection.execute(
                select(schema.events).where(schema.events.c.revision >= since).order_by(schema.events.c.revision)
            )
            events = [_event(row) for row in rows]
            ids = {event.name for event in events if event.subject is EventSubject.TOKEN}
            tokens = await _tokens(connection, ids) if ids else []
            return contents_of_events(revision, since, events, {stored.token.id: stored for stored in tokens})

    @to_the_end
    async def identity(self) -> str:
        """Names the store."""
        async with self.transaction() as connection:
            return str(await connection.scalar(select(schema.store.c.identity)))

    @to_the_end
    async def revision(self) -> int:
        """The revision of the newest write."""
        async with self.transaction() as connection:
            return await _current_revision(connection)

    async def write_policy(
        self, organization: str, change: Callable[[StoredPolicy | None], Policy | None], authorship: Authorship
    ) -> Written:
        """Write an organization's policy, or take it away."""
        table = schema.policies

        async def apply(connection: AsyncConnection, revision: int) -> AdministrativeEvent:
            its = table.c.organization == organization
            row = (await connection.execute(select(table).where(its))).one_or_none()
            current = None if row is None else _stored_policy(row)
            policy = change(current)
            before = None if current is None else policy_document(current.policy)
            after = None if policy is None else policy_document(policy)
            event = event_of(revision, EventSubject.POLICY, organization, organization, before, after, authorship)
            if after is None:
                await connection.execute(delete(table).where(its))
                return event
            values = {"revision": revision, "document": _json(after), "comment": event.comment, **_signature(event)}
            if current is None:
                await connection.execute(insert(table).values(organization=organization, **values))
            else:
                await connection.execute(update(table).where(its).values(**values))
            return event

        return _made(await self._write(apply, authorship))

    async def write_pin(
        self,
        organization: str,
        name: str,
        change: Callable[[CategoryPin | None], CategoryPin | None],
        authorship: Authorship,
    ) -> Written:
        """Set a pin, or take it back."""
        table = schema.category_pins

        async def apply(connection: AsyncConnection, revision: int) -> AdministrativeEvent:
            this = (table.c.organization == organization) & (table.c.name == name)
            row = (await connection.execute(select(table).where(this))).one_or_none()
            current = None if row is None else _pin(row)
            pin = change(current)
            before, after = (None if item is None else pin_document(item) for item in (current, pin))
            event = event_of(revision, EventSubject.CATEGORY_PIN, organization, name, before, after, authorship)
            await connection.execute(delete(table).where(this))
            if pin is not None:
                await connection.execute(insert(table).values(**_pin_row(pin_of_event(event))))
            return event

        return _made(await self._write(apply, authorship))

    async def write_members(
        self, organization: str, change: Callable[[MemberList], MemberList], authorship: Authorship
    ) -> Written | None:
        """Write an organization's member list."""
        table = schema.members

        async def apply(connection: AsyncConnection, revision: int) -> AdministrativeEvent | None:
            rows = await connection.execute(select(table).where(table.c.organization == organization))
            current = {row.username: _member(row) for row in rows}
            before, after = changed_entries(current, change(current))
            outdated = [{"name": name} for name in after if name in current]
            if outdated:
                one = (table.c.organization == organization, table.c.username == bindparam("name"))
                await connection.execute(delete(table).where(*one), outdated)
            wanted = [
                {"organization": organization, "username": name, "document": _json(entry)}
                for name, entry in after.items()
                if entry is not None
            ]
            if wanted:
                await connection.execute(insert(table), wanted)
            if not after:
                return None
            return event_of(revision, EventSubject.MEMBERS, organization, organization, before, after, authorship)

        return await self._write(apply, authorship)

    async def write_token(
        self, token_id: str, change: Callable[[StoredToken | None], StoredToken], authorship: Authorship
    ) -> Written:
        """Write a token."""
        table = schema.tokens

        async def apply(connection: AsyncConnection, revision: int) -> AdministrativeEvent:
            current = next(iter(await _tokens(connection, {token_id})), None)
            stored = change(current)
            await connection.execute(delete(table).where(table.c.id == token_id))
            await connection.execute(insert(table).values(**_token_row(stored)))
            before = None if current is None else token_document(current)
            whose = stored.token.organization
            return event_of(revision, EventSubject.TOKEN, whose, token_id, before, token_document(stored), authorship)

        return _made(await self._write(apply, authorship))

    @to_the_end
    async def begin(self, token: StoredToken) -> bool:
        """Keep the first token."""
        async with self.transaction(writes=True) as connection:
            # Locks the row, so that servers that start together on one database agree on who is first.
            await connection.execute(update(schema.store).values(revision=schema.store.c.revision))
            begun = select(func.count()).select_from(schema.events).where(schema.events.c.revision == 0)
            if await connection.scalar(select(func.count()).select_from(schema.tokens)) or await connection.scalar(
                begun
            ):
                return False
            await connection.execute(insert(schema.tokens).values(**_token_row(token)))
            event = first_event(token)
            await connection.execute(insert(schema.events).values(**_event_row(event)))
        return True

    @to_the_end
    async def adopt_token_key(self, check: str, rehash: Callable[[str], str]) -> str:
        """Bind the store to the key that token hashes are made with, once."""
        async with self.transaction(writes=True) as connection:
            await connection.execute(update(schema.store).values(revision=schema.store.c.revision))
            bound = str(await connection.scalar(select(schema.store.c.token_key_check)))
            if bound:
                return bound
            await connection.execute(update(schema.store).values(token_key_check=check))
            for stored in await _tokens(connection, None):
                hashed = update(schema.tokens).where(schema.tokens.c.id == stored.token.id)
                await connection.execute(hashed.values(secret_hash=rehash(stored.secret_hash)))
        return check

    @to_the_end
    async def events(self, wanted: EventFilter, limit: int) -> Sequence[AdministrativeEvent]:
        """Events that fit."""
        async with self.transaction() as connection:
            rows = await connection.execute(_that_fit(select(schema.events), wanted, limit))
            return [_event(row) for row in rows]

    @to_the_end
    async def event_sizes(self, wanted: EventFilter, limit: int) -> Sequence[int]:
        """About how large they are."""
        documents = (schema.events.c.before, schema.events.c.after)
        before, after = (func.coalesce(func.length(document), 0) for document in documents)
        async with self.transaction() as connection:
            return list(await connection.scalars(_that_fit(select(before + after), wanted, limit)))

    @to_the_end
    async def tokens_used(self, used: Mapping[str, datetime]) -> None:
        """Note when tokens were last used."""
        async with self.transaction(writes=True) as connection:
            for token_id, moment in sorted(used.items()):
                await connection.execute(
                    update(schema.tokens).where(schema.tokens.c.id == token_id).values(last_used_at=moment)
                )

    @to_the_end
    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        async with self.transaction() as connection:
            return await _tokens(connection, None)

    @to_the_end
    async def _write(
        self, apply: Callable[[AsyncConnection, int], Awaitable[AdministrativeEvent | None]], authorship: Authorship
    ) -> Written | None:
        """Carry out a write and keep its event, unless the same request did so before, or it changes nothing."""
        revision = 0
        try:
            async with self.writing, self.transaction(writes=True) as connection:
                revision = await _next_revision(connection)
                self.own_revisions.add(revision)
                done = await _done(connection, authorship)
                follows = await _fingerprint_at(connection, revision - 1) if done is None else ""
                event = await apply(connection, revision) if done is None else None
                if event is None:
                    # Gives the revision back, which nothing was written under.
                    self.own_revisions.discard(revision)
                    await connection.rollback()
                    return done
                await _keep(connection, event, authorship)
        except BaseException:
            # Whoever commits under this number is another one, or it is not known who.
            self.own_revisions.discard(revision)
            raise
        self.on_written()
        while len(self.own_revisions) > MAX_OWN_REVISIONS:
            self.own_revisions.discard(min(self.own_revisions))
        return Written(event=event, follows=follows)


def _that_fit(statement: Select[Any], wanted: EventFilter, limit: int) -> Select[Any]:
    """What a statement gives of events that are wanted, in the order that the port promises."""
    table = schema.events
    order = table.c.revision if wanted.after is not None else table.c.revision.desc()
    if wanted.organization is not None:
        statement = statement.where(table.c.organization == wanted.organization)
    if wanted.subject is not None:
        statement = statement.where(table.c.subject == wanted.subject.value)
    if wanted.name is not None:
        statement = statement.where(table.c.name == wanted.name)
    if wanted.before is not None:
        statement = statement.where(table.c.revision < wanted.before)
    if wanted.after is not None:
        statement = statement.where(table.c.revision > wanted.after)
    return statement.order_by(order).limit(limit)


async def _current_revision(connection: AsyncConnection) -> int:
    return int(await connection.scalar(select(schema.store.c.revision)) or 0)


async def _next_revision(connection: AsyncConnection) -> int:
    """Take the next revision; the row stays locked until the transaction ends."""
    revision = schema.store.c.revision
    statement = update(schema.store).values(revision=revision + 1)
    taken = await connection.execute(statement.returning(revision, *telling(connection, REVISION, revision)))
    return int(taken.scalar_one())


async def _fingerprint_at(connection: AsyncConnection, revision: int) -> str:
    """What tells the write at a revision from others; empty where there was none."""
    table = schema.events
    # Without its documents, which may be large.
    columns = (table.c.written_at, table.c.caller_id, table.c.subject, table.c.organization, table.c.name)
    row = (await connection.execute(select(*columns).where(table.c.revision == revision))).one_or_none()
    if row is None:
        return ""
    return fingerprint_of(row.written_at, row.caller_id, EventSubject(row.subject), row.organization, row.name)


async def _done(connection: AsyncConnection, authorship: Authorship) -> Written | None:
    """The write that the same request made before; raises RequestIdReusedError."""
    request, table = authorship.request, schema.events
    if request is None:
        return None
    statement = select(table).where(table.c.caller_id == authorship.caller_id, table.c.request_id == request.id)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if row.request_digest != request.digest:
        raise RequestIdReusedError
    return Written(event=_event(row), repeated=True)


def _made(written: Written | None) -> Written:
    assert written is not None  # noqa: S101 - only writes of member lists may change nothing
    return written


async def _keep(connection: AsyncConnection, event: AdministrativeEvent, authorship: Authorship) -> None:
    request = authorship.request
    await connection.execute(
        insert(schema.events).values(
            **_event_row(event),
            request_id=None if request is None else request.id,
            request_digest=None if request is None else request.digest,
        )
    )


async def _everything(connection: AsyncConnection, revision: int) -> StoreContents:
    policies = await connection.execute(select(schema.policies))
    pins = await connection.execute(select(schema.category_pins))
    members: dict[str, dict[str, Member | None]] = {}
    for row in await connection.execute(select(schema.members)):
        members.setdefault(row.organization, {})[row.username] = _member(row)
    newest = (await connection.execute(select(schema.events).where(schema.events.c.revision == revision))).one_or_none()
    return StoreContents(
        revision=revision,
        newest=fingerprint(None if newest is None else _event(newest)),
        at_since="",
        policies={row.organization: _stored_policy(row) for row in policies},
        pins={(row.organization, row.name): _pin(row) for row in pins},
        members=members,
        tokens={stored.token.id: stored for stored in await _tokens(connection, None)},
    )


async def _tokens(connection: AsyncConnection, ids: set[str] | None) -> Sequence[StoredToken]:
    table = schema.tokens
    statement = select(table).order_by(table.c.created_at, table.c.id)
    if ids is not None:
        statement = statement.where(table.c.id.in_(sorted(ids)))
    return [_stored_token(row) for row in await connection.execute(statement)]


def _json(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


def _signature(event: AdministrativeEvent) -> dict[str, Any]:
    return {"author": event.author, "written_at": event.written_at}


def _event_row(event: AdministrativeEvent) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "subject": event.subject.value,
        "organization": event.organization,
        "name": event.name,
        "before": None if event.before is None else _json(event.before),
        "after": None if event.after is None else _json(event.after),
        "author": event.author,
        "caller_id": event.caller_id,
        "origin": event.origin,
        "comment": event.comment,
        "written_at": event.written_at,
    }


def _event(row: Row[Any]) -> AdministrativeEvent:
    values: dict[str, Any] = {column: getattr(row, column) for column in _columns(schema.events)}
    values["subject"] = EventSubject(values["subject"])
    for side in ("before", "after"):
        values[side] = None if values[side] is None else json.loads(values[side])
    del values["request_id"], values["request_digest"]
    return AdministrativeEvent(**values)


def _stored_policy(row: Row[Any]) -> StoredPolicy:
    return StoredPolicy(
        policy=parse_policy(json.loads(row.document)),
        revision=row.revision,
        author=row.author,
        written_at=row.written_at,
        comment=row.comment,
    )


def _pin_row(pin: CategoryPin) -> dict[str, Any]:
    values = {column: getattr(pin, column) for column in _columns(schema.category_pins)}
    community_class = None if pin.community_class is None else pin.community_class.name
    return {**values, "category": pin.category.name, "community_class": community_class}


def _pin(row: Row[Any]) -> CategoryPin:
    values: dict[str, Any] = {column: getattr(row, column) for column in _columns(schema.category_pins)}
    community_class = None if row.community_class is None else CommunityClass[row.community_class]
    return CategoryPin(**{**values, "category": Category[row.category], "community_class": community_class})


def _member(row: Row[Any]) -> Member:
    member = members_from_entries({row.username: json.loads(row.document)})[row.username]
    assert member is not None  # noqa: S101 - rows of members are never null
    return member


def _token_row(stored: StoredToken) -> dict[str, Any]:
    values = {column: getattr(stored.token, column) for column in _columns(schema.tokens) if column not in _SECRETS}
    values |= {column: getattr(stored, column) for column in _SECRETS}
    return {**values, "role": stored.token.role.value}


def _stored_token(row: Row[Any]) -> StoredToken:
    values: dict[str, Any] = {column: getattr(row, column) for column in _columns(schema.tokens)}
    secrets = {column: values.pop(column) for column in _SECRETS}
    return StoredToken(token=AccessToken(**{**values, "role": CallerRole(values["role"])}), **secrets)


def _columns(table: Table) -> Sequence[str]:
    return table.columns.keys()


_SECRETS = ("secret_hash", "former_hash", "former_until")
"""The columns of a token that are StoredToken's; the others are AccessToken's, by the same names."""
