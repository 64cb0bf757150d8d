"""`poller copy`: everything of one database into another, in all four directions."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from poller import copying, exceptions, migrate
from poller.demo import SimulatedOkta
from poller.errors import DatabaseError, UsageError
from poller.schema import daemons, finding_history, metadata, orgs, pages, quarantine, rule_backlog
from poller.settings import load
from poller.store import Store
from tests.command_line import CommandLine
from tests.delivery import NOW, deliver, found
from tests.timelines import ALICE, BOB, Record, User, record

KINDS = ("sqlite", "postgres")
# What an attacker may choose, and what has a meaning to COPY, to SQL or to a terminal.
HOSTILE = "\\N\t\\.\n\r'\"; drop table events; -- \\x1b \x1b[31m \u202e \U0001f600 \x7f %s $1 {} " + "ü" * 100_000


def attack(name: str, user: User, **fields: Any) -> list[Record]:
    """Two pushes denied and the third approved."""
    return [
        record(f"{name}1", "push_denied", "09:00:00", user=user, sign_in=f"{name}a", **fields),
        record(f"{name}2", "push_denied", "09:01:00", user=user, sign_in=f"{name}b", **fields),
        record(f"{name}3", "push_approved", "09:02:00", user=user, sign_in=f"{name}c", **fields),
    ]


def wires(*timelines: list[Record]) -> list[bytes]:
    return [item.wire() for timeline in timelines for item in timeline]


def fill(store: Store) -> None:
    """Something in every table: two orgs, hostile text, rubbish, triage, a backfill, a lease."""
    hostile = {"uuid": "hostile", "published": "2026-03-10T09:00:00.123456Z", "client": {"userAgent": HOSTILE}}
    deliver(store, [*wires(attack("a", ALICE)), hostile, b"[]", b"\x00\xff\\x"], page=2)
    deliver(store, wires(attack("b", BOB)), org="other")
    store.note_error("other", HOSTILE, NOW)
    store.open_backfill("acme", "30d .. now", NOW - timedelta(days=30), NOW, NOW)
    first, second = found(store)
    store.set_status(first["uid"], "in_progress", None, HOSTILE, NOW + timedelta(microseconds=1234))
    store.set_status(second["uid"], "resolved", "benign", None, NOW)
    with store.writing() as connection:
        connection.execute(sa.insert(daemons).values(uid="d1", fleet="f", process="elsewhere 1 2", alive_until=1))
        connection.execute(sa.update(orgs).values(lease_holder="d1", lease_epoch=7))
        rest = {"org": "acme", "rule": "mine", "since": 1, "until": 2, "error": HOSTILE, "next_try_time": 3}
        connection.execute(sa.insert(rule_backlog).values(rest))
    until = NOW + timedelta(days=30)
    exceptions.add(store, exceptions.Wanted("push_fatigue", None, None, "::1", HOSTILE, "sec", until), NOW)


def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables but those of daemons, moments in milliseconds, without who holds a lease."""
    with store.reading() as connection:
        return {
            table.name: sorted(
                (_as_kept(row) for row in connection.execute(sa.select(table)).mappings()), key=lambda row: repr(row)
            )
            for table in metadata.sorted_tables
            if table is not daemons
        }


def _as_kept(row: Any) -> dict[str, Any]:
    def kept(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)
        return value

    return {name: kept(value) for name, value in row.items() if name != "lease_holder"}


def is_empty(store: Store) -> bool:
    return not any(everything(store).values())


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> Iterator[Store]:
    with Store(new_database(request.param)) as store:
        fill(store)
        yield store


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> Iterator[Store]:
    with Store(new_database(request.param)) as store:
        yield store


# ---- all of it ----


def test_every_row_of_every_table_arrives(source: Store, target: Store) -> None:
    before = everything(source)
    assert all(before.values()), "this test is only good for tables that have rows"
    told = copying.copy(source, target)
    assert everything(target) == before == everything(source)
    assert found(target) == found(source)
    assert dict(told) == {name: len(rows) for name, rows in before.items()}


def test_who_polls_is_left_behind(source: Store, target: Store) -> None:
    copying.copy(source, target)
    with target.reading() as connection:
        assert connection.execute(sa.select(daemons)).all() == []
        assert set(connection.execute(sa.select(orgs.c.lease_holder, orgs.c.lease_epoch))) == {(None, 7)}


def test_new_rows_are_numbered_after_the_old(source: Store, target: Store) -> None:
    copying.copy(source, target)
    store = target
    highest = {table.name: _last(store, table) for table in (quarantine, finding_history, pages)}
    store.set_status(found(store)[0]["uid"], "resolved", "benign", None, NOW)
    deliver(store, [b"rubbish that is new"])
    assert {table.name: _last(store, table) for table in (quarantine, finding_history, pages)} == {
        name: last + 1 for name, last in highest.items()
    }


