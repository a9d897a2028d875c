"""Members, tokens of every role, and changes as administrative events: who, from where, before and after."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BYTEWISE = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")

APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER events_stay_{verb} BEFORE {verb} ON events BEGIN SELECT RAISE(ABORT, 'never changed'); END"
        for verb in ("UPDATE", "DELETE")
    ]
    + [
        # INSERT OR REPLACE would delete without a trigger.
        """CREATE TRIGGER events_stay_REPLACE BEFORE INSERT ON events
        WHEN EXISTS (SELECT 1 FROM events WHERE revision = NEW.revision)
        BEGIN SELECT RAISE(ABORT, 'never changed'); END"""
    ],
    "postgresql": [
        """CREATE FUNCTION events_stay() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'never changed'; END $$""",
        """CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION events_stay()""",
    ],
}
"""What makes the table of events append-only, whoever writes to the database."""


def upgrade() -> None:
    """Add what administration needs, and carry over what is there."""
    op.add_column("store", sa.Column("token_key_check", sa.String(64), nullable=False, server_default=""))
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("policies", "organization", type_=BYTEWISE)
        op.alter_column("category_pins", "name", type_=BYTEWISE)
    op.create_table(
        "members",
        sa.Column("organization", BYTEWISE, primary_key=True),
        sa.Column("username", BYTEWISE, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    _upgrade_tokens()
    _upgrade_changes()


def downgrade() -> None:
    """Back to policies and pins. What the older schema has no place for is lost: members, tokens, origins."""
    _downgrade_changes()
    _downgrade_tokens()
    op.drop_table("members")
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("policies", "organization", type_=sa.String(255))
        op.alter_column("category_pins", "name", type_=sa.String(255))
    with op.batch_alter_table("store") as store:
        store.drop_column("token_key_check")


def _upgrade_tokens() -> None:
    op.rename_table("tokens", "former_tokens")
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("former_hash", sa.String(64), nullable=False),
        sa.Column("former_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("organization", BYTEWISE, nullable=False),
        sa.Column("username", BYTEWISE, nullable=False),
        sa.Column("may_assert_roles", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
    )
    # Part of the hash names a token that had no name of its own: enough to tell them apart, and nothing to guess from.
    op.execute(
        "INSERT INTO tokens (id, secret_hash, former_hash, name, role, organization, username, may_assert_roles, "
        "created_at, created_by) SELECT 'tok_' || substr(token_hash, 1, 12), token_hash, '', name, role, '', '', "
        "false, created_at, '' FROM former_tokens"
    )
    op.drop_table("former_tokens")


def _downgrade_tokens() -> None:
    op.rename_table("tokens", "later_tokens")
    op.create_table(
        "tokens",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    # None is carried over: their hashes are made with a key that the older version knows nothing of. Its next start
    # makes an operator's token.
    op.drop_table("later_tokens")


def _upgrade_changes() -> None:
    op.create_table(
        "events",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("subject", sa.String(16), nullable=False),
        sa.Column("organization", BYTEWISE, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("before", sa.Text, nullable=True),
        sa.Column("after", sa.Text, nullable=True),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("caller_id", BYTEWISE, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", BYTEWISE, nullable=True),
        sa.Column("request_digest", sa.String(64), nullable=True),
    )
    op.create_index("ix_events_name", "events", ["subject", "name", "revision"])
    op.create_index("ix_events_organization", "events", ["organization", "revision"])
    op.create_index("ix_events_request", "events", ["caller_id", "request_id"], unique=True)
    op.execute(
        "INSERT INTO events (revision, subject, organization, name, before, after, author, caller_id, origin, comment, "
        "written_at) SELECT revision, kind, CASE WHEN kind = 'policy' THEN name ELSE '' END, name, "
        "(SELECT earlier.document FROM changes AS earlier WHERE earlier.kind = changes.kind "
        "AND earlier.name = changes.name AND earlier.revision < changes.revision "
        "ORDER BY earlier.revision DESC LIMIT 1), document, author, '', '', comment, written_at FROM changes"
    )
    op.drop_table("changes")
    for statement in APPEND_ONLY[op.get_context().dialect.name]:
        op.execute(statement)


def _downgrade_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("document", sa.Text, nullable=True),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(
        "INSERT INTO changes (revision, kind, name, document, author, comment, written_at) SELECT revision, subject, "
        "name, after, author, comment, written_at FROM events WHERE subject IN ('policy', 'category_pin')"
    )
    op.drop_table("events")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_stay()")
