"""Migrations build exactly what schema.py declares, and nobody runs on another schema by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from poller import migrate, schema
from poller.activities import ACTIVITIES_SQL, activity_views, event_types
from poller.errors import DatabaseError
from poller.store import Store
from tests.delivery import deliver


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
        assert set(activity_views()) <= set(sa.inspect(connection).get_view_names())
        names = set(re.findall(r"(?:then|^select) '(\w+)'", ACTIVITIES_SQL.read_text(), re.MULTILINE))
        assert names == set(activity_views()) - {"activities"}
        for view in activity_views():
            connection.execute(sa.text(f"select * from {view}")).all()


def test_every_activity_names_its_event_types() -> None:
    assert all(event_types().values())
    assert event_types()["push_sent"] == {"system.push.send_factor_verify_push"}
    assert event_types()["push_rejected"] == {
        "user.mfa.okta_verify.deny_push",
        "user.authentication.auth_via_mfa",
    }
    for name, view in activity_views().items():
        if name != "activities":
            assert f"'{name}' as activity" in view or f"activity = '{name}'" in view


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


def test_events_from_before_get_the_columns_that_came_later(store: Store) -> None:
    """What is in the raw record is told by the new columns, as of an event that comes today."""
    records = [
        json.dumps(
            {
                "uuid": f"event-{number}",
                "published": "2026-03-01T09:00:00Z",
                "target": [{"type": "AppInstance", "id": f"0oa{number}", "displayName": "Example CRM"}],
                "client": {"geographicalContext": {"geolocation": {"lat": 1.5, "lon": number / 100}}},
            }
        ).encode()
        for number in range(2500)
    ]
    deliver(store, records, rules=[])
    query = sa.select(schema.events).order_by(schema.events.c.uid)
    with store.reading() as connection:
        before = connection.execute(query).all()
    path = migrate.migrations_folder() / "versions" / "0003_bench.py"
    spec = spec_from_file_location("revision_0003", path)
    assert spec
    assert spec.loader
    revision = module_from_spec(spec)
    spec.loader.exec_module(revision)
    with store.writing() as connection:
        connection.execute(sa.update(schema.events).values(dict.fromkeys(revision.ADDED)))
        assert connection.execute(query).all() != before
        revision.fill(connection)
    with store.reading() as connection:
        assert connection.execute(query).all() == before
