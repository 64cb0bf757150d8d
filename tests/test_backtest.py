"""What a rule, or a change of it, finds in stored history: `rules backtest`, `rules diff`, `findings explain`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from poller import backtest, schema
from poller.store import Store
from tests.command_line import CommandLine
from tests.delivery import NOW, deliver, found, push_fatigue
from tests.test_own_rules import ENDLESS, GOOD, created, write_rule
from tests.timelines import BOB, approved, denied

RANGE = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
SPAN = ("--since", "2026-03-01", "--until", "2026-04-01")


def attacks(store: Store) -> None:
    """Two denials and a login of Alice; three and a login of Bob."""
    records = [denied(f"a{n}", f"09:0{n}:00") for n in range(2)] + [approved("a", "09:03:00")]
    records += [denied(f"b{n}", f"09:0{n}:00", user=BOB) for n in range(3)] + [approved("b", "09:03:00", user=BOB)]
    deliver(store, [record.wire() for record in records])


@pytest.fixture
def poller(database_url: str, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": database_url})


def test_it_finds_what_is_there_and_writes_nothing(store: Store) -> None:
    attacks(store)
    [rule] = push_fatigue()
    [org] = backtest.orgs_of(store)
    judged = list(backtest.judged(store, rule, org, *RANGE))
    assert {finding.uid for finding in judged} == {row["uid"] for row in found(store)}
    with store.writing() as connection:
        connection.execute(sa.delete(schema.findings))
    assert len(list(backtest.judged(store, rule, org, *RANGE))) == 2
    assert found(store) == []


def test_a_change_adds_drops_and_keeps(store: Store) -> None:
    attacks(store)
    (two,), (three,), (one,) = push_fatigue(), push_fatigue(rejections=3), push_fatigue(rejections=1)
    before, after = (list(backtest.judged(store, rule, "acme", *RANGE)) for rule in (two, three))
    stricter = backtest.difference(store, before, after)
    assert [finding.user_name for finding in stricter.removed] == ["alice.adams@example.com"]
    assert [finding.user_name for finding in stricter.kept] == [BOB.name]
    assert (stricter.added, stricter.moved) == ([], [])
    assert stricter.closed == {("new", None): 1}
    looser = backtest.difference(store, after, list(backtest.judged(store, one, "acme", *RANGE)))
    assert [finding.user_name for finding in looser.added] == ["alice.adams@example.com"]


def test_what_is_found_at_another_event_is_kept(store: Store) -> None:
    attacks(store)
    [rule] = push_fatigue()
    judged = list(backtest.judged(store, rule, "acme", *RANGE))
    from dataclasses import replace

    later = [replace(finding, uid="f" * 31 + str(n), trigger_uid=f"t{n}") for n, finding in enumerate(judged)]
    change = backtest.difference(store, judged, later)
    assert (len(change.moved), change.added, change.removed) == (2, [], [])
    stranger = [replace(finding, user_uid="00uSomebodyElse") for finding in later]
    assert len(backtest.difference(store, judged, stranger).removed) == 2


def test_the_command_tells_how_what_it_drops_was_closed(store: Store, poller: CommandLine) -> None:
    attacks(store)
    alice = next(row for row in found(store) if row["user_name"] != BOB.name)
    store.set_status(alice["uid"], "in_progress", None, "looking", NOW)
    store.set_status(alice["uid"], "resolved", "false_positive", None, NOW)
    told = poller("rules", "diff", "push_fatigue", "--set", "rejections=3", *SPAN)
    assert told.code == 0, told.err
    assert "adds 0, drops 1, keeps 1" in told.out
    assert "1 resolved as false_positive" in told.out
    data = json.loads(poller("rules", "diff", "push_fatigue", "--set", "rejections=3", *SPAN, "--format", "json").out)
    assert data["removed_by_status"] == [{"status": "resolved", "reason": "false_positive", "count": 1}]
    assert [finding["uid"] for finding in data["removed"]] == [alice["uid"]]
    assert len(found(store)) == 2


def test_a_changed_file_is_compared(store: Store, poller: CommandLine, tmp_path: Path) -> None:
    attacks(store)
    [rule] = push_fatigue()
    text = (rule.folder / "rule.sql").read_text().replace("rejections: 2", "rejections: 4")
    (tmp_path / "changed.sql").write_text(text)
    told = poller("rules", "diff", "push_fatigue", "--with", "changed.sql", *SPAN)
    assert "adds 0, drops 2, keeps 0" in told.out
    both = poller("rules", "diff", "push_fatigue", "--with", "changed.sql", "--set", "rejections=2", *SPAN)
    assert "adds 0, drops 0, keeps 2" in both.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("diff", "push_fatigue"), "nothing is changed"),
        (("diff", "nothing", "--set", "a=1"), "there is no rule"),
        (("diff", "push_fatige", "--set", "a=1"), "Did you mean push_fatigue?"),
        (("backtest", "new_device", "--apply"), "is not enabled"),
        (("diff", "push_fatigue", "--set", "rejections"), "NAME=VALUE"),
        (("diff", "push_fatigue", "--set", "windw=3m"), "unknown parameter windw"),
        (("diff", "push_fatigue", "--set", "window=3"), "not in the form of its default"),
        (("diff", "push_fatigue", "--with", "nowhere.sql"), "can't be read"),
        (("diff", "poller_lagging", "--set", "limit=1h"), "about poller itself"),
        (("backtest", "push_fatigue", "--since", "1d", "--until", "2d"), "lies before"),
        (("backtest", "push_fatigue", "--org", "other"), "no events are stored of an org 'other'"),
        (("backtest", "./nowhere"), "can't be read"),
        (("backtest", "push_fatigue", "--set", "rejections=3", "--apply"), "the rule in force"),
    ],
)
def test_wrong_words_are_said(store: Store, poller: CommandLine, words: tuple[str, ...], said: str) -> None:
    attacks(store)
    told = poller("rules", *words)
    assert told.code == 2
    assert said in told.err
    assert told.out == ""


def test_a_rule_that_is_not_enabled_can_be_tried(store: Store, poller: CommandLine, tmp_path: Path) -> None:
    deliver(store, [created(1), created(2, day=9)], rules=[])
    write_rule(tmp_path, GOOD, name="odd_token")
    told = poller("rules", "backtest", "./odd_token", *SPAN)
    assert told.out.startswith("odd_token: 2 findings about 1 user"), told.err
    assert found(store) == []
    write_rule(tmp_path, ENDLESS.replace("n.i = 7", "n.i = 'x"), name="broken")
    broken = poller("rules", "backtest", "./broken", *SPAN)
    assert broken.code in (1, 2)
    assert len(broken.err.strip().splitlines()) == 1


def test_history_is_judged_again_on_request(store: Store, poller: CommandLine, tmp_path: Path) -> None:
    attacks(store)
    with store.writing() as connection:
        connection.execute(sa.delete(schema.findings))
    (tmp_path / "poller.toml").write_text("[rules.push_fatigue]\nrejections = 3\n")
    told = poller("rules", "backtest", "push_fatigue", *SPAN, "--apply")
    assert "Stored: 1 new, 0 changed, 0 undone." in told.out
    assert [row["user_name"] for row in found(store)] == [BOB.name]


def test_a_finding_is_explained(store: Store, poller: CommandLine) -> None:
    attacks(store)
    row = found(store)[0]
    told = poller("findings", "explain", row["uid"])
    assert told.code == 0, told.err
    [rule] = push_fatigue()
    assert rule.sql in told.out
    assert rule.version in told.out
    assert "the same uid, of the same evidence" in told.out
    data = json.loads(poller("findings", "explain", row["uid"][:12], "--format", "json").out)
    binds: dict[str, Any] = data["rule"]["binds"]
    assert (binds["rejections"], binds["window"], binds["until"] - binds["since"]) == (2, 600_000, 1)
    assert data["again"]["uid"] == row["uid"]
    assert data["rule"]["judged_by"] == rule.version == row["rule_version"]
    assert {item["raw"]["uuid"] for item in data["evidence"]} == {uid for uid, _ in row["evidence"]}


def test_a_finding_that_would_not_be_found_today_is_told(store: Store, poller: CommandLine, tmp_path: Path) -> None:
    attacks(store)
    row = next(row for row in found(store) if row["user_name"] != BOB.name)
    (tmp_path / "poller.toml").write_text("[rules.push_fatigue]\nrejections = 3\n")
    told = poller("findings", "explain", row["uid"])
    assert told.code == 1
    assert "it would not be found today" in told.out
    assert f"{row['rule_version']} judged it last" in told.out
    store.prune(NOW - timedelta(days=1))
    assert poller("findings", "explain", row["uid"]).code == 1
