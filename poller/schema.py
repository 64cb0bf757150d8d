"""The tables, in SQLAlchemy Core. `migrations/` builds exactly these; `activities.sql` lays one view per activity over
them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

from poller.text import iso

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """An aware datetime: a timestamp with time zone on Postgres, on SQLite text (`2026-11-01T09:00:00.000Z`)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return iso(value) if value is not None and dialect.name != "postgresql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


# Ids are opaque and mix cases: text is compared byte by byte on both databases (SQLite does so by itself).
_text = Text().with_variant(Text(collation="C"), "postgresql")
_serial = BigInteger().with_variant(Integer(), "sqlite")

DAY_OF_TIME = "(time / 86400000)"

events = Table(
    "events",
    metadata,
    Column("org", _text, nullable=False),
    Column("uid", _text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("event_type", _text),
    Column("outcome", _text),
    Column("outcome_reason", _text),
    Column("user_uid", _text),
    Column("user_name", _text),
    Column("actor_uid", _text),
    Column("actor_name", _text),
    Column("actor_type", _text),
    Column("src_ip", _text),
    Column("src_country", _text),
    Column("src_city", _text),
    Column("src_asn", BigInteger),
    Column("src_as_org", _text),
    Column("is_proxy", Boolean),
    Column("user_agent", _text),
    Column("device", _text),
    Column("factor", _text),
    Column("push_response", _text),
    Column("number_challenge_response", _text),
    Column("challenge_time", BigInteger),
    Column("factor_intent", _text),
    Column("session_uid", _text),
    Column("root_session_uid", _text),
    Column("transaction_uid", _text),
    Column("authn_request_uid", _text),
    Column("behaviors", _text),
    Column("threat_suspected", Boolean),
    Column("severity", _text),
    Column("message", _text),
    Column("raw", LargeBinary, nullable=False),  # the record as Okta sent it, see poller/raw.py
    Column("device_token", _text),
    Column("src_lat", Double),  # degrees
    Column("src_lon", Double),
    Column("app_uid", _text),  # the first app among the targets
    Column("app_name", _text),
    Column("target_uid", _text),  # the first target that is neither app nor person, else the app
    Column("target_type", _text),
    Column("target_name", _text),
    Column("target_user_uid", _text),  # the first user among the targets
    Column("target_user_name", _text),
    Column("privilege", _text),  # the admin role granted or taken away
    Column("request_uri", _text),
    Column("risk_level", _text),
    Column("threat_detections", _text),
    UniqueConstraint("org", "uid", name="uq_events_org_uid"),
    Index("ix_events_kind", "org", "event_type", "time", "outcome"),
    Index("ix_events_user", "org", "user_uid", "time"),
    Index("ix_events_src_ip", "org", "src_ip", "time"),
    # For retention. By days: smaller, and no rule's query is tempted to read all that happened in a time.
    Index("ix_events_day", text(DAY_OF_TIME)),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("org", _text, nullable=False),
    Column("received_time", Instant, nullable=False),
    Column("reason", _text, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # the bytes as they came, uncompressed
    Column("raw_hash", _text, nullable=False),  # SHA-256: the same bytes delivered again are one row
    UniqueConstraint("org", "raw_hash", name="uq_quarantine_org_raw_hash"),
)

orgs = Table(
    "orgs",
    metadata,
    Column("org", _text, primary_key=True),
    Column("next_link", _text),  # the live cursor, verbatim; NULL before the first page
    Column("last_event_time", BigInteger),  # newest `time` stored, epoch ms
    Column("last_poll_time", Instant),  # the last page committed
    Column("caught_up_time", Instant),  # the last time there was nothing more to fetch
    Column("pruned_before", BigInteger),  # events older than this (epoch ms) are gone: findings from there are settled
    Column("last_error", _text),
    Column("last_error_time", Instant),
    Column("covered_until", BigInteger),  # what was published before this has been read, epoch ms by Okta's clock
    Column("verified_until", BigInteger),  # and what was published before this has been read twice
    Column("last_caught_up", BigInteger),  # `caught_up_time` in epoch ms, for rules
    Column("last_new_time", BigInteger),  # when a page last brought new events, epoch ms by Okta's clock
    Column("failing_since", BigInteger),  # no page has come since then, epoch ms; NULL while polls succeed
    Column("lease_holder", _text),  # `daemons.uid` of who polls this org
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),  # one more with each holder
)

# The ledger: every page that was committed. The pages of a live cursor form a chain, each beginning at the link that
# the one before ended with, or saying how it was opened; those of a backfill form one of their own.
pages = Table(
    "pages",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("org", _text, nullable=False),
    Column("backfill_id", BigInteger),  # NULL: a page of the live cursor
    Column("opened", _text),  # `first` or `reopened` where a chain begins; NULL inside of one
    Column("link_in", _text, nullable=False),
    Column("link_out", _text),  # NULL: the last page of a range
    Column("since", BigInteger, nullable=False),  # what was published in [since, until) has been read, epoch ms
    Column("until", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),  # when Okta gave it, epoch ms by its clock
    Column("answers", Integer, nullable=False),  # how often: an empty page that comes again is no new row
    Column("records", Integer, nullable=False),
    Column("stored", Integer, nullable=False),  # of these: events not there before,
    Column("late", Integer, nullable=False),  # some of them published before `since`,
    Column("quarantined", Integer, nullable=False),  # and records that could not be events
    Column("hash", _text, nullable=False),  # SHA-256 of the records, each with its length before it
    Index("ix_pages_chain", "org", "backfill_id", "id"),
    Index("ix_pages_until", "org", "until"),
)

# Who holds leases. A holder is gone when its time has run out by the database's clock.
daemons = Table(
    "daemons",
    metadata,
    Column("uid", _text, primary_key=True),
    Column("fleet", _text, nullable=False),  # those with the same orgs share them
    Column("process", _text, nullable=False),  # machine and process: that of a dead one is free at once
    Column("alive_until", BigInteger, nullable=False),  # epoch ms
)

backfills = Table(
    "backfills",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("org", _text, nullable=False),
    Column("asked", _text, nullable=False),  # the range in the words of the command line: the same words resume it
    Column("since_time", Instant, nullable=False),
    Column("until_time", Instant, nullable=False),
    Column("next_link", _text),
    Column("events_stored", BigInteger, nullable=False),
    Column("started_time", Instant, nullable=False),
    Column("finished_time", Instant),
    Column("kind", _text, nullable=False, server_default="backfill"),  # or `verification`
    Column("epoch", BigInteger, nullable=False, server_default="0"),  # one more with each process that goes on with it
    Index("ix_backfills_org", "org", "asked"),
)

findings = Table(
    "findings",
    metadata,
    Column("uid", _text, primary_key=True),
    Column("org", _text, nullable=False),
    Column("rule", _text, nullable=False),
    Column("title", _text, nullable=False),
    Column("severity", _text, nullable=False),
    Column("confidence", _text, nullable=False),
    Column("status", _text, nullable=False),
    Column("user_uid", _text),
    Column("user_name", _text),
    Column("src_ips", JSON, nullable=False),
    Column("summary", _text, nullable=False),
    Column("first_seen_time", Instant, nullable=False),
    Column("last_seen_time", Instant, nullable=False),
    Column("created_time", Instant, nullable=False),
    Column("modified_time", Instant, nullable=False),
    Column("trigger_uid", _text, nullable=False),
    Column("evidence_count", Integer, nullable=False),
    Column("trigger_time", BigInteger, nullable=False),  # `time` of the trigger, epoch ms: which slice it belongs to
    Column("superseded_time", Instant),  # late events have undone it, but an analyst had touched it
    Column("rule_version", _text),  # of the query and parameters that judged it last
    Index("ix_findings_slice", "org", "rule", "trigger_time"),
    Index("ix_findings_last_seen", "last_seen_time"),
)

finding_evidence = Table(
    "finding_evidence",
    metadata,
    Column("finding_uid", _text, ForeignKey("findings.uid", ondelete="CASCADE"), primary_key=True),
    Column("org", _text, nullable=False),
    Column("event_uid", _text, primary_key=True),
    Column("role", _text, primary_key=True),
    Index("ix_finding_evidence_event", "org", "event_uid"),
)

# Findings that are known to be harmless before they are made: they are made all the same, suppressed.
exceptions = Table(
    "exceptions",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("rule", _text),  # NULL: any; and so with the next three
    Column("org", _text),
    Column("user_name", _text),  # an Okta user id, or a user name in any case
    Column("network", _text),  # an address or a CIDR block that holds every address of the finding
    Column("reason", _text, nullable=False),
    Column("owner", _text, nullable=False),
    Column("created_time", Instant, nullable=False),
    Column("end_time", Instant, nullable=False),
)

# What is still to be run: a rule over a span of an org's time, because the rule failed there, or because the span is
# too long to be judged while a page waits.
rule_backlog = Table(
    "rule_backlog",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("org", _text, nullable=False),
    Column("rule", _text, nullable=False),
    Column("since", BigInteger, nullable=False),  # [since, until), epoch ms
    Column("until", BigInteger, nullable=False),
    Column("error", _text),  # why it failed there; NULL: it has not been tried yet
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try_time", BigInteger, nullable=False),  # epoch ms
    Index("ix_rule_backlog_rule", "org", "rule", "since"),
)

finding_history = Table(
    "finding_history",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("finding_uid", _text, ForeignKey("findings.uid", ondelete="CASCADE"), nullable=False),
    Column("time", Instant, nullable=False),
    Column("status", _text, nullable=False),
    Column("reason", _text),
    Column("comment", _text),
    Column("exception_id", BigInteger),  # done by an exception, not by a person
    Index("ix_finding_history_finding", "finding_uid", "time"),
)
