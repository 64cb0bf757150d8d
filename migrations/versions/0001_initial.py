"""Events, quarantine, cursors, backfills and findings.

The views of poller/activities.sql are dropped before and made again after every upgrade by poller/migrate.py.
"""

import sqlalchemy as sa
from alembic import op

from poller.schema import Instant

revision = "0001"
down_revision = None

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "backfills",
        sa.Column("id", serial, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("asked", text, nullable=False),
        sa.Column("since_time", Instant(), nullable=False),
        sa.Column("until_time", Instant(), nullable=False),
        sa.Column("next_link", text, nullable=True),
        sa.Column("events_stored", sa.BigInteger(), nullable=False),
        sa.Column("started_time", Instant(), nullable=False),
        sa.Column("finished_time", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_backfills_org", "backfills", ["org", "asked"])
    op.create_table(
        "events",
        sa.Column("org", text, nullable=False),
        sa.Column("uid", text, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("event_type", text, nullable=True),
        sa.Column("outcome", text, nullable=True),
        sa.Column("outcome_reason", text, nullable=True),
        sa.Column("user_uid", text, nullable=True),
        sa.Column("user_name", text, nullable=True),
        sa.Column("actor_uid", text, nullable=True),
        sa.Column("actor_name", text, nullable=True),
        sa.Column("actor_type", text, nullable=True),
        sa.Column("src_ip", text, nullable=True),
        sa.Column("src_country", text, nullable=True),
        sa.Column("src_city", text, nullable=True),
        sa.Column("src_asn", sa.BigInteger(), nullable=True),
        sa.Column("src_as_org", text, nullable=True),
        sa.Column("is_proxy", sa.Boolean(), nullable=True),
        sa.Column("user_agent", text, nullable=True),
        sa.Column("device", text, nullable=True),
        sa.Column("factor", text, nullable=True),
        sa.Column("push_response", text, nullable=True),
        sa.Column("number_challenge_response", text, nullable=True),
        sa.Column("challenge_time", sa.BigInteger(), nullable=True),
        sa.Column("factor_intent", text, nullable=True),
        sa.Column("session_uid", text, nullable=True),
        sa.Column("root_session_uid", text, nullable=True),
        sa.Column("transaction_uid", text, nullable=True),
        sa.Column("authn_request_uid", text, nullable=True),
        sa.Column("behaviors", text, nullable=True),
        sa.Column("threat_suspected", sa.Boolean(), nullable=True),
        sa.Column("severity", text, nullable=True),
        sa.Column("message", text, nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("org", "uid", name="uq_events_org_uid"),
    )
    op.create_index("ix_events_kind", "events", ["org", "event_type", "time", "outcome"])
    op.create_index("ix_events_user", "events", ["org", "user_uid", "time"])
    op.create_index("ix_events_day", "events", [sa.text("(time / 86400000)")])
    op.create_table(
        "findings",
        sa.Column("uid", text, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("rule", text, nullable=False),
        sa.Column("title", text, nullable=False),
        sa.Column("severity", text, nullable=False),
        sa.Column("confidence", text, nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("user_uid", text, nullable=True),
        sa.Column("user_name", text, nullable=True),
        sa.Column("src_ips", sa.JSON(), nullable=False),
        sa.Column("summary", text, nullable=False),
        sa.Column("first_seen_time", Instant(), nullable=False),
        sa.Column("last_seen_time", Instant(), nullable=False),
        sa.Column("created_time", Instant(), nullable=False),
        sa.Column("modified_time", Instant(), nullable=False),
        sa.Column("trigger_uid", text, nullable=False),
        sa.Column("evidence_count", sa.Integer(), nullable=False),
        sa.Column("trigger_time", sa.BigInteger(), nullable=False),
        sa.Column("superseded_time", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("uid"),
    )
    op.create_index("ix_findings_last_seen", "findings", ["last_seen_time"])
    op.create_index("ix_findings_slice", "findings", ["org", "rule", "trigger_time"])
    op.create_table(
        "orgs",
        sa.Column("org", text, nullable=False),
        sa.Column("next_link", text, nullable=True),
        sa.Column("last_event_time", sa.BigInteger(), nullable=True),
        sa.Column("last_poll_time", Instant(), nullable=True),
        sa.Column("caught_up_time", Instant(), nullable=True),
        sa.Column("pruned_before", sa.BigInteger(), nullable=True),
        sa.Column("last_error", text, nullable=True),
        sa.Column("last_error_time", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("org"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", serial, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("received_time", Instant(), nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("raw_hash", text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("org", "raw_hash", name="uq_quarantine_org_raw_hash"),
    )
    op.create_table(
        "finding_evidence",
        sa.Column("finding_uid", text, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("event_uid", text, nullable=False),
        sa.Column("role", text, nullable=False),
        sa.ForeignKeyConstraint(["finding_uid"], ["findings.uid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("finding_uid", "event_uid", "role"),
    )
    op.create_index("ix_finding_evidence_event", "finding_evidence", ["org", "event_uid"])
    op.create_table(
        "finding_history",
        sa.Column("id", serial, nullable=False),
        sa.Column("finding_uid", text, nullable=False),
        sa.Column("time", Instant(), nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("reason", text, nullable=True),
        sa.Column("comment", text, nullable=True),
        sa.ForeignKeyConstraint(["finding_uid"], ["findings.uid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_finding_history_finding", "finding_history", ["finding_uid", "time"])
    if op.get_bind().dialect.name == "sqlite":
        # Fixed planner statistics, those of an org with millions of events: SQLite then takes the same good plan with
        # ten rows as with ten million, and never needs an `analyze`. Postgres keeps its own.
        op.execute("analyze sqlite_schema")
        op.execute("delete from sqlite_stat1 where tbl = 'events'")
        op.execute(
            "insert into sqlite_stat1 (tbl, idx, stat) values"
            " ('events', 'sqlite_autoindex_events_1', '5000000 500000 1'),"
            " ('events', 'ix_events_kind', '5000000 500000 20000 2 1'),"
            " ('events', 'ix_events_user', '5000000 500000 500 2'),"
            " ('events', 'ix_events_day', '5000000 50000')"
        )
