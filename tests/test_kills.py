"""Killed, stopped, failing and run again: in the end all is as if nothing had happened. The long versions are commands:
`python -m tests.kills` and `python -m tests.kills.failures`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.kills.databases import Databases, PostgresDatabases, SqliteFiles, content, difference
from tests.kills.failures import fail_read, failures_of
from tests.kills.points import Plan
from tests.kills.scenario import Scenario, Step, scenario


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    databases: Databases
    if request.param == "sqlite":
        databases = SqliteFiles(tmp_path_factory.mktemp("kills"))
    else:
        databases = PostgresDatabases(request.getfixturevalue("postgres_server"))
    with scenario(databases) as one:
        yield one


def name_of(point: str) -> str:
    return point.rpartition(":")[0]


def spread(told: Scenario) -> list[tuple[Step, str]]:
    """Each kind of point once: in the middle of its kind, in the quickest step that passes it."""
    chosen: dict[str, tuple[Step, str]] = {}
    for step in sorted(told.steps.values(), key=lambda step: step.seconds):
        for name in dict.fromkeys(map(name_of, step.points)):
            of_the_kind = [point for point in step.points if name_of(point) == name]
            chosen.setdefault(name, (step, of_the_kind[len(of_the_kind) // 2]))
    return list(chosen.values())


def test_the_story_has_all_that_can_be_lost(told):
    """A finding of each way of fetching, one that a late event undid, quarantine, and deleted events."""
    passed = {name_of(point) for step in told.steps.values() for point in step.points}
    assert {"committed", "http request", "delete from findings", "delete from events", "create table"} <= passed
    assert ("copy a row" if told.databases.kind == "postgres" else "create file") in passed
    [followed, *_], [filled, *_] = told.steps["once"].expected, told.steps["backfill"].expected
    found = [sum("push_fatigue" in repr(row) for row in content["findings"]) for content in (followed, filled)]
    assert (found, len(followed["quarantine"])) == ([1, 2], 2)
    assert len(followed["findings"]) == 1 + 3, "those of the user's rule, which is run after the page"


def test_a_process_that_was_killed_and_not_run_again_leaves_a_difference(told):
    """Else the tests below would prove nothing."""
    step = told.steps["once"]
    told.databases.restore(step.state)
    told.run(step, Plan(kill_at="committed:3"))
    assert difference(step.expected[0], content(told.databases.url))


def test_killed_at_any_kind_of_point_and_run_again_it_ends_as_if_it_had_not_been(told):
    killed = [(step.name, point, told.kill_at(step, point)) for step, point in spread(told)]
    assert [one for one in killed if one[2][1] is not None] == []
    assert sum(was_killed for _, _, (was_killed, _) in killed) > len(killed) / 2


def test_killed_at_random_moments_and_run_again_it_ends_as_if_it_had_not_been(told):
    source, killed = random.Random(told.databases.kind), 0
    for step in told.steps.values():
        moments = [round(source.uniform(0, step.seconds), 4) for _ in range(2)]
        kills, wrong = told.kill_after(step, moments)
        assert wrong is None, (step.name, moments)
        killed += kills
    assert killed


def test_any_database_call_may_fail_once(told):
    step = told.steps["once"]
    for failure in failures_of(told.databases.kind):
        number, codes = 1, set()
        while (failed := told.fail_call(step, number, failure)) is not None:
            assert failed.wrong is None, (failure, number)
            codes.add(failed.ended.code)
            number += 29  # what the long version does not leave out
        assert 1 in codes, failure


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(("http request", "http sent", "http answer", "http body"), id="a request"),
        pytest.param(("insert orgs", "copy a row", "end a copy", "insert events", "insert pages"), id="a page"),
        pytest.param(("read push_rejected", "insert findings", "insert finding_evidence"), id="a rule"),
        pytest.param(("connect", "begin", "commit", "committed", "rollback"), id="a transaction"),
    ],
)
def test_asked_to_stop_in_the_middle_of_it_a_daemon_ends_with_0_and_goes_on_when_run_again(told, points):
    step = told.steps["daemon"]
    for name in points:
        of_the_kind = [point for point in step.points if name_of(point) == name]
        if of_the_kind:
            assert told.stop_at(step, of_the_kind[len(of_the_kind) // 2]) == (0, None), name


@pytest.mark.parametrize("number", [1, 3, 5])
def test_any_read_may_be_refused_once(told, number):
    failed = fail_read(told, told.steps["once"], number, "refused")
    assert failed is not None
    assert (failed.ended.code, failed.wrong) == (1, None)


def test_a_read_that_is_cut_off_is_read_again_in_the_same_run(told):
    failed = fail_read(told, told.steps["once"], 3, "reset")
    assert failed is not None
    assert (failed.ended.code, failed.wrong) == (0, None)
