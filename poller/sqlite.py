"""The SQLite that is used: that of a wheel where there is one, else the one that Python brings along.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database, though very seldom: where two connections write or checkpoint at the
same moment, a checkpoint may not notice that the log has been reset, and leave out part of it. Mended in 3.51.3, and in
3.44.6 and 3.50.7 of the older lines. Most systems still ship one that is not.
Source: https://sqlite.org/wal.html, "The WAL-Reset Bug".
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

OLDEST = (3, 35, 0)  # the first with materialized common table expressions, which rules use
_MENDED = ((3, 44, 6), (3, 50, 7))  # the first of each older line


def _driver() -> Any:
    for package in ("pysqlite3", "sqlean"):  # pyproject.toml says which of them is installed where
        try:
            return import_module(f"{package}.dbapi2")
        except ImportError:
            continue
    return import_module("sqlite3")


driver = _driver()
VERSION: str = driver.sqlite_version


def has_wal_reset_bug(version: tuple[int, ...] = driver.sqlite_version_info) -> bool:
    """Whether this version of SQLite can corrupt a WAL database that two connections use."""
    is_mended = version >= (3, 51, 3) or any(line <= version < (*line[:2], 1000) for line in _MENDED)
    return version >= (3, 7, 0) and not is_mended
