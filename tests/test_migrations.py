"""Migrations build exactly what schema.py declares, and nobody runs on another schema by accident."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from poller import migrate, schema
from poller.errors import DatabaseError
from poller.store import Store


def test_migrations_equal_the_schema(store: Store) -> None:
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_columns_stand_in_the_same_order_and_are_as_nullable(store: Store) -> None:
    with store.reading() as connection:
        inspector = sa.inspect(connection)
        for table in schema.metadata.sorted_tables:
            there = [(column["name"], column["nullable"]) for column in inspector.get_columns(table.name)]
            assert there == [(column.name, column.nullable) for column in table.columns]


def test_every_activity_is_a_view(store: Store) -> None:
    with store.reading() as connection:
        assert set(schema.activity_views()) <= set(sa.inspect(connection).get_view_names())
        names = set(re.findall(r"then '(\w+)'", schema.ACTIVITIES_SQL.read_text()))
        assert names == set(schema.activity_views()) - {"activities"}
        for view in schema.activity_views():
            connection.execute(sa.text(f"select * from {view}")).all()


def test_upgrading_what_is_current_does_nothing(store: Store) -> None:
    assert migrate.current(store) == migrate.head()
    assert migrate.upgrade(store) is False


def test_an_old_sqlite_file_is_upgraded_by_itself(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'poller.db'}") as store:
        assert migrate.current(store) is None
        migrate.ensure(store, auto=False)
        assert migrate.current(store) == migrate.head()


def test_postgres_is_upgraded_only_where_that_is_asked_for(postgres_server: str) -> None:
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("create database still_empty")
    with Store(postgres_server.format("still_empty")) as store:
        with pytest.raises(DatabaseError, match="poller migrate"):
            migrate.ensure(store, auto=False)
        assert migrate.current(store) is None
        migrate.ensure(store, auto=True)
        assert migrate.current(store) == migrate.head()


def test_a_newer_schema_is_left_alone(new_database: Callable[[str], str]) -> None:
    with Store(new_database("sqlite")) as store:
        with store.writing() as connection:
            connection.execute(sa.text("update alembic_version set version_num = '9999'"))
        with pytest.raises(DatabaseError, match="newer"):
            migrate.ensure(store, auto=True)


def test_ids_are_compared_byte_by_byte_on_postgres(store: Store) -> None:
    """`a` < `B` in most languages, but not in ids: both databases must put them in the same order."""
    with store.writing() as connection:
        for org in ("a", "B", "_", "ä", "Z", "aa"):
            connection.execute(sa.insert(schema.orgs).values(org=org))
        there = [org for (org,) in connection.execute(sa.select(schema.orgs.c.org).order_by(schema.orgs.c.org))]
    assert there == sorted(there)
