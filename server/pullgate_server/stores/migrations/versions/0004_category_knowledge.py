"""What category sources have said, so that a restart during an outage forgets nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BYTEWISE = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")


def upgrade() -> None:
    """Add the knowledge, empty."""
    op.create_table(
        "category_knowledge",
        sa.Column("source", BYTEWISE, primary_key=True),
        sa.Column("namespace", BYTEWISE, primary_key=True),
        sa.Column("category", sa.String(32), nullable=False),
        sa.Column("community_class", sa.String(32), nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_category_knowledge_change", "category_knowledge", ["change"])
    op.create_index("ix_category_knowledge_checked_at", "category_knowledge", ["checked_at"])
    changes = op.create_table(
        "category_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("newest", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(changes, [{"id": 1, "newest": 0}])


def downgrade() -> None:
    """Forget it: sources can be asked again."""
    op.drop_table("category_changes")
    op.drop_table("category_knowledge")
