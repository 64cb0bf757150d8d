"""What reading commands ask the database, without SQLAlchemy: a list of findings should not wait for imports.

The statements are plain SQL for SQLite and Postgres alike, to be pasted into either shell. An empty text says "any".
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from poller.errors import DatabaseError, UsageError
from poller.findings import moment
from poller.revision import head
from poller.sqlite import driver as sqlite3
from poller.text import iso, without_secrets

FINDING_COLUMNS = (
    "uid",
    "org",
    "rule",
    "title",
    "severity",
    "confidence",
    "status",
    "user_uid",
    "user_name",
    "src_ips",
    "summary",
    "first_seen_time",
    "last_seen_time",
    "created_time",
    "modified_time",
    "trigger_uid",
    "evidence_count",
    "superseded_time",
    "rule_version",
)
EVIDENCE_COLUMNS = ("event_uid", "role", "time", "event_type", "outcome", "src_ip")

_FINDINGS = f"""
select {", ".join(FINDING_COLUMNS)}
from findings
where last_seen_time >= :since and last_seen_time < :until
  and (:org = '' or org = :org)
  and (:rule = '' or rule = :rule)
  and (:user = '' or user_uid = :user or user_name = :user or lower(user_name) = lower(:user))
  and (:ip = '' or lower(cast(src_ips as text)) like :ip escape '!')
  and (:severities = '' or :severities like '%,' || severity || ',%')
  and (:statuses = '' or :statuses like '%,' || status || ',%')
order by last_seen_time desc, uid
limit :most
"""

_FINDINGS_BY_PREFIX = f"""
select {", ".join(FINDING_COLUMNS)}
from findings
where uid >= :prefix and uid < :beyond
order by uid
limit 6
"""

_EVIDENCE = """
select evidence.finding_uid, evidence.event_uid, evidence.role, events.time, events.event_type, events.outcome,
       events.src_ip, events.outcome_reason, events.src_city, events.src_country, events.src_as_org, events.is_proxy,
       events.factor, events.push_response, events.number_challenge_response, events.user_agent, events.device,
       events.behaviors, events.session_uid, events.root_session_uid
from finding_evidence as evidence
left join events on events.org = evidence.org and events.uid = evidence.event_uid
where evidence.finding_uid in ({uids})
order by coalesce(events.time, 0), evidence.event_uid, evidence.role
"""

_HISTORY = """
select time, status, reason, comment
from finding_history
where finding_uid = :uid
order by time, id
"""

_EXCEPTIONS = """
select id, rule, org, user_name, network, reason, owner, created_time, end_time, coalesce(hits, 0) as hits,
       last_hit_time
from exceptions
left join (
    select exception_id, count(*) as hits, max(time) as last_hit_time from finding_history group by exception_id
) as suppressed on suppressed.exception_id = exceptions.id
where (:rule = '' or rule is null or rule = :rule) and end_time > :after
order by end_time, id
"""

_RAW = """
select events.org, events.raw
from orgs join events on events.org = orgs.org and events.uid = :uid
where :org = '' or orgs.org = :org
order by events.org
"""

_ORGS = """
select orgs.org, orgs.next_link as live_cursor, orgs.last_event_time, orgs.last_poll_time, orgs.caught_up_time,
       orgs.last_error, orgs.last_error_time,
       (select count(*) from quarantine where quarantine.org = orgs.org) as quarantined
