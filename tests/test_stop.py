"""SIGTERM at random moments: exit 0. At chosen ones, and that nothing is lost: see test_kills.py. How long it takes is
measured by `python -m tests.kills.stop`."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.kills.databases import KINDS, Databases, PostgresDatabases, SqliteFiles
from tests.kills.stop import SITUATIONS, stops
from tests.kills.zygote import Zygote


@pytest.mark.parametrize("kind", KINDS)
def test_asked_to_stop_at_a_random_moment_it_ends_with_0(request: pytest.FixtureRequest, tmp_path, kind):
    databases: Databases = (
        SqliteFiles(tmp_path) if kind == "sqlite" else PostgresDatabases(request.getfixturevalue("postgres_server"))
    )
    with Zygote() as zygote:
        every = stops(databases, tmp_path, zygote, random.Random(7))
        done = list(itertools.islice(every, 2 * len(SITUATIONS)))
    assert [(one.situation, one.ended.code) for one in done] == [(name, 0) for name in SITUATIONS] * 2