def _last(store: Store, table: sa.Table) -> int:
    with store.reading() as connection:
        return connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one()


def test_a_copy_of_a_copy_is_the_same(new_database: Callable[[str], str]) -> None:
    stores = [Store(new_database(kind)) for kind in ("postgres", "sqlite", "postgres", "sqlite")]
    fill(stores[0])
    for one, next_one in itertools.pairwise(stores):
        copying.copy(one, next_one)
    assert everything(stores[-1]) == everything(stores[0])
    for store in stores:
        store.close()


def test_what_is_stored_while_it_copies_is_not_torn(source: Store, target: Store) -> None:
    before = everything(source)

    def progress(table: str, done: int, of: int) -> None:
        if table == "events" and done == of // 2:
            deliver(source, wires(attack("late", BOB)))

    copying.copy(source, target, progress)
    assert everything(target) == before != everything(source)


def test_more_rows_than_one_batch_are_told_as_they_pass(source: Store, target: Store) -> None:
    many = [
        {"uuid": f"e{number}", "published": "2026-03-10T09:00:00Z", "eventType": "user.session.end"}
        for number in range(2 * copying.BATCH)
    ]
    deliver(source, many, rules=[])
    told: list[tuple[int, int]] = []
    copied = dict(
        copying.copy(source, target, lambda table, done, of: told.append((done, of)) if table == "events" else 0)
    )
    assert copied["events"] > 2 * copying.BATCH
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) == 6
    assert told[-1] == (2 * copied["events"], 2 * copied["events"])


# ---- or nothing ----


@pytest.mark.parametrize("table", ["orgs", "events", "finding_history"])
def test_a_copy_that_was_broken_off_leaves_nothing_and_can_begin_anew(source: Store, target: Store, table: str) -> None:
    def break_off(name: str, done: int, of: int) -> None:
        if name == table:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(source, target, break_off)
    assert is_empty(target)
    copying.copy(source, target)
    assert everything(target) == everything(source)


def test_a_target_that_does_not_give_back_what_was_written_is_found_out(source: Store, target: Store) -> None:
    with target.writing() as connection:
        if target.is_postgres:
            connection.exec_driver_sql(
                "create function spoil() returns trigger language plpgsql as"
                " $$ begin new.reason = new.reason || '!'; return new; end $$"
            )
            connection.exec_driver_sql(
                "create trigger spoil before insert on quarantine for each row execute function spoil()"
            )
        else:
            connection.exec_driver_sql(
                "create trigger spoil after insert on quarantine"
                " begin update quarantine set reason = reason || '!' where id = new.id; end"
            )
    with pytest.raises(DatabaseError, match=r"did not give back what .* its table quarantine .* try again"):
        copying.copy(source, target)
    assert is_empty(target)


@pytest.mark.parametrize("name", [table.name for table in metadata.sorted_tables])
def test_a_target_with_rows_in_any_table_is_refused_and_left_alone(source: Store, target: Store, name: str) -> None:
    copying.copy(source, target)
    needed = {"finding_evidence": {"findings"}, "finding_history": {"findings"}}.get(name, set()) | {name}
    with target.writing() as connection:
        connection.execute(sa.insert(daemons).values(uid="d2", fleet="f", process="elsewhere 1 2", alive_until=1))
        for table in reversed(metadata.sorted_tables):
            if table.name not in needed:
                connection.execute(sa.delete(table))
    before = everything(target)
    with pytest.raises(UsageError, match=r"is not empty: its table \w+ has rows"):
        copying.copy(source, target)
    assert everything(target) == before


def test_a_database_is_not_copied_into_itself_whatever_it_is_called(source: Store, tmp_path: Path) -> None:
    if source.is_postgres:
        other = source.url.update_query_dict({"application_name": "other"})
    else:
        (tmp_path / "link.db").symlink_to(str(source.url.database))
        other = sa.make_url(f"sqlite:///{tmp_path / 'link.db'}")
    before = everything(source)
    with (
        Store(other.render_as_string(hide_password=False)) as same,
        pytest.raises(UsageError, match="is the database that is copied from"),
    ):
        copying.copy(source, same)
    assert everything(source) == before


def test_a_target_with_a_newer_schema_is_refused(source: Store, target: Store) -> None:
    with target.writing() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newer"):
        copying.copy(source, target)


# ---- the command ----


