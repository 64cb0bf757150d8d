"""The one place a transaction opens. A page of events, its quarantine, the findings over what it touched and its
cursor commit together, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from poller import exceptions, ledger, sqlite
from poller.errors import DatabaseError, LeaseLost, MalformedEvent, RuleFailed, UsageError
from poller.findings import CONFIDENCES, REASONS, STATUSES, Finding, Row, build, moment
from poller.ledger import Turn
from poller.normalize import Event, normalize
from poller.raw import compress
from poller.rules import Rule
from poller.schema import (
    DAY_OF_TIME,
    backfills,
    daemons,
    events,
    finding_evidence,
    finding_history,
    findings,
    orgs,
    pages,
    quarantine,
    rule_backlog,
)
from poller.slices import Slice, days, joined, reopened
from poller.text import printable, without_secrets

if TYPE_CHECKING:
    from poller.leases import Lease

# Dead connections are noticed, and nothing is left in a pooler's hands: no prepared statements, no session settings.
_POSTGRES = {
    "application_name": "poller",
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
    "prepare_threshold": None,
}
# A process that is stopped in the middle of a transaction holds its locks; Postgres then ends the transaction. And to
# compile a rule takes longer than to run it.
_FOR_WRITING = "set local idle_in_transaction_session_timeout = '10s'; set local jit = off"
_COPYING, _COPIED = "set local statement_timeout = '30s'", "set local statement_timeout = 0"
_GUARDED = "poller_guarded"  # on a connection that runs a rule of the user's
_DAY = 86_400_000  # ms
_NEAR = 3_600_000  # ms between spans of the backlog: to run over it, too, takes less than another transaction
_PATIENCE = 10  # seconds that a rule of the user's may take over a day of events
_MOST_ROWS = 100_000  # that it may yield
_MOST_FINDINGS = 10_000  # that these may make: seconds of one transaction
_MOST_ROLE = 100  # characters of a role, which is a word
_RETRY = (60_000, 3_600_000)  # ms until a rule that failed is run again, at first and at most
_MOST_SKEW = 300_000  # ms that Okta's clock may be ahead of this machine's and be believed
_COLUMNS = ("org", *Event._fields, "raw")
_SUMMARY_COLUMNS = [column for column in events.c if column.name != "raw"]
_KNOWN_COLUMNS = (findings.c.uid, findings.c.trigger_time, findings.c.superseded_time)


@dataclass(frozen=True)
class Batch:
    """The records of one page, read: events with their raw bytes, and what could not be one, with the reason."""

    events: Sequence[tuple[Event, bytes]]
    rejects: Sequence[tuple[str, bytes]]
    hash: str  # SHA-256 of the records

    def newest(self, by: int) -> int | None:
        """The time of the newest event that is not dated ahead of `by`; epoch ms."""
        return max((event.time for event, _ in self.events if event.time <= by), default=None)


@dataclass(frozen=True)
class Stored:
    """What was done: events new and already there (`late`: new ones from before the span that their page covers),
    records quarantined, findings made, changed and undone."""

    new: int = 0
    seen: int = 0
    late: int = 0
    quarantined: int = 0
    found: int = 0
    changed: int = 0
    undone: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(*map(add, vars(self).values(), vars(other).values()))


@dataclass(frozen=True)
class Backfill:
    """A date range being fetched: `[since, until)`, and the `next` link to go on with (None: from its beginning)."""

    id: int
    org: str
    since: datetime
    until: datetime
    next_link: str | None
    events_stored: int
    epoch: int
    is_fetched: bool = False  # what is left is to run the rules over it


def read_records(records: Iterable[bytes]) -> Batch:
    """Normalize and compress the records of one page; nothing here needs the database."""
    good: list[tuple[Event, bytes]] = []
    rejects: list[tuple[str, bytes]] = []
    digest = hashlib.sha256()
    for record in records:
        digest.update(b"%d " % len(record) + record)
        try:
            good.append((normalize(record), compress(record)))
        except MalformedEvent as error:
            rejects.append((str(error), record))
    return Batch(good, rejects, digest.hexdigest())


def utc_now() -> datetime:
    return datetime.now(UTC)


def epoch_ms_of(moment: datetime) -> int:
    """An aware datetime as epoch milliseconds, UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class Store:
    """The database behind one SQLAlchemy URL. Use it as a context manager, or `close()` it."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self._has_statistics = not self.is_postgres
        self.on_rule: Callable[[str, float], object] = lambda name, seconds: None  # hears how long each rule took
        self._failed: dict[str, set[str]] = {}  # {org: rules that failed since this process began}
        if self.is_postgres:
            self.engine = sa.create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=16,
                hide_parameters=True,
                connect_args=_POSTGRES,
            )
            sa.event.listen(self.engine, "handle_error", _on_postgres_error)
        else:
            self._prepare_file()
            self.engine = sa.create_engine(
                self.url, module=sqlite.driver, hide_parameters=True, connect_args={"timeout": 60}
            )
            sa.event.listen(self.engine, "connect", _on_sqlite_connect)
            sa.event.listen(self.engine, "begin", _on_sqlite_begin)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    @property
    def shown(self) -> str:
        """Its address, without passwords."""
        return without_secrets(self.url.render_as_string(hide_password=True))

    @property
    def version(self) -> str:
        """Of the database, in words."""
        if not self.is_postgres:
            return f"SQLite {sqlite.VERSION}"
        with self.reading() as connection:
            return f"Postgres {connection.exec_driver_sql('show server_version').scalar()}"

    def _prepare_file(self) -> None:
        """A new database file can be read by its owner alone: it holds who signs in from where."""
        name = self.url.database
        if not name or name == ":memory:":
            raise UsageError(
                "an SQLite database in memory forgets everything at exit. Name a file: sqlite:///poller.db."
            )
        path = Path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise DatabaseError(f"can't open the database file {path}: {error.strerror}.") from None

    def try_to_write(self) -> None:
        """Write a row and delete it again. Raises DatabaseError: nothing could be stored."""
        with self.writing() as connection:
            row = {"uid": "doctor", "fleet": "doctor", "process": "- 0 -", "alive_until": 0}
            connection.execute(self._insert(daemons).values(row).on_conflict_do_nothing())
            connection.execute(sa.delete(daemons).where(daemons.c.uid == "doctor"))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with; what it reads is of one moment."""
        with self._translated(), self._connected() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction: everything in it is there afterwards, or nothing."""
        with (
            self._translated(),
            self._connected().execution_options(poller_write=True) as connection,
            connection.begin(),
        ):
            if self.is_postgres:
                connection.exec_driver_sql(_FOR_WRITING)
            yield connection

    def _connected(self) -> sa.Connection:
        try:
            return self.engine.connect()
        except (TypeError, NotImplementedError) as error:  # SQLAlchemy's, when the first one ends as it is made
            raise OperationalError(None, None, ConnectionError("the connection ended as it was made")) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The driver's errors as one line that says what, where and what to do next."""
        try:
            yield
        except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            where = self.shown
            cause = (str(getattr(error, "orig", None) or error).strip() or type(error).__name__).splitlines()[0]
            raise DatabaseError(
                f"the database {where} failed: {without_secrets(cause)}. {self._what_to_do(cause)}"
            ) from error

    def _what_to_do(self, cause: str) -> str:
        if "no such table" in cause or "no such view" in cause or ("relation" in cause and "does not exist" in cause):
            return "Run poller migrate."
        if "not a database" in cause:
            return "Name another SQLite file in POLLER_DATABASE_URL, or move that one away."
        if "locked" in cause:
            return "Another process holds it: wait, or stop that process."
        if "full" in cause or "No space" in cause:
            return "Make room on its disk."
        if "readonly" in cause or "read-only" in cause:
            return "Make it writable for this user."
        if not self.is_postgres:
            return "Is its disk well, with room on it, and may this user read and write there? poller doctor checks."
        return "Is it running, and may this user reach it? poller doctor checks."

    # ---- the line: pages ----

    def commit_poll(
        self, org: str, batch: Batch, turn: Turn, rules: Sequence[Rule], now: datetime, lease: Lease | None = None
    ) -> Stored:
        """One page of the live cursor: its events, their findings, its entry in the ledger and the cursor behind it, in
        one transaction. Raises LeaseLost: another process has taken the org over."""
        with self.writing() as connection:
            state = self._lock_org(connection, org, lease)
            self._check_link(turn, state.next_link)
            newest = batch.newest(turn.time)
            part = ledger.covered(_believed(turn, now), state.covered_until, newest)
            stored, _ = self._store(connection, org, batch, rules, now, state, part.since)
            ledger.record(connection, org, turn, part, _counts(batch, stored), batch.hash)
            values: dict[str, Any] = {
                "next_link": turn.next_link or turn.link,
                "last_poll_time": now,
                "last_error": None,
                "last_error_time": None,
                "covered_until": max(part.until, state.covered_until or part.until),
            }
            if turn.is_end:
                values |= {"caught_up_time": now, "last_caught_up": epoch_ms_of(now)}
            if turn.is_end or stored.new:
                values["failing_since"] = None
            if stored.new:
                values["last_new_time"] = turn.time
            if newest is not None:
                values["last_event_time"] = max(newest, state.last_event_time or newest)
            connection.execute(sa.update(orgs).where(orgs.c.org == org).values(values))
        return stored

    def commit_backfill(
        self, backfill: Backfill, batch: Batch, turn: Turn, rules: Sequence[Rule], now: datetime
    ) -> tuple[Stored, list[Event]]:
        """One page of a date range, and which events of it are new; a turn without a `next_link` was the last. The live
        cursor is not touched. Raises LeaseLost: another process has gone on with the same range."""
        with self.writing() as connection:
            org = self._lock_org(connection, backfill.org)
            ours = (backfills.c.id == backfill.id) & (backfills.c.epoch == backfill.epoch)
            state = connection.execute(sa.select(backfills.c.next_link).where(ours)).first()
            if state is None:
                raise LeaseLost("another process goes on with this range: leave it to that one, or stop it first.")
            self._check_link(turn, state.next_link)
            last = ledger.last_page(connection, backfill.org, backfill.id)
            before = epoch_ms_of(backfill.since) if last is None else last.until
            limit = epoch_ms_of(backfill.until)
            part = ledger.covered(_believed(turn, now), before, batch.newest(turn.time), limit)
            stored, fresh = self._store(connection, backfill.org, batch, rules, now, org)
            ledger.record(connection, backfill.org, turn, part, _counts(batch, stored), batch.hash, backfill.id)
            moved = {"next_link": turn.next_link, "events_stored": backfills.c.events_stored + stored.new}
            connection.execute(sa.update(backfills).where(ours).values(moved))
        return stored, fresh

    def finish_backfill(self, backfill: Backfill, now: datetime) -> None:
        """The range is fetched, and the rules have been run over it."""
        with self.writing() as connection:
            ours = (backfills.c.id == backfill.id) & (backfills.c.epoch == backfill.epoch)
            connection.execute(sa.update(backfills).where(ours).values(finished_time=now))

    def _check_link(self, turn: Turn, stored: str | None) -> None:
        """Raises DatabaseError where a page does not go on from what is stored: the page before it is gone."""
        if turn.opened is None and turn.link != stored:
            raise DatabaseError(
                f"the database {self.shown} has gone back to an earlier state, as after a failover to a copy that is"
                " behind: this page was not stored, and the next poll goes on from the cursor that is there."
            )

    def _lock_org(self, connection: sa.Connection, org: str, lease: Lease | None = None) -> Any:
        """The row of an org. From here to the commit nobody else stores events of it (SQLite has one writer anyway),
        and it is still the one of this lease."""
        self.ensure_orgs(connection, [org])
        query = sa.select(orgs).where(orgs.c.org == org).with_for_update()
        if lease is not None:
            query = query.where(orgs.c.lease_holder == lease.holder, orgs.c.lease_epoch == lease.epoch)
        row = connection.execute(query).first()
        if row is None:
            raise LeaseLost(f"another process polls {org} now: what this one had in hand was not stored.")
        return row

    def ensure_orgs(self, connection: sa.Connection, names: Sequence[str]) -> None:
        """Each org has its row."""
        connection.execute(self._insert(orgs).on_conflict_do_nothing(), [{"org": name} for name in sorted(names)])

    def _insert(self, table: sa.Table) -> Any:
        """SQLite and Postgres share `on conflict`, but not its constructor."""
        from sqlalchemy.dialects import postgresql, sqlite

        return postgresql.insert(table) if self.is_postgres else sqlite.insert(table)

    def _store(
        self,
        connection: sa.Connection,
        org: str,
        batch: Batch,
        rules: Sequence[Rule],
        now: datetime,
        state: Any,
        late_before: int | None = None,
    ) -> tuple[Stored, list[Event]]:
        """Events (once each), quarantine and findings. Returns the counts and the new events."""
        fresh = self._unknown(connection, org, batch.events)
        if fresh:
            self._insert_events(connection, [(org, *event, raw) for event, raw in fresh])
            self._ensure_statistics(connection)
        quarantined = 0
        for reason, raw in batch.rejects:
            kept = connection.execute(
                self._insert(quarantine)
                .values(org=org, received_time=now, reason=reason, raw=raw, raw_hash=hashlib.sha256(raw).hexdigest())
                .on_conflict_do_nothing()
                .returning(quarantine.c.id)
            )
            quarantined += len(kept.all())
        touched = [event for event, _ in fresh]
        late = sum(event.time < late_before for event in touched) if late_before is not None else 0
        stored = Stored(len(fresh), len(batch.events) - len(fresh), late, quarantined)
        if touched:
            stored += self._judge(connection, org, rules, touched, now, state)
        return stored, touched

    def _unknown(
        self, connection: sa.Connection, org: str, page: Sequence[tuple[Event, bytes]]
    ) -> list[tuple[Event, bytes]]:
        """The events of the page that are not stored yet, the first of each uid."""
        by_uid: dict[str, tuple[Event, bytes]] = {}
        for item in page:
            by_uid.setdefault(item[0].uid, item)
        if not by_uid:
            return []
        if self.is_postgres:
            sql, uids = "select uid from events where org = %s and uid = any(%s)", list(by_uid)
            known = connection.exec_driver_sql(sql, (org, uids))
        else:
            sql = "select uid from events where org = ? and uid in (select value from json_each(?))"
            known = connection.exec_driver_sql(sql, (org, json.dumps(list(by_uid))))
        for (uid,) in known:
            del by_uid[uid]
        return list(by_uid.values())

    def _insert_events(self, connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
        names = ", ".join(_COLUMNS)
        if self.is_postgres:
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor:
                cursor.execute(_COPYING)
                with cursor.copy(f"copy events ({names}) from stdin") as copy:
                    for row in rows:
                        copy.write_row(row)
                cursor.execute(_COPIED)
        else:
            marks = ", ".join("?" * len(_COLUMNS))
            connection.exec_driver_sql(f"insert into events ({names}) values ({marks})", rows)

    def _ensure_statistics(self, connection: sa.Connection) -> None:
        """Postgres plans badly over a table that it has never looked at, and takes a minute to look by itself."""
        if self._has_statistics:
            return
        never = "select reltuples <= 0 from pg_class where oid = 'events'::regclass"
        if connection.exec_driver_sql(never).scalar():
            connection.exec_driver_sql("analyze events")
        self._has_statistics = True

    # ---- the line: rules ----

    def run_rules(self, org: str, rules: Sequence[Rule], since: datetime, until: datetime, now: datetime) -> Stored:
        """Run the rules over `[since, until)` of what is stored, a day at a time, each in a transaction of its own."""
        total = Stored()
        whole = Slice(epoch_ms_of(since), epoch_ms_of(until))
        with self.writing() as connection:
            self._lock_org(connection, org)
            for rule in rules:
                if rule.is_own:
                    self._put_off(connection, rule, org, [whole], now)
        for day in days(whole):
            with self.writing() as connection:
                state = self._lock_org(connection, org)
                for rule in rules:
                    if rule.is_about_events() and not rule.is_own:
                        total += self.reconcile(connection, rule, org, day, now, state.pruned_before)
        return total

    def _judge(
        self,
        connection: sa.Connection,
        org: str,
        rules: Sequence[Rule],
        touched: Sequence[Event],
        now: datetime,
        state: Any,
    ) -> Stored:
        """Run each rule over the slices that these new events re-open for it. Spans that are too long for a page to
        wait for, and the rules of users, are put off, in the same transaction (`work_off`)."""
        total = Stored()
        newest = max([state.last_event_time or 0, *(event.time for event in touched)])
        moments = _moments(touched)
        due = [(rule, _of_rule(rule, moments)) for rule in rules if rule.is_about_events()]
        due = [(rule, times) for rule, times in due if times]
        known = self._known(connection, org, due, touched)
        users, oldest = {event.user_uid for event in touched}, min(event.time for event in touched)
        for rule, times in due:
            began = time.perf_counter()
            there = known.get(rule.name, [])
            # An event from before a finding of the same user can show that a session or a sign-in was an older one.
            later = {row.trigger_time for row in there if row.trigger_time >= oldest and row.user_uid in users}
            parts = reopened(times | later, rule.lookback, rule.lookahead)
            if rule.is_own or _is_long(rule, parts, newest):
                self._put_off(connection, rule, org, [self._clipped(connection, part, now) for part in parts], now)
                continue
            for part in parts:
                in_slice = [row for row in there if part.since <= row.trigger_time < part.until]
                total += self.reconcile(connection, rule, org, part, now, state.pruned_before, in_slice)
            self.on_rule(rule.name, time.perf_counter() - began)
        return total

    def _known(
        self,
        connection: sa.Connection,
        org: str,
        due: Sequence[tuple[Rule, set[int]]],
        touched: Sequence[Event],
    ) -> dict[str, list[Any]]:
        """{rule: its findings that new events can matter to}: of all rules at once, since most have none. Few of their
        columns: what is found among old events has many findings after it."""
        if not due:
            return {}
        oldest = min(event.time for event in touched)
        since = min(min(oldest, *times) - rule.lookahead for rule, times in due)
        query = sa.select(*_KNOWN_COLUMNS, findings.c.rule, findings.c.user_uid).where(
            findings.c.org == org,
            findings.c.rule.in_([rule.name for rule, _ in due]),
            findings.c.trigger_time >= since,
        )
        known: dict[str, list[Any]] = {}
        for row in connection.execute(query):
            known.setdefault(row.rule, []).append(row)
        return known

    def _clipped(self, connection: sa.Connection, part: Slice, now: datetime) -> Slice:
        """Without what lies more than a day ahead, behind the newest event that is dated there."""
        end = epoch_ms_of(now) + _DAY
        if part.until <= end:
            return part
        ahead = sa.text(f"{DAY_OF_TIME} >= {end // _DAY}")  # the expression of an index
        newest = sa.select(sa.func.max(events.c.time)).where(ahead, events.c.time < part.until)
        time = connection.execute(newest).scalar()
        return Slice(part.since, max(end, part.since, end if time is None else time + 1))

    def _put_off(self, connection: sa.Connection, rule: Rule, org: str, parts: Iterable[Slice], now: datetime) -> None:
        """Note that a rule is still to be run over these spans; those that are near one another become one."""
        row = rule_backlog.c
        for part in joined((part for part in parts if part.since < part.until), _NEAR):
            is_near = (row.since <= part.until + _NEAR) & (row.until >= part.since - _NEAR)
            meeting = (row.org == org) & (row.rule == rule.name) & is_near
            met = connection.execute(sa.select(rule_backlog).where(meeting).order_by(row.since)).all()
            since = min([part.since, *(known.since for known in met)])
            until = max([part.until, *(known.until for known in met)])
            if met:
                connection.execute(sa.update(rule_backlog).where(row.id == met[0].id).values(since=since, until=until))
                connection.execute(sa.delete(rule_backlog).where(row.id.in_([known.id for known in met[1:]])))
            else:
                values = {"org": org, "rule": rule.name, "since": since, "until": until}
                connection.execute(sa.insert(rule_backlog).values(**values, next_try_time=epoch_ms_of(now)))

    def work_off(
        self, org: str, rules: Sequence[Rule], now: datetime, seconds: float = float("inf")
    ) -> tuple[Stored, list[tuple[str, str]]]:
        """Run what was put off, a day at a time, each in a transaction of its own, for about so many seconds: first
        what is of the latest time, so that months of old events don't hold up what is new.

        A rule that fails is noted with the day it failed at, and run again from there later: when its time has come, by
        the next process, for which it may have been mended, or by whoever calls without a limit. Returns what was done,
        and (rule, error) of those that failed now.
        """
        by_name = {rule.name: rule for rule in rules}
        total, failed = Stored(), list[tuple[str, str]]()
        end = time.monotonic() + seconds
        row = rule_backlog.c
        due = (row.org == org) & row.rule.in_(by_name)
        failed_here = self._failed.setdefault(org, set())
        if seconds < float("inf"):
            due &= (row.next_try_time <= epoch_ms_of(now)) | row.rule.not_in(list(failed_here))
        with self.reading() as connection:
            waiting = connection.execute(sa.select(row.id).where(due).limit(1)).first()
        while waiting is not None and time.monotonic() < end:
            error, done = None, Stored()
            with self.writing() as connection:
                state = self._lock_org(connection, org)
                latest = sa.select(rule_backlog).where(due).order_by(row.since.desc(), row.id).limit(1)
                waiting = connection.execute(latest).first()
                if waiting is None:
                    break
                rule, this = by_name[waiting.rule], row.id == waiting.id
                day = next(days(Slice(waiting.since, waiting.until)))
                began = time.perf_counter()
                try:
                    done = self.reconcile(connection, rule, org, day, now, state.pruned_before)
                except RuleFailed as failure:
                    error = str(failure)
                    wait = min(_RETRY[0] * 2 ** min(waiting.tries, 10), _RETRY[1])
                    failing = {"error": error, "tries": waiting.tries + 1, "next_try_time": epoch_ms_of(now) + wait}
                    connection.execute(sa.update(rule_backlog).where(this).values(failing))
                    due &= ~this
                    failed_here.add(rule.name)
                    if error != waiting.error:
                        failed.append((rule.name, error))
                else:
                    self.on_rule(rule.name, time.perf_counter() - began)
                    if day.until >= waiting.until:
                        connection.execute(sa.delete(rule_backlog).where(this))
                    else:
                        moved = {"since": day.until, "error": None, "tries": 0}
                        connection.execute(sa.update(rule_backlog).where(this).values(moved))
            total += done
        return total, failed

    def reconcile(
        self,
        connection: sa.Connection,
        rule: Rule,
        org: str,
        part: Slice,
        now: datetime,
        pruned_before: int | None = None,
        known: Sequence[Any] | None = None,
    ) -> Stored:
        """Run a rule over a slice: what it yields is there afterwards, and what it no longer yields is gone, unless an
        analyst has touched it: that stays, marked superseded. Findings from where events have been deleted
        (`pruned_before`, epoch ms) stay as they were judged when those were there. `known`: the rows of `findings` that
        lie in the slice, where they have been read; `_KNOWN_COLUMNS` of them are enough."""
        due = {finding.uid: finding for finding in self.evaluate(connection, rule, org, part)}
        if known is None:
            in_slice = (
                (findings.c.org == org)
                & (findings.c.rule == rule.name)
                & (findings.c.trigger_time >= part.since)
                & (findings.c.trigger_time < part.until)
            )
            known = connection.execute(sa.select(*_KNOWN_COLUMNS).where(in_slice)).all()
        there = {row.uid: row for row in known}
        settled_before = part.since if pruned_before is None else pruned_before + rule.lookback
        made = changed = undone = 0
        for uid, finding in due.items():
            if uid not in there:
                self._write_finding(connection, finding, now, is_new=True)
                made += 1
            elif finding.trigger_time >= settled_before and self._differs(connection, finding):
                self._write_finding(connection, finding, now, is_new=False)
                changed += 1
        for uid, row in there.items():
            if uid not in due and row.trigger_time >= settled_before and row.superseded_time is None:
                self._undo(connection, uid, now)
                undone += 1
        return Stored(found=made, changed=changed, undone=undone)

    def evaluate(self, connection: sa.Connection, rule: Rule, org: str, part: Slice) -> list[Finding]:
        """The findings of a rule whose trigger lies in the slice, by time of trigger. Writes nothing."""
        binds: dict[str, Any] = {"org": org, "since": part.since, "until": part.until, **rule.parameters}
        rows = self.rows_of(connection, rule, binds)
        if rule.is_own:
            _check_rows(rule, org, part, rows)
        by_trigger: dict[str, list[Row]] = {}
        for row in rows:
            by_trigger.setdefault(row["trigger_uid"], []).append(row)
        if not by_trigger:
            return []
        if rule.is_own and len(by_trigger) > _MOST_FINDINGS:
            raise RuleFailed(
                f"{rule.folder / 'rule.sql'}: it finds more than {_MOST_FINDINGS} things in a day of events."
            )
        uids = {row["evidence_uid"] for rows in by_trigger.values() for row in rows} | set(by_trigger)
        seen = self._events(connection, org, uids)
        if rule.is_own and len(seen) < len(uids):
            raise RuleFailed(
                f"{rule.folder / 'rule.sql'}: it yields a trigger_uid or evidence_uid that is no event's uid."
            )
        if rule.is_own and any(rows[0]["trigger_time"] != seen[uid]["time"] for uid, rows in by_trigger.items()):
            raise RuleFailed(f"{rule.folder / 'rule.sql'}: it yields a trigger_time that is not that of its trigger.")
        made = [build(rule, rows, seen) for rows in by_trigger.values()]
        return sorted(made, key=lambda finding: (finding.trigger_time, finding.trigger_uid))

    def rows_of(self, connection: sa.Connection, rule: Rule, binds: Mapping[str, Any]) -> Sequence[Row]:
        """What a rule yields. Raises RuleFailed, of a rule of the user's, whose query can do nothing but read: what it
        does to the transaction is taken back, and it is ended when its time is up."""
        if not rule.is_own:
            return connection.execute(query_of(rule.statement), binds).mappings().all()
        # Which nothing but a SELECT can be; and a driver may read all that there is before it hands out the first.
        query = query_of(f"select * from ({rule.statement}) as yielded limit {_MOST_ROWS + 1}")
        guard = self._postgres_guard if self.is_postgres else self._sqlite_guard
        failure: Exception | None = None
        rows: Sequence[Row] = []
        with guard(connection):
            try:
                rows = connection.execute(query, binds).mappings().all()
            except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
                if getattr(error, "connection_invalidated", False):
                    raise
                failure = error
        if failure is not None:
            cause = (str(getattr(failure, "orig", None) or failure).strip() or type(failure).__name__).splitlines()[0]
            if "interrupted" in cause or "statement timeout" in cause:
                cause = f"it took longer than {_PATIENCE} s over a day of events"
            raise RuleFailed(f"{rule.folder / 'rule.sql'}: {without_secrets(cause)}.") from None
        if len(rows) > _MOST_ROWS:
            raise RuleFailed(f"{rule.folder / 'rule.sql'}: it yields more than {_MOST_ROWS} rows for a day of events.")
        return rows

    @contextmanager
    def _postgres_guard(self, connection: sa.Connection) -> Iterator[None]:
        savepoint = connection.begin_nested()
        connection.info[_GUARDED] = True
        try:
            connection.exec_driver_sql("set local transaction_read_only = on")
            connection.exec_driver_sql(f"set local statement_timeout = '{_PATIENCE}s'")
            yield
        finally:
            del connection.info[_GUARDED]
            if savepoint.is_active:
                savepoint.rollback()

    @contextmanager
    def _sqlite_guard(self, connection: sa.Connection) -> Iterator[None]:
        if not connection.in_transaction():
            connection.begin()  # now, since what begins one is no reading
        driver: Any = connection.connection.driver_connection
        end = time.monotonic() + _PATIENCE
        driver.set_authorizer(_reads_only)
        driver.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
            driver.set_authorizer(None)

    def _events(self, connection: sa.Connection, org: str, uids: Iterable[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        wanted = sorted(uids)
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            query = sa.select(*_SUMMARY_COLUMNS).where(events.c.org == org, events.c.uid.in_(chunk))
            found.update((row["uid"], row) for row in connection.execute(query).mappings())
        return found

    def _differs(self, connection: sa.Connection, finding: Finding) -> bool:
        row = connection.execute(sa.select(findings).where(findings.c.uid == finding.uid)).one()
        if row.superseded_time is not None or any(
            getattr(row, name) != value for name, value in _content(finding).items()
        ):
            return True
        query = sa.select(finding_evidence.c.event_uid, finding_evidence.c.role)
        evidence = connection.execute(query.where(finding_evidence.c.finding_uid == finding.uid))
        return {tuple(item) for item in evidence} != set(finding.evidence)

    def _write_finding(self, connection: sa.Connection, finding: Finding, now: datetime, is_new: bool) -> None:
        if is_new:
            self.add_finding(connection, finding, now)
            return
        values = {**_content(finding), "modified_time": now, "superseded_time": None}
        connection.execute(sa.update(findings).where(findings.c.uid == finding.uid).values(values))
        connection.execute(sa.delete(finding_evidence).where(finding_evidence.c.finding_uid == finding.uid))
        self._add_evidence(connection, finding)
        self._suppress(connection, finding, now, is_new=False)

    def _suppress(self, connection: sa.Connection, finding: Finding, now: datetime, is_new: bool) -> None:
        status = exceptions.apply(connection, finding, now, is_new)
        if status is not None:
            connection.execute(sa.update(findings).where(findings.c.uid == finding.uid).values(status=status))

    def add_finding(self, connection: sa.Connection, finding: Finding, now: datetime) -> bool:
        """A new finding with its evidence; False where it is there already."""
        row = self._insert(findings).values(
            **_content(finding),
            uid=finding.uid,
            org=finding.org,
            rule=finding.rule,
            trigger_uid=finding.trigger_uid,
            status="new",
            created_time=now,
            modified_time=now,
        )
        if connection.execute(row.on_conflict_do_nothing().returning(findings.c.uid)).first() is None:
            return False
        self._add_evidence(connection, finding)
        self._suppress(connection, finding, now, is_new=True)
        return True

    def _add_evidence(self, connection: sa.Connection, finding: Finding) -> None:
        if finding.evidence:
            connection.execute(
                sa.insert(finding_evidence),
                [
                    {"finding_uid": finding.uid, "org": finding.org, "event_uid": uid, "role": role}
                    for uid, role in finding.evidence
                ],
            )

    def _undo(self, connection: sa.Connection, uid: str, now: datetime) -> None:
        by_person = (finding_history.c.finding_uid == uid) & finding_history.c.exception_id.is_(None)
        if connection.execute(sa.select(finding_history.c.id).where(by_person).limit(1)).first():
            connection.execute(
                sa.update(findings).where(findings.c.uid == uid).values(superseded_time=now, modified_time=now)
            )
        else:
            connection.execute(sa.delete(findings).where(findings.c.uid == uid))

    # ---- cursors ----

    def cursor(self, org: str) -> str | None:
        """The `next` link to go on with, exactly as Okta gave it; None for an org that was never polled."""
        with self.reading() as connection:
            return connection.execute(sa.select(orgs.c.next_link).where(orgs.c.org == org)).scalar()

    def caught_up(self, org: str) -> datetime | None:
        """When there was nothing more to fetch for the last time."""
        with self.reading() as connection:
            return connection.execute(sa.select(orgs.c.caught_up_time).where(orgs.c.org == org)).scalar()

    def last_poll(self) -> datetime | None:
        """When a page of any org was last committed."""
        with self.reading() as connection:
            return connection.execute(sa.select(sa.func.max(orgs.c.last_poll_time))).scalar()

    def note_error(self, org: str, message: str, now: datetime, lease: Lease | None = None) -> None:
        """Keep the last error of an org, and since when it fails."""
        with self.writing() as connection:
            self._lock_org(connection, org, lease)
            connection.execute(
                sa.update(orgs)
                .where(orgs.c.org == org)
                .values(
                    last_error=printable(without_secrets(message))[:1000],
                    last_error_time=now,
                    failing_since=sa.func.coalesce(orgs.c.failing_since, epoch_ms_of(now)),
                )
            )

    def open_backfill(
        self, org: str, asked: str, since: datetime, until: datetime, now: datetime, kind: str = "backfill"
    ) -> tuple[Backfill, bool]:
        """The unfinished backfill of this org asked for in these words, else a new one; and whether it resumes. Whoever
        opens it last is the one who can go on with it."""
        with self.writing() as connection:
            self._lock_org(connection, org)
            query = sa.select(backfills.c.id).where(
                backfills.c.org == org,
                backfills.c.asked == asked,
                backfills.c.kind == kind,
                backfills.c.finished_time.is_(None),
            )
            key = connection.execute(query.order_by(backfills.c.id.desc())).scalar()
            is_resumed = key is not None
            if key is None:
                values = {"org": org, "asked": asked, "kind": kind, "since_time": since, "until_time": until}
                inserted = connection.execute(sa.insert(backfills).values(**values, events_stored=0, started_time=now))
                primary: Any = inserted.inserted_primary_key
                key = primary[0]
            ours = backfills.c.id == key
            connection.execute(sa.update(backfills).where(ours).values(epoch=backfills.c.epoch + 1))
            row = connection.execute(sa.select(backfills).where(ours)).one()
            last = ledger.last_page(connection, org, key)
            is_fetched = last is not None and last.link_out is None
        times = (row.since_time, row.until_time)
        opened = Backfill(row.id, row.org, *times, row.next_link, row.events_stored, row.epoch, is_fetched)
        return opened, is_resumed

    def note_verified(self, org: str, until: int) -> None:
        """What was published before `until` (epoch ms) has been read twice."""
        with self.writing() as connection:
            further = orgs.c.verified_until.is_(None) | (orgs.c.verified_until < until)
            connection.execute(sa.update(orgs).where(orgs.c.org == org, further).values(verified_until=until))

    # ---- people ----

    def set_status(self, uid: str, status: str, reason: str | None, comment: str | None, now: datetime) -> None:
        """Triage: the new status, and a row of history that says when and why. Raises UsageError on an unknown word."""
        if status not in STATUSES:
            raise UsageError(f"{status!r} is not a status. Use one of {', '.join(STATUSES)}.")
        if reason is not None and reason not in REASONS:
            raise UsageError(f"{reason!r} is not a reason. Use one of {', '.join(REASONS)}.")
        with self.writing() as connection:
            updated = connection.execute(
                sa.update(findings).where(findings.c.uid == uid).values(status=status, modified_time=now)
            )
            if updated.rowcount == 0:
                raise UsageError(f"there is no finding {uid}: a late event has undone it. See poller findings.")
            connection.execute(
                sa.insert(finding_history).values(
                    finding_uid=uid, time=now, status=status, reason=reason, comment=comment
                )
            )

    def prune(self, before: datetime, batch: int = 5000) -> int:
        """Delete events older than `before`, but those that are evidence of a finding. Returns how many."""
        limit = epoch_ms_of(before)
        with self.reading() as connection:
            names = list(connection.scalars(sa.select(orgs.c.org)))
        for org in names:  # each by itself: none waits for another
            with self.writing() as connection:
                further = orgs.c.pruned_before.is_(None) | (orgs.c.pruned_before < limit)
                connection.execute(sa.update(orgs).where(orgs.c.org == org, further).values(pruned_before=limit))
                connection.execute(sa.delete(pages).where(pages.c.org == org, pages.c.until < limit))
                done = (backfills.c.kind == "verification") & backfills.c.finished_time.is_not(None)
                connection.execute(
                    sa.delete(backfills).where(backfills.c.org == org, done, backfills.c.until_time < before)
                )
        is_evidence = sa.exists().where(
            finding_evidence.c.org == events.c.org, finding_evidence.c.event_uid == events.c.uid
        )
        old_days = sa.text(f"{DAY_OF_TIME} <= {limit // 86_400_000}")  # the expression of an index
        old = sa.select(events.c.org, events.c.uid).where(old_days, events.c.time < limit, ~is_evidence).limit(batch)
        deleted = 0
        while True:
            with self.writing() as connection:
                gone = connection.execute(
                    sa.delete(events).where(sa.tuple_(events.c.org, events.c.uid).in_(old.subquery().select()))
                ).rowcount
            deleted += gone
            if gone < batch:
                return deleted


_LITERAL = re.compile(r"'(?:[^']|'')*'")


@cache
def query_of(text: str) -> sa.TextClause:
    """The text of a rule, taken apart once. A colon inside a string of it begins no bind."""
    return sa.text(_LITERAL.sub(lambda literal: literal[0].replace(":", "\\:"), text))


def _moments(touched: Iterable[Event]) -> dict[str | None, set[int]]:
    """{event type: when something of that kind happened, of these new events}; epoch ms."""
    moments: dict[str | None, set[int]] = {}
    for event in touched:
        times = moments.setdefault(event.event_type, set())
        times.add(event.time)
        if event.challenge_time is not None:
            times.add(event.challenge_time)
    return moments


def _of_rule(rule: Rule, moments: Mapping[str | None, set[int]]) -> set[int]:
    """Those of these moments that can change what a rule finds."""
    kinds = moments if rule.event_types is None else rule.event_types & moments.keys()
    return set[int]().union(*(moments[kind] for kind in kinds))


def _is_long(rule: Rule, parts: Iterable[Slice], newest: int) -> bool:
    """Whether a rule that looks far back would run over so much time that a page should not wait for it."""
    return rule.lookback + rule.lookahead > _DAY and any(min(until, newest) - since > _DAY for since, until in parts)


_READING = {
    sqlite.driver.SQLITE_SELECT,
    sqlite.driver.SQLITE_READ,
    sqlite.driver.SQLITE_FUNCTION,
    sqlite.driver.SQLITE_RECURSIVE,
}


def _reads_only(action: int, first: str | None, second: str | None, *_: object) -> int:
    """An authorizer of SQLite: a statement may read, and call what does no more than that."""
    is_harmless = action in _READING and second not in ("load_extension", "readfile", "writefile")
    return int(sqlite.driver.SQLITE_OK if is_harmless else sqlite.driver.SQLITE_DENY)


_HEAD = ("user_uid", "trigger_time", "first_seen", "last_attempt", "confidence")  # one of each for a finding


def _check_rows(rule: Rule, org: str, part: Slice, rows: Sequence[Row]) -> None:
    """Raises RuleFailed: what a rule of the user's yields can't be findings of this slice."""
    where = rule.folder / "rule.sql"
    required: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("org", "trigger_uid", "evidence_uid", "role"), (str,)),
        **{"user_uid": (str, type(None)), "trigger_time": (int,)},
    }
    optional = {
        **{name: (int, type(None)) for name in ("first_seen", "last_attempt")},
        **{"confidence": (str, type(None)), "attempt": (str, int, type(None))},
    }
    said: dict[str, tuple[object, ...]] = {}
    for row in rows:
        for name, kinds in (required | {name: kinds for name, kinds in optional.items() if name in row}).items():
            if name not in row:
                raise RuleFailed(f"{where}: it yields no column {name}.")
            if type(row[name]) not in kinds:
                kind = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
                raise RuleFailed(f"{where}: it yields a {name} that is not of type {kind}.")
        if row["org"] != org:
            raise RuleFailed(f"{where}: it yields a row of another org than :org.")
        if not part.since <= row["trigger_time"] < part.until:
            raise RuleFailed(f"{where}: it yields a trigger_time outside of [:since, :until).")
        if (row.get("confidence") or "medium") not in CONFIDENCES:
            raise RuleFailed(f"{where}: it yields a confidence that is none of {', '.join(CONFIDENCES)}.")
        if len(row["role"]) > _MOST_ROLE:
            raise RuleFailed(f"{where}: it yields a role of more than {_MOST_ROLE} characters. A role is a word.")
        head = tuple(row.get(name) for name in _HEAD)
        if said.setdefault(row["trigger_uid"], head) != head:
            raise RuleFailed(f"{where}: its rows of one trigger differ in {', '.join(_HEAD[:-1])} or {_HEAD[-1]}.")


def _believed(turn: Turn, now: datetime) -> Turn:
    """One odd Date must not claim the future."""
    return replace(turn, time=min(turn.time, epoch_ms_of(now) + _MOST_SKEW))


def _counts(batch: Batch, stored: Stored) -> dict[str, int]:
    return {
        "records": len(batch.events) + len(batch.rejects),
        "stored": stored.new,
        "late": stored.late,
        "quarantined": len(batch.rejects),
    }


def _content(finding: Finding) -> dict[str, Any]:
    """The columns that follow from the events: what a late one can change."""
    return {
        "title": finding.title,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "user_uid": finding.user_uid,
        "user_name": finding.user_name,
        "src_ips": list(finding.src_ips),
        "summary": finding.summary,
        "first_seen_time": moment(finding.first_seen),
        "last_seen_time": moment(finding.last_seen),
        "trigger_time": finding.trigger_time,
        "evidence_count": len(finding.evidence),
        "rule_version": finding.rule_version,
    }


def _on_postgres_error(context: Any) -> None:
    # A server that was demoted answers, but takes nothing: the next connection may lead to the one in its place.
    is_guarded = context.connection is not None and context.connection.info.get(_GUARDED)
    if getattr(context.original_exception, "sqlstate", None) == "25006" and not is_guarded:
        context.is_disconnect = True


def _on_sqlite_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _on_sqlite_begin, not by the driver
    connection.execute("pragma busy_timeout = 60000")
    connection.execute("pragma page_size = 16384")  # of a new file: fewer bytes are lost at the ends of pages
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma cache_size = -8000")  # KiB


def _on_sqlite_begin(connection: sa.Connection) -> None:
    # A writer takes the lock at once: a transaction that reads first and writes later can't be made to wait.
    write = connection.get_execution_options().get("poller_write")
    connection.exec_driver_sql("begin immediate" if write else "begin")
