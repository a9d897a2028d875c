"""The tables, as the newest migration leaves them."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Dialect, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = "0005"
"""The newest migration; a start needs no more than this to see that a database is up to date."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. SQLite keeps no time zones, so every moment is stored in UTC and read back as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def bytewise(length: int = 255) -> String:
    """A name. Names are compared byte by byte, whatever the database's language."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("token_key_check", String(64), nullable=False, server_default=""),
    Column("identity", String(32), nullable=False, server_default=""),
)
"""One row. Its revision is taken with the row locked, which is what puts revisions in commit order.

Its identity names the store to those who follow it.
token_key_check tells the key that token hashes are made with from others; empty until there is one.
"""

policies = Table(
    "policies",
    metadata,
    Column("organization", bytewise(), primary_key=True),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)
"""The newest policy of each organization, as a JSON document."""

category_pins = Table(
    "category_pins",
    metadata,
    Column("organization", bytewise(), primary_key=True),
    Column("name", bytewise(), primary_key=True),
    Column("category", String(32), nullable=False),
    Column("community_class", String(32), nullable=True),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
)
"""The pins: an organization's own, and with an empty organization those for every one."""

members = Table(
    "members",
    metadata,
    Column("organization", bytewise(), primary_key=True),
    Column("username", bytewise(), primary_key=True),
    Column("document", Text, nullable=False),
)
"""The member lists. The document has what events tell of a member."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("former_hash", String(64), nullable=False),
    Column("former_until", UtcDateTime, nullable=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("organization", bytewise(), nullable=False),
    Column("username", bytewise(), nullable=False),
    Column("may_assert_roles", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    Column("last_used_at", UtcDateTime, nullable=True),
)
"""Tokens, those that have ended included. Of a secret only a keyed hash is kept."""

events = Table(
    "events",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", String(16), nullable=False),
    Column("organization", bytewise(), nullable=False),
    Column("name", bytewise(), nullable=False),
    Column("before", Text, nullable=True),
    Column("after", Text, nullable=True),
    Column("author", Text, nullable=False),
    Column("caller_id", bytewise(), nullable=False),
    Column("origin", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    Column("request_id", bytewise(), nullable=True),
    Column("request_digest", String(64), nullable=True),
    Index("ix_events_name", "subject", "name", "revision"),
    Index("ix_events_organization", "organization", "revision"),
    Index("ix_events_request", "caller_id", "request_id", unique=True),
)
"""Every write that was ever committed, one row a revision; what was and what is as JSON. Rows are never changed."""

category_knowledge = Table(
    "category_knowledge",
    metadata,
    Column("source", bytewise(), primary_key=True),
    Column("namespace", bytewise(), primary_key=True),
    Column("category", String(32), nullable=False),
    Column("community_class", String(32), nullable=True),
    Column("detail", Text, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False, index=True),
    Column("change", BigInteger, nullable=False, index=True),
)
"""What category sources have said. Its change is the number under which it was last anything new."""

category_changes = Table(
    "category_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("newest", BigInteger, nullable=False),
)
"""One row. Its number is taken with the row locked, which is what puts changes in commit order."""

subscribers = Table(
    "subscribers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("server", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("caller_id", bytewise(), nullable=False),
    Column("caller", Text, nullable=False),
    Column("organization", bytewise(), nullable=False),
    Column("watched", Text, nullable=False),
    Column("connected_at", UtcDateTime, nullable=False),
    Column("sent_revision", BigInteger, nullable=False),
    Column("waiting_since", UtcDateTime, nullable=True),
    Column("applied_revision", BigInteger, nullable=False),
    Column("applied_at", UtcDateTime, nullable=True),
    Column("error", Text, nullable=False),
    Column("left_at", UtcDateTime, nullable=True),
)
"""Who subscribes to policies, as the server that it is connected to last wrote it down. Not part of any revision."""

subscriber_servers = Table(
    "subscriber_servers",
    metadata,
    Column("server", String(64), primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
)
"""The servers that subscribers are connected to. What one leaves behind that is not seen any more is taken away."""