from orgs
order by orgs.org
"""

_BACKFILLS = """
select org, since_time, until_time, events_stored, started_time
from backfills
where finished_time is null and kind = 'backfill'
order by id
"""

_BIND = re.compile(r":([a-z]\w*)")
_BATCH = 500


@dataclass(frozen=True)
class Wanted:
    """Which findings: empty means any. `since` and `until` bound `last_seen_time`, half-open."""

    since: datetime | None = None
    until: datetime | None = None
    rule: str = ""
    user: str = ""
    ip: str = ""
    severities: Sequence[str] = ()
    statuses: Sequence[str] = ()
    org: str = ""


class Reading:
    """One look at the database: everything read through it is of one moment. Rows are dicts, times ISO 8601 text."""

    def __init__(self, connection: Any, url: str) -> None:
        self._connection = connection
        self._url = url
        self._is_postgres = not isinstance(connection, sqlite3.Connection)

    def revision(self) -> str | None:
        """The schema revision of the database, None where there is none."""
        sql = "select 1 as there from sqlite_master where name = 'alembic_version'"
        if self._is_postgres:
            sql = "select 1 as there where to_regclass('alembic_version') is not null"
        if not list(self.rows(sql)):
            return None
        return next((row["version_num"] for row in self.rows("select version_num from alembic_version")), None)

    def findings(self, wanted: Wanted, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Findings, newest first, each with `evidence` in order of time."""
        ever = ("-infinity", "infinity") if self._is_postgres else ("", "~")
        rows = self.rows(
            _FINDINGS,
            since=iso(wanted.since) if wanted.since else ever[0],
            until=iso(wanted.until) if wanted.until else ever[1],
            org=wanted.org,
            rule=wanted.rule,
            user=wanted.user,
            ip=_like(wanted.ip) if wanted.ip else "",
            severities=_words(wanted.severities),
            statuses=_words(wanted.statuses),
            most=2**53 if most is None else most,
        )
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(_finding(row))
            if len(batch) == _BATCH:
                yield from self._with_evidence(batch)
                batch = []
        yield from self._with_evidence(batch)

    def finding(self, prefix: str) -> dict[str, Any]:
        """The one finding whose uid starts so. Raises UsageError: there is none, or there are several."""
        if not prefix:
            raise UsageError("an empty UID. Give the first characters of one, as poller findings shows them.")
        rows = list(self.rows(_FINDINGS_BY_PREFIX, prefix=prefix, beyond=prefix + "~"))
        if not rows:
            raise UsageError(f"no finding's UID starts with {prefix!r}. poller findings lists them.")
        if len(rows) > 1:
            candidates = ", ".join(f"{row['uid'][:16]} ({row['user_name'] or row['user_uid']})" for row in rows[:5])
            raise UsageError(
                f"several findings start with {prefix!r}: {candidates}{', and more' if len(rows) > 5 else ''}."
                " Give more of the UID."
            )
        return next(self._with_evidence([_finding(rows[0])]))

    def timeline(self, uid: str) -> list[dict[str, Any]]:
        """The evidence of a finding in order of time: role, and what the event says (nothing if it is gone)."""
        return list(self.rows(_EVIDENCE.format(uids=":uid"), uid=uid))

    def history(self, uid: str) -> list[dict[str, Any]]:
        """What analysts did to a finding, in order: time, status, reason, comment."""
        return [{**row, "time": _time(row["time"])} for row in self.rows(_HISTORY, uid=uid)]

    def exceptions(self, rule: str = "", after: datetime | None = None) -> list[dict[str, Any]]:
        """The exceptions that touch a rule (all of them without one) and end after then, the next to end first."""
        ever = "-infinity" if self._is_postgres else ""
        rows = self.rows(_EXCEPTIONS, rule=rule, after=iso(after) if after else ever)
        names = ("created_time", "end_time", "last_hit_time")
        return [{**row, **{name: _time(row[name]) for name in names}} for row in rows]

    def raw(self, uid: str, org: str = "") -> list[tuple[str, bytes]]:
        """(org, compressed record) of the events with this uid: at most one in each org."""
        return [(row["org"], bytes(row["raw"])) for row in self.rows(_RAW, uid=uid, org=org)]

    def orgs(self) -> list[dict[str, Any]]:
        """What is known of each org that was ever polled or backfilled; `last_event_time` in epoch ms."""
        names = ("last_poll_time", "caught_up_time", "last_error_time")
        return [{**row, **{name: _time(row[name]) for name in names}} for row in self.rows(_ORGS)]

    def backfills(self) -> list[dict[str, Any]]:
        """The backfills that were begun and not finished."""
        names = ("since_time", "until_time", "started_time")
        return [{**row, **{name: _time(row[name]) for name in names}} for row in self.rows(_BACKFILLS)]

    def _with_evidence(self, batch: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if not batch:
            return
        binds = {f"u{number}": finding["uid"] for number, finding in enumerate(batch)}
        evidence: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows(_EVIDENCE.format(uids=", ".join(f":{name}" for name in binds)), **binds):
            item = {name: row[name] for name in EVIDENCE_COLUMNS}
            evidence[row["finding_uid"]].append({**item, "time": at(row["time"])})
        for finding in batch:
            yield {**finding, "evidence": evidence[finding["uid"]]}

    def rows(self, sql: str, **binds: str | int) -> Iterator[dict[str, Any]]:
        """Rows of a query with `:name` binds, as they come."""
        if self._is_postgres:
            sql = _BIND.sub(r"%(\1)s", sql.replace("%", "%%"))
        with _translated(self._url), closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, binds)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))


