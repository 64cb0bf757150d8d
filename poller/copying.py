"""Everything of one database into another, of whatever kinds they are: `poller copy`.

The source is read as it is at one moment, so a daemon may go on writing to it. All that is written to the target is
written, read back and compared in one transaction: it is all there afterwards, or nothing is. What is left behind is
who holds which lease: that is of the daemons on the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from poller import migrate
from poller.errors import DatabaseError, UsageError
from poller.schema import Instant, daemons, metadata, orgs, quarantine
from poller.store import Store
from poller.text import iso, without_secrets

BATCH = 500  # rows in memory
CACHE = 128  # MB that SQLite may keep of the target's indexes while it writes
TABLES = [table for table in metadata.sorted_tables if table is not daemons]  # those that others refer to come first

Progress = Callable[[str, int, int], object]  # table, rows done, rows to do; each is written, then read back


def copy(source: Store, target: Store, progress: Progress = lambda table, done, of: None) -> list[tuple[str, int]]:
    """Copy every table, whose schema is made where there is none. Returns (table, rows) in the order of copying.

    Raises UsageError: both are the same database, or the target is not empty. Raises DatabaseError: one of them failed,
    or what was read back differs; the target is then as empty as before.
    """
    if _identity(source) == _identity(target):
        raise UsageError(f"{shown(target)} is the database that is copied from. Name another one.")
    migrate.ensure(target, auto=True)
    with source.reading() as reader, target.writing() as writer:
        with source._translated():
            if source.is_postgres:
                reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            counts = {table.name: _count(reader, table) for table in TABLES}
        _claim(target, writer)
        for table in TABLES:
            _copy_table(source, reader, target, writer, table, counts[table.name], progress)
    return list(counts.items())


def shown(store: Store) -> str:
    """The address of a database, without its password."""
    return without_secrets(store.url.render_as_string(hide_password=True))


def _identity(store: Store) -> tuple[Any, ...]:
    """The same for one database under two names, another for any other."""
    if not store.is_postgres:
        file = Path(store.url.database or "").stat()
        return file.st_dev, file.st_ino
    query = (
        "select pg_postmaster_start_time(), oid, current_schema() from pg_database where datname = current_database()"
    )
    with store.reading() as connection:
        return tuple(connection.exec_driver_sql(query).one())


def _claim(target: Store, connection: sa.Connection) -> None:
    """Keep everybody else from writing to the target until the end, and make sure that nobody has."""
    if target.is_postgres:
        connection.exec_driver_sql("set local idle_in_transaction_session_timeout = 0")  # the source may be slow
        for table in metadata.sorted_tables:
            connection.exec_driver_sql(f"lock table {table.name} in share row exclusive mode")
    else:
        connection.exec_driver_sql(f"pragma cache_size = {-1024 * CACHE}")
    for table in metadata.sorted_tables:
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
            raise UsageError(
                f"{shown(target)} is not empty: its table {table.name} has rows. Name a database that poller has not"
                " used, or drop that one and create it anew."
            )


def _copy_table(
    source: Store,
    reader: sa.Connection,
    target: Store,
    writer: sa.Connection,
    table: sa.Table,
    count: int,
    progress: Progress,
) -> None:
    done = 0

    def told(batches: Iterable[list[Any]]) -> Iterator[list[Any]]:
        nonlocal done
        for batch in batches:
            yield batch
            done += len(batch)
            progress(table.name, done, 2 * count)

    read = _Sum(table)
    _write(writer, table, read.of(told(_rows(source, reader, table))), target.is_postgres)
    there = _Sum(table)
    for _ in there.of(told(_rows(target, writer, table))):
        pass
    if (read.rows, read.hashes) != (there.rows, there.hashes) or read.rows != count:
        raise DatabaseError(
            f"{shown(target)} did not give back what was written to its table {table.name}"
            f" ({count} rows to copy, {read.rows} read, {there.rows} read back). Nothing was copied:"
            " check both databases and their disks, then try again."
        )
    if target.is_postgres:
        _settle(writer, table)


def _rows(store: Store, connection: sa.Connection, table: sa.Table) -> Iterator[list[Any]]:
    """All rows of a table in batches, as Python values, without what is left behind."""
    columns = [sa.null() if column is orgs.c.lease_holder else column for column in table.columns]
    with store._translated():
        size = 10 if table is quarantine else BATCH  # of what is kept uncompressed, some may be huge
        rows = connection.execute(sa.select(*columns).select_from(table), execution_options={"yield_per": size})
        yield from rows.partitions()  # type: ignore[misc]


def _write(connection: sa.Connection, table: sa.Table, batches: Iterable[list[Any]], is_postgres: bool) -> None:
    to_wire = _to_wire(table, connection.dialect)
    names = ", ".join(column.name for column in table.columns)
    if is_postgres:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"copy {table.name} ({names}) from stdin") as wire:
            for batch in batches:
                for row in batch:
                    wire.write_row(to_wire(row))
    else:
        marks = ", ".join("?" * len(table.columns))
        for batch in batches:
            rows = [tuple(to_wire(row)) for row in batch]
            connection.exec_driver_sql(f"insert into {table.name} ({names}) values ({marks})", rows)


def _to_wire(table: sa.Table, dialect: sa.Dialect) -> Callable[[Any], Any]:
    """Turns a row into what the driver takes, as SQLAlchemy would."""
    processors = [
        (number, processor)
        for number, column in enumerate(table.columns)
        if (processor := column.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    ]

    def to_wire(row: Any) -> Any:
        values = list(row)
        for number, processor in processors:
            if values[number] is not None:
                values[number] = processor(values[number])
        return values

    return to_wire


class _Sum:
    """Counts the rows that pass, and adds up their hashes: the same for the same rows in any order, on any database."""

    def __init__(self, table: sa.Table) -> None:
        self.rows = self.hashes = 0
        self._instants = [number for number, column in enumerate(table.columns) if isinstance(column.type, Instant)]

    def of(self, batches: Iterable[list[Any]]) -> Iterator[list[Any]]:
        for batch in batches:
            self.rows += len(batch)
            self.hashes += sum(map(self._hash, batch))
            yield batch

    def _hash(self, row: Any) -> int:
        values = list(row)
        for number in self._instants:
            if values[number] is not None:
                values[number] = iso(values[number])  # in milliseconds: what SQLite keeps of a moment
        return int.from_bytes(hashlib.blake2b(msgspec.msgpack.encode(values), digest_size=16).digest(), "big")


def _settle(connection: sa.Connection, table: sa.Table) -> None:
    """On Postgres, number new rows after those that were copied, and let the planner look at them."""
    serial = table.autoincrement_column
    if serial is not None:
        number = f"pg_get_serial_sequence('{table.name}', '{serial.name}')"
        last = f"select max({serial.name}) as last from {table.name}"
        connection.exec_driver_sql(f"select setval({number}, last) from ({last}) as rows where last is not null")
    connection.exec_driver_sql(f"analyze {table.name}")


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
