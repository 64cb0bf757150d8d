"""The ledger of pages, leases on orgs, and how far an org is covered and verified."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for name, kind in (
        ("covered_until", sa.BigInteger()),
        ("verified_until", sa.BigInteger()),
        ("last_caught_up", sa.BigInteger()),
        ("last_new_time", sa.BigInteger()),
        ("failing_since", sa.BigInteger()),
        ("lease_holder", text),
    ):
        op.add_column("orgs", sa.Column(name, kind, nullable=True))
    op.add_column("orgs", sa.Column("lease_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("update orgs set covered_until = last_event_time where next_link is not null")
    op.add_column("backfills", sa.Column("kind", text, nullable=False, server_default="backfill"))
    op.add_column("backfills", sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "pages",
        sa.Column("id", serial, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("backfill_id", sa.BigInteger(), nullable=True),
        sa.Column("opened", text, nullable=True),
        sa.Column("link_in", text, nullable=False),
        sa.Column("link_out", text, nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("hash", text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pages_chain", "pages", ["org", "backfill_id", "id"])
    op.create_index("ix_pages_until", "pages", ["org", "until"])
    op.create_table(
        "daemons",
        sa.Column("uid", text, nullable=False),
        sa.Column("fleet", text, nullable=False),
        sa.Column("process", text, nullable=False),
        sa.Column("alive_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uid"),
    )
