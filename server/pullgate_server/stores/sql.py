"""The store in a relational database, through SQLAlchemy. engines.py has what differs between databases."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Row, Select, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pullgate_policy import Policy, parse_policy
from pullgate_policy.access_token import AccessToken, CallerRole
from pullgate_policy.event import AdministrativeEvent, EventSubject
from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_server.errors import OutcomeUnknownError, RequestIdReusedError, StoreUnavailableError
from pullgate_server.stores import schema
from pullgate_server.stores.documents import (
    Document,
    changed_entries,
    contents_of_events,
    event_of,
    fingerprint,
    first_event,
    members_from_entries,
    pin_document,
    pin_from_document,
    policy_document,
    token_document,
)
from pullgate_server.stores.engines import transaction_options
from pullgate_server.stores.port import Authorship, EventFilter, MemberList, StoreContents, StoredToken, Written

_DEFECTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a database says about a statement that is wrong, which trying again would not mend."""


CLOSING_SECONDS = 3.0
"""How long to wait, at the end, for transactions that are under way, and then for connections to close."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _to_the_end(
    method: "Callable[Concatenate[SqlStore, Arguments], Coroutine[Any, Any, Result]]",
) -> "Callable[Concatenate[SqlStore, Arguments], Coroutine[Any, Any, Result]]":
    """Let a transaction come to its end though nobody waits for it any more.

    A cancelled one would leave its connection as it is until the garbage collector comes by, and on SQLite an open
    read keeps every write out for as long.
    """

    @functools.wraps(method)
    async def run(store: "SqlStore", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        task = asyncio.ensure_future(method(store, *args, **kwargs))
        store.running.add(task)
        task.add_done_callback(store.ended)
        return await asyncio.shield(task)

    return run


class SqlStore:
    """Implements `Store` on an engine whose database is up to date. Owns the engine from then on.

    Attributes:
        running: the transactions that have not come to their end.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.running: set[asyncio.Future[Any]] = set()
        self._writing = asyncio.Lock()

    def ended(self, transaction: "asyncio.Future[Any]") -> None:
        """Forget a transaction; what went wrong is for who waits for it, if anybody does."""
        self.running.discard(transaction)
        if not transaction.cancelled():
            transaction.exception()

    @_to_the_end
    async def read(self, since: int | None) -> StoreContents:
        """What was written after `since`, or everything, in one transaction."""
        async with self._transaction() as connection:
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

    @_to_the_end
    async def revision(self) -> int:
        """The revision of the newest write."""
        async with self._transaction() as connection:
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
            await connection.execute(delete(table).where(its))
            if after is not None:
                values = {"organization": organization, "revision": revision, "document": _json(after)}
                await connection.execute(insert(table).values(**values, comment=event.comment, **_signature(event)))
            return event

        return _made(await self._write(apply, authorship))

    async def write_pin(
        self, name: str, change: Callable[[CategoryPin | None], CategoryPin | None], authorship: Authorship
    ) -> Written:
        """Set a pin, or take it back."""
        table = schema.category_pins

        async def apply(connection: AsyncConnection, revision: int) -> AdministrativeEvent:
            row = (await connection.execute(select(table).where(table.c.name == name))).one_or_none()
            current = None if row is None else _pin(row)
            before, after = (None if item is None else pin_document(item) for item in (current, change(current)))
            event = event_of(revision, EventSubject.CATEGORY_PIN, "", name, before, after, authorship)
            await connection.execute(delete(table).where(table.c.name == name))
            if after is not None:
                await connection.execute(insert(table).values(name=name, **after, **_signature(event)))
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

    @_to_the_end
    async def begin(self, token: StoredToken) -> bool:
        """Keep the first token."""
        async with self._transaction(writes=True) as connection:
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

    @_to_the_end
    async def adopt_token_key(self, check: str, rehash: Callable[[str], str]) -> str:
        """Bind the store to the key that token hashes are made with, once."""
        async with self._transaction(writes=True) as connection:
            await connection.execute(update(schema.store).values(revision=schema.store.c.revision))
            bound = str(await connection.scalar(select(schema.store.c.token_key_check)))
            if bound:
                return bound
            await connection.execute(update(schema.store).values(token_key_check=check))
            for stored in await _tokens(connection, None):
                hashed = update(schema.tokens).where(schema.tokens.c.id == stored.token.id)
                await connection.execute(hashed.values(secret_hash=rehash(stored.secret_hash)))
        return check

    @_to_the_end
    async def events(self, wanted: EventFilter, limit: int) -> Sequence[AdministrativeEvent]:
        """Events that fit."""
        async with self._transaction() as connection:
            rows = await connection.execute(_that_fit(select(schema.events), wanted, limit))
            return [_event(row) for row in rows]

    @_to_the_end
    async def event_sizes(self, wanted: EventFilter, limit: int) -> Sequence[int]:
        """About how large they are."""
        documents = (schema.events.c.before, schema.events.c.after)
        before, after = (func.coalesce(func.length(document), 0) for document in documents)
        async with self._transaction() as connection:
            return list(await connection.scalars(_that_fit(select(before + after), wanted, limit)))

    @_to_the_end
    async def tokens_used(self, used: Mapping[str, datetime]) -> None:
        """Note when tokens were last used."""
        async with self._transaction(writes=True) as connection:
            for token_id, moment in sorted(used.items()):
                await connection.execute(
                    update(schema.tokens).where(schema.tokens.c.id == token_id).values(last_used_at=moment)
                )

    @_to_the_end
    async def tokens(self) -> Sequence[StoredToken]:
        """All tokens."""
        async with self._transaction() as connection:
            return await _tokens(connection, None)

    async def close(self) -> None:
        """Close all connections, once what is under way has come to its end."""
        if self.running:
            await asyncio.wait(self.running, timeout=CLOSING_SECONDS)
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._engine.dispose()
        except TimeoutError:
            # A database that does not answer would be said goodbye to one connection after another.
            await self._engine.dispose(close=False)

    @_to_the_end
    async def _write(
        self, apply: Callable[[AsyncConnection, int], Awaitable[AdministrativeEvent | None]], authorship: Authorship
    ) -> Written | None:
        """Carry out a write and keep its event, unless the same request did so before, or it changes nothing."""
        # Writes wait for each other in any case; here they do so in turn, and without a connection each.
        async with self._writing, self._transaction(writes=True) as connection:
            revision = await _next_revision(connection)
            done = await _done(connection, authorship)
            event = await apply(connection, revision) if done is None else None
            if event is None:
                # Gives the revision back, which nothing was written under.
                await connection.rollback()
                return done
            await _keep(connection, event, authorship)
        return Written(event=event)

    @asynccontextmanager
    async def _transaction(self, *, writes: bool = False) -> AsyncIterator[AsyncConnection]:
        committing = False
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(**transaction_options(self._engine, writes=writes))
                async with connection.begin():
                    yield connection
                    committing = writes
        except _DEFECTS:
            raise
        except (DBAPIError, PoolTimeoutError, OSError, TimeoutError) as error:
            raise (OutcomeUnknownError if committing else StoreUnavailableError) from error
        except SQLAlchemyError as error:
            if not committing:
                raise
            raise OutcomeUnknownError from error


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
    statement = update(schema.store).values(revision=schema.store.c.revision + 1).returning(schema.store.c.revision)
    return int((await connection.execute(statement)).scalar_one())


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
        pins={row.name: _pin(row) for row in pins},
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


def _pin(row: Row[Any]) -> CategoryPin:
    words: Document = {
        "category": row.category,
        "community_class": row.community_class,
        "reason": row.reason,
    }
    return pin_from_document(row.name, words, row.author, row.written_at)


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
