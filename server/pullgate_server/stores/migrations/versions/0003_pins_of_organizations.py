"""Pins of organizations, and pins that expire. Events from before say nothing of that, and are read as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BYTEWISE = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")


def upgrade() -> None:
    """Every pin that is there holds for every organization, and does not expire."""
    _rebuild(
        [
            sa.Column("organization", BYTEWISE, primary_key=True),
            sa.Column("name", BYTEWISE, primary_key=True),
            sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        ],
        "INSERT INTO category_pins (organization, name, category, community_class, reason, author, written_at) "
        "SELECT '', name, category, community_class, reason, author, written_at FROM former_pins",
    )


def downgrade() -> None:
    """Keep the pins for every organization, expired ones too, and none of them expires from then on.

    The older schema has no place for organizations' own pins, so these are dropped; their events stay.
    """
    _rebuild(
        [sa.Column("name", BYTEWISE, primary_key=True)],
        "INSERT INTO category_pins (name, category, community_class, reason, author, written_at) "
        "SELECT name, category, community_class, reason, author, written_at FROM former_pins WHERE organization = ''",
    )


def _rebuild(columns: list[sa.Column[str]], copy: str) -> None:
    # No SQLite changes a primary key in place.
    op.rename_table("category_pins", "former_pins")
    op.create_table(
        "category_pins",
        *columns,
        sa.Column("category", sa.String(32), nullable=False),
        sa.Column("community_class", sa.String(32), nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(copy)
    op.drop_table("former_pins")
