"""Bring a database to the schema of this program, or say that it is not there."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from poller.activities import activity_views
from poller.errors import DatabaseError
from poller.revision import head, migrations_folder
from poller.store import Store

# What Postgres, libpq and PgBouncer say to who may not come in, or asks for what is not there or makes no sense.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "no such database",
    "other objects depend on it",
    "no such user",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
    "definition of service",
    "service file",
    "invalid sslmode value",
)
_SQLITE_ERROR = 1  # the statement itself is wrong, such as one about a table that is not there


def current(store: Store) -> str | None:
    """The revision of the database, None where there is none. Cheap: Alembic is not needed to know it."""
    with store.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("select version_num from alembic_version")).scalar()


def upgrade(store: Store) -> bool:
    """Create or upgrade the schema, in one transaction. True if there was anything to do."""
    if current(store) == head():
        return False
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with store.writing() as connection:
        if store.is_postgres:  # two upgrades at once take turns
            connection.execute(
                sa.text("create table if not exists alembic_version (version_num varchar(32) primary key)")
            )
            connection.execute(sa.text("lock table alembic_version in exclusive mode"))
        config.attributes["connection"] = connection
        for view in reversed(activity_views()):  # those that read others first
            connection.execute(sa.text(f"drop view if exists {view}"))
        command.upgrade(config, "head")
        for statement in activity_views().values():
            connection.exec_driver_sql(statement)
    store.engine.dispose()  # SQLite reads its planner statistics when a connection opens
    return True


def ensure(store: Store, auto: bool) -> None:
    """The schema is there and current; made so on SQLite or where `auto` says so, else a DatabaseError."""
    have, want = current(store), head()
    if have == want:
        return
    if have is not None and have > want:
        raise DatabaseError(
            f"the database has schema {have}, newer than this program's {want}. Install the newer poller again."
        )
    if store.is_postgres and not auto:
        where = store.shown
        state = "no poller schema" if have is None else f"schema {have} and this program needs {want}"
        raise DatabaseError(f"{where} has {state}. Run poller migrate, or set POLLER_AUTO_MIGRATE=true.")
    upgrade(store)


def is_away(error: DatabaseError) -> bool:
    """Whether waiting may help, or a person is needed: for another schema, password, database or right."""
    cause = error.__cause__
    if not isinstance(cause, (OperationalError, InternalError, InterfaceError)):
        return False
    # psycopg has no code for what a server says to a connection that it refuses.
    told = str(cause.orig).lower()
    is_refused = any(words in told for words in _REFUSALS)
    return not is_refused and getattr(cause.orig, "sqlite_errorcode", None) != _SQLITE_ERROR