@pytest.fixture
def poller(source: Store, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": source.url.render_as_string(hide_password=False)})


def test_the_command_makes_the_schema_copies_and_says_what(poller: CommandLine, source: Store, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'copy.db'}"
    done = poller("copy", "--to", url)
    assert (done.code, done.err) == (0, "")
    with Store(url) as target:
        assert migrate.current(target) == migrate.head()
        rows = everything(target)
        assert rows == everything(source)
    *tables, last = done.out.splitlines()
    assert [line.split()[:2] for line in tables] == [
        [table.name, str(len(rows[table.name]))] for table in copying.TABLES
    ]
    assert url in last
    assert "POLLER_DATABASE_URL" in last
    assert stat.S_IMODE(os.stat(tmp_path / "deep" / "copy.db").st_mode) == 0o600
    again = poller("copy", "--to", url)
    assert (again.code, again.out) == (2, "")
    assert re.fullmatch(r"poller: sqlite:///.*copy\.db is not empty: .*\n", again.err)


def test_on_postgres_the_schema_is_made_without_being_asked_for(poller: CommandLine, postgres_server: str) -> None:
    import psycopg

    name = f"bare_{os.getpid()}_{poller.folder.name.rpartition('_')[2]}"
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    done = poller("copy", "--to", postgres_server.format(name))
    assert done.code == 0, done.err
    with Store(load(database_url=postgres_server.format(name)).database_url) as target:
        assert len(found(target)) == 2


def test_a_bar_is_shown_on_a_terminal(poller: CommandLine, tmp_path: Path) -> None:
    shown = poller.on_terminal("copy", "--to", f"sqlite:///{tmp_path / 'copy.db'}")
    assert "100%" in shown
    assert "\x1b[?25h" in shown  # the cursor is given back
    assert "All of it is in" in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/none",
        "postgresql://me@127.0.0.1:1/none?password=hunter2",
        "postgresql://me:hunter2@127.0.0.1:port/none",
        "mysql://me:hunter2@127.0.0.1/none",
        "hunter2",
        "sqlite://",
    ],
)
def test_a_target_that_cannot_be_used_is_one_line_without_its_password(poller: CommandLine, url: str) -> None:
    done = poller("copy", "--to", url)
    assert (done.code in (1, 2), done.out) == (True, "")
    assert re.fullmatch(r"poller: .*\n", done.err)
    assert "hunter2" not in done.err
    assert "POLLER_DATABASE_URL" not in done.err


def test_a_source_that_is_not_there_is_wrong_usage_and_is_not_made(tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"})
    done = poller("copy", "--to", f"sqlite:///{tmp_path / 'copy.db'}")
    assert (done.code, done.out) == (2, "")
    assert "is not there" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_polling_goes_on_with_the_copy_where_it_was(
    source: Store, new_database: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    """Half of an attack before, half of it after: as if nothing had been moved, nothing lost and nothing twice."""
    start = datetime.now(UTC) - timedelta(minutes=30)
    events = [
        {**item.raw, "published": (start + timedelta(minutes=minute)).isoformat(timespec="milliseconds")}
        for minute, item in enumerate(attack("moved", ALICE))
    ]
    there, control = new_database(kind), new_database("sqlite")
    with SimulatedOkta(events[:2]) as okta:
        names = {"POLLER_OKTA_ORG_URL": okta.url, "POLLER_OKTA_API_TOKEN": okta.token, "POLLER_OKTA_ORG_NAME": "moved"}
        stayed = CommandLine(tmp_path, {**names, "POLLER_DATABASE_URL": control})
        before = stayed.having(POLLER_DATABASE_URL=source.url.render_as_string(hide_password=False))
        after = stayed.having(POLLER_DATABASE_URL=there)
        assert before("run", "--once").code == stayed("run", "--once").code == 0
        assert before("copy", "--to", there).code == 0
        okta.append(events[2:])
        for poller in (after, stayed):
            done = poller("run", "--once")
            assert done.code == 0, done.err
    with Store(load(database_url=there).database_url) as moved, Store(control) as unmoved:
        assert found(moved, "moved") == found(unmoved, "moved")
        assert len(found(moved, "moved")) == 1
        assert _uids(moved) == _uids(unmoved) == sorted(event["uuid"] for event in events)
        assert _chain(moved) == _chain(unmoved)  # from where it was, not opened anew


def _chain(store: Store) -> list[Any]:
    """How each page of the live cursor was opened, how many records it had, and where it ended."""
    query = sa.select(pages.c.opened, pages.c.records, pages.c.stored, pages.c.link_out)
    with store.reading() as connection:
        rows = connection.execute(query.where(pages.c.org == "moved").order_by(pages.c.id)).all()
    return [(opened, records, stored, re.findall(r"after=([^&]+)", link)) for opened, records, stored, link in rows]


def _uids(store: Store) -> list[str]:
    with store.reading() as connection:
        return sorted(connection.scalars(sa.text("select uid from events where org = 'moved'")))
