"""More of each record in columns of its own, exceptions, and what rules are still to be run over."""

import sqlalchemy as sa
import zstandard
from alembic import op

from poller.errors import MalformedEvent
from poller.normalize import normalize
from poller.raw import decompress

revision = "0003"
down_revision = "0002"

text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
instant = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
ADDED = {
    "device_token": text,
    "src_lat": sa.Double(),
    "src_lon": sa.Double(),
    "app_uid": text,
    "app_name": text,
    "target_uid": text,
    "target_type": text,
    "target_name": text,
    "target_user_uid": text,
    "target_user_name": text,
    "privilege": text,
    "request_uri": text,
    "risk_level": text,
    "threat_detections": text,
}
BATCH = 1000


def upgrade() -> None:
    for name, kind in ADDED.items():
        op.add_column("events", sa.Column(name, kind, nullable=True))
    op.create_table(
        "exceptions",
        sa.Column("id", serial, nullable=False),
        sa.Column("rule", text, nullable=True),
        sa.Column("org", text, nullable=True),
        sa.Column("user_name", text, nullable=True),
        sa.Column("network", text, nullable=True),
        sa.Column("reason", text, nullable=False),
        sa.Column("owner", text, nullable=False),
        sa.Column("created_time", instant, nullable=False),
        sa.Column("end_time", instant, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "rule_backlog",
        sa.Column("id", serial, nullable=False),
        sa.Column("org", text, nullable=False),
        sa.Column("rule", text, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("error", text, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_try_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rule_backlog_rule", "rule_backlog", ["org", "rule", "since"])
    op.add_column("finding_history", sa.Column("exception_id", sa.BigInteger(), nullable=True))
    op.add_column("findings", sa.Column("rule_version", text, nullable=True))
    fill(op.get_bind())
    op.create_index("ix_events_src_ip", "events", ["org", "src_ip", "time"])
    if op.get_bind().dialect.name == "sqlite":  # what the planner believes of it, as 0001 says of the others
        op.execute(
            "insert into sqlite_stat1 (tbl, idx, stat) values ('events', 'ix_events_src_ip', '5000000 500000 1000 2')"
        )


def fill(connection: sa.Connection) -> None:
    """The new columns of the events that are there, from their raw records."""
    events = sa.table("events", *(sa.column(name) for name in ("org", "uid", "raw", *ADDED)))
    key = sa.tuple_(events.c.org, events.c.uid)
    page = sa.select(events.c.org, events.c.uid, events.c.raw).order_by(events.c.org, events.c.uid).limit(BATCH)
    put = (
        sa.update(events)
        .where(events.c.org == sa.bindparam("_org"), events.c.uid == sa.bindparam("_uid"))
        .values({name: sa.bindparam(name) for name in ADDED})
    )
    rows = connection.execute(page).all()
    while rows:
        changed = []
        for org, uid, raw in rows:
            try:
                event = normalize(decompress(bytes(raw)))
            except (MalformedEvent, zstandard.ZstdError):  # what an older normalizer took, or a broken frame
                continue
            changed.append({"_org": org, "_uid": uid, **{name: getattr(event, name) for name in ADDED}})
        if changed:
            connection.execute(put, changed)
        rows = connection.execute(page.where(key > (rows[-1].org, rows[-1].uid))).all()
