"""What subscribers to policies need: a name for the store, and a list of who subscribes."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BYTEWISE = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")


def upgrade() -> None:
    """Name the store, and add the list, empty."""
    op.add_column("store", sa.Column("identity", sa.String(32), nullable=False, server_default=""))
    op.execute(sa.text("UPDATE store SET identity = :identity").bindparams(identity=uuid.uuid4().hex))
    op.create_table(
        "subscribers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("server", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("caller_id", BYTEWISE, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("organization", BYTEWISE, nullable=False),
        sa.Column("watched", sa.Text, nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_revision", sa.BigInteger, nullable=False),
        sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_revision", sa.BigInteger, nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_subscribers_server", "subscribers", ["server"])
    op.create_table(
        "subscriber_servers",
        sa.Column("server", sa.String(64), primary_key=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Forget both: subscribers begin anew with a snapshot."""
    op.drop_table("subscriber_servers")
    op.drop_table("subscribers")
    op.drop_column("store", "identity")
