"""Which SQLite is used, and which of them can corrupt a database."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from poller import sqlite
from poller.demo import SimulatedOkta
from tests.command_line import ROOT, CommandLine


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.0", "3.51.2"])
def test_these_have_the_wal_reset_bug(version: str) -> None:
    assert sqlite.has_wal_reset_bug(numbers(version))


@pytest.mark.parametrize("version", ["3.6.23", "3.44.6", "3.44.7", "3.50.7", "3.51.3", "3.52.0", "3.53.4", "4.0.0"])
def test_these_do_not(version: str) -> None:
    assert not sqlite.has_wal_reset_bug(numbers(version))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_where_a_wheel_brings_an_sqlite_it_is_used_and_has_no_such_bug() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [Requirement(text) for text in project["dependencies"]]
    wheels = [one for one in needed if one.name in ("pysqlite3", "arize-phoenix-sqlean") and one.marker]
    assert len(wheels) == 2
    if not any(one.marker.evaluate() for one in wheels if one.marker):
        pytest.skip("no wheel for this machine")
    assert sqlite.driver.__name__.partition(".")[0] in ("pysqlite3", "sqlean")
    assert not sqlite.has_wal_reset_bug()


@pytest.fixture
def without_wheels(tmp_path: Path) -> CommandLine:
    """`poller` where neither wheel can be imported."""
    for name in ("pysqlite3", "sqlean"):
        (tmp_path / "hidden" / name).mkdir(parents=True)
        (tmp_path / "hidden" / name / "__init__.py").write_text("raise ImportError\n")
    path = f"{tmp_path / 'hidden'}:{ROOT}"
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": f"sqlite:///{tmp_path / 'here.db'}", "PYTHONPATH": path})


def doctor(poller: CommandLine) -> str:
    with SimulatedOkta([]) as okta:
        told = poller.having(POLLER_OKTA_ORG_URL=okta.url, POLLER_OKTA_API_TOKEN=okta.token)("doctor")
    assert told.code == 0, told.out
    return told.out


def test_the_doctor_says_which_sqlite_is_in_use(tmp_path: Path) -> None:
    told = doctor(CommandLine(tmp_path, {"POLLER_DATABASE_URL": f"sqlite:///{tmp_path / 'here.db'}"}))
    assert re.search(rf"^ok +database .*SQLite {re.escape(sqlite.VERSION)}\b", told, re.MULTILINE)
    assert ("can corrupt" in told) == sqlite.has_wal_reset_bug()


def test_without_a_wheel_it_is_that_of_python_and_the_doctor_says_what_to_do(without_wheels: CommandLine) -> None:
    told = doctor(without_wheels)
    assert re.search(rf"^ok +database .*SQLite {re.escape(sqlite3.sqlite_version)}\b", told, re.MULTILINE)
    note = re.search(
        rf"^note +database +SQLite {re.escape(sqlite3.sqlite_version)} can corrupt .*$", told, re.MULTILINE
    )
    assert bool(note) == sqlite.has_wal_reset_bug(sqlite3.sqlite_version_info)
    if note:
        assert all(word in note[0] for word in ("3.51.3", "pysqlite3", "Postgres"))