@contextmanager
def reading(url: str, auto_migrate: bool) -> Iterator[Reading]:
    """Read the database behind this SQLAlchemy URL. Where its schema is not that of this program, it is brought there
    or DatabaseError says what to do, as `migrate.ensure` decides."""
    connection = _connect(url)
    if connection is None or _revision(connection, url) != head():
        from poller import migrate
        from poller.store import Store

        if connection is not None:
            connection.close()
        with Store(url) as store:
            migrate.ensure(store, auto_migrate)
        connection = _connect(url)
        if connection is None:
            raise DatabaseError(f"the database {_shown(url)} went away.")
    with closing(connection):
        yield Reading(connection, url)


def at(epoch_ms: int | None) -> str | None:
    """Epoch milliseconds as ISO 8601 text."""
    return None if epoch_ms is None else iso(moment(epoch_ms))


def _revision(connection: Any, url: str) -> str | None:
    try:
        return Reading(connection, url).revision()
    except DatabaseError:
        connection.close()
        raise


def _connect(url: str) -> Any:
    """A read-only DB-API connection in one transaction; None for an SQLite database that is not there yet."""
    if not url.startswith("sqlite"):
        return _connect_postgres(url)
    path = Path(unquote(url.removeprefix("sqlite:///").partition("?")[0]))
    if not path.is_file() or path.stat().st_size == 0:
        return None
    # A reader of a WAL database makes -wal and -shm files, and leaves them behind unless it may write. Where it may
    # make none and nobody has any, nothing changes under it.
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    mode = "mode=rw" if may_write else "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    with _translated(url):
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{mode}", uri=True, timeout=30, isolation_level=None
        )
        connection.execute("pragma query_only = on")
        connection.execute("begin")
    return connection


def _connect_postgres(url: str) -> Any:
    import psycopg

    conninfo = "postgresql://" + url.partition("://")[2]
    with _translated(url):
        try:
            connection = psycopg.connect(
                conninfo, connect_timeout=10, application_name="poller", prepare_threshold=None
            )
        except psycopg.ProgrammingError:
            raise DatabaseError(
                f"{_shown(url)} is no database address. POLLER_DATABASE_URL takes postgresql://user@host/database."
            ) from None
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("set time zone 'UTC'")
    return connection


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """A driver's error as one line that says what, where and what to do next."""
    driver: Any = sqlite3
    if not url.startswith("sqlite"):
        import psycopg as driver
    try:
        yield
    except driver.Error as error:
        cause = without_secrets(" ".join(str(error).split())) or type(error).__name__
        todo = "Try poller doctor."
        if "locked" in cause:
            todo = "Another process holds it: wait, or stop that process."
        elif isinstance(error, driver.OperationalError) and driver is not sqlite3:
            todo = "Is it running, and may this user reach it?"
        raise DatabaseError(f"the database {_shown(url)} failed: {cause}. {todo}") from error


def _shown(url: str) -> str:
    return without_secrets(url)


def _finding(row: Mapping[str, Any]) -> dict[str, Any]:
    ips = row["src_ips"]
    times = {name: _time(row[name]) for name in FINDING_COLUMNS if name.endswith("_time")}
    return {**row, **times, "src_ips": json.loads(ips) if isinstance(ips, str) else ips}


def _time(value: datetime | str | None) -> str | None:
    return iso(value) if isinstance(value, datetime) else value


def _words(words: Sequence[str]) -> str:
    return f",{','.join(words)}," if words else ""


def _like(ip: str) -> str:
    """The pattern of a JSON list of texts that holds this one."""
    return "%" + re.sub(r"([!%_])", r"!\1", json.dumps(ip.lower())) + "%"
