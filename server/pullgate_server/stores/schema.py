"""The tables, as the newest migration leaves them."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = "0001"
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


metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
"""One row. Its revision is taken with the row locked, which is what puts revisions in commit order."""

policies = Table(
    "policies",
    metadata,
    Column("organization", String(255), primary_key=True),
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
    Column("name", String(255), primary_key=True),
    Column("category", String(32), nullable=False),
    Column("community_class", String(32), nullable=True),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("document", Text, nullable=True),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)
"""Every write that was ever committed: one row a revision. A document that is NULL means that the thing is gone."""

tokens = Table(
    "tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
