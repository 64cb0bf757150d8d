"""Rule folders: what can't be used says which file and line; settings change what a rule is given."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from poller.errors import RuleError, SettingsError
from poller.rules import load_rules, read_rule
from poller.settings import RuleSettings
from poller.slices import Slice, joined, reopened

MINUTE = 60_000
HEADER = """/*
title: Two pushes denied
id: 00000000-0000-4000-8000-000000000000
level: low
parameters: {rejections: 2, window: 10m}
lookback: window + 4h
*/
"""
QUERY = """select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'denied' as role
from push_rejected where org = :org and time >= :since and time < :until -- not a bind: :nothing
"""


def folder(tmp_path: Path, text: str, runbook: bool = True) -> Path:
    path = tmp_path / "two_denied"
    path.mkdir()
    (path / "rule.sql").write_text(text)
    if runbook:
        (path / "README.md").write_text("# two_denied\n")
    return path


def test_a_rule_is_its_metadata_and_its_query(tmp_path: Path) -> None:
    rule = read_rule(folder(tmp_path, HEADER + QUERY + ";\n"))
    assert (rule.name, rule.title, rule.level) == ("two_denied", "Two pushes denied", "low")
    assert rule.parameters == {"rejections": 2, "window": 10 * MINUTE}
    assert (rule.lookback, rule.lookahead) == (250 * MINUTE, 0)
    assert "--" not in rule.statement
    assert "'denied'" in rule.statement


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select 1", "rule.sql:1: it does not start with a comment"),
        ("/*\ntitle: [\n*/\nselect 1", "the metadata is not YAML"),
        ("/*\nonly text\n*/\nselect 1", "rule.sql:1: the metadata is not a mapping"),
        (HEADER.replace("level: low\n", "") + QUERY, "rule.sql:1: the metadata has no `level`"),
        (HEADER.replace("low", "scary") + QUERY, "rule.sql:4: level 'scary' is not one of"),
        (HEADER.replace("10m", "soon") + QUERY, "rule.sql:5: 'soon' is not a duration"),
        (HEADER.replace("rejections: 2", "rejections: 0") + QUERY, "rule.sql:5: 0 is out of range"),
        (HEADER.replace("rejections: 2", "rejections: [2]") + QUERY, "rule.sql:5: [2] is neither"),
        (HEADER.replace("window + 4h", "windw + 4h") + QUERY, "rule.sql:6: 'windw' is not a duration"),
        (HEADER.replace("lookback", "watches: nothing\nlookback") + QUERY, "rule.sql:6: it watches 'nothing'"),
        (HEADER.replace("lookback", "watches: poller\nlookback") + QUERY, "rule.sql:10: unknown parameter :org"),
        (
            HEADER + QUERY.replace(":since", ":windw"),
            "rule.sql:9: unknown parameter :windw (this rule declares rejections, window)",
        ),
    ],
)
def test_a_broken_rule_names_file_and_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(RuleError) as caught:
        read_rule(folder(tmp_path, text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_without_a_runbook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"two_denied/README\.md"):
        read_rule(folder(tmp_path, HEADER + QUERY, runbook=False))


def test_settings_change_parameters_severity_and_reach() -> None:
    settings = RuleSettings(rejections=3, window="15m", severity="high", enabled=False)
    [rule] = [rule for rule in load_rules({"push_fatigue": settings}) if rule.name == "push_fatigue"]
    assert rule.parameters == {"rejections": 3, "window": 15 * MINUTE}
    assert (rule.level, rule.enabled) == ("high", False)
    assert rule.lookback == (15 + 240) * MINUTE


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("push_fatige", {}, "there is no such rule"),
        ("push_fatigue", {"windw": "10m"}, "unknown parameter windw"),
        ("push_fatigue", {"window": 600}, "not in the form of its default, '10m'"),
        ("push_fatigue", {"rejections": "2"}, "not in the form of its default, 2"),
        ("push_fatigue", {"rejections": True}, "True is neither"),
        ("push_fatigue", {"rejections": 0}, "out of range"),
        ("push_fatigue", {"window": "ten minutes"}, "is not a duration"),
    ],
)
def test_a_setting_that_fits_no_rule_says_so(name: str, values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_rules({name: RuleSettings(**values)})
    assert complaint in str(caught.value)


def test_every_shipped_rule_has_what_the_house_asks_of_it() -> None:
    for rule in load_rules():
        assert (rule.folder / ("timelines.yml" if rule.is_about_events() else "test_rule.py")).is_file()
        if rule.is_about_events():
            assert any(tag.startswith("attack.t") for tag in rule.tags)
            assert rule.falsepositives
        for heading in ("Goal", "What it sees", "Blind spots", "False positives", "Triage", "Response"):
            assert f"\n## {heading}\n" in rule.runbook


def test_an_event_reopens_the_time_in_which_it_can_matter() -> None:
    assert reopened([1000], lookback=50, lookahead=20) == [Slice(980, 1051)]
    assert reopened([1000, 1071, 1000, 1143], lookback=50, lookahead=20) == [Slice(980, 1122), Slice(1123, 1194)]
    assert reopened([], lookback=50, lookahead=20) == []
    for seed in range(200):
        chance = random.Random(seed)
        times = [chance.randrange(1000) for _ in range(chance.randrange(30))]
        each = [Slice(time - 20, time + 31) for time in times]
        assert reopened(times, lookback=30, lookahead=20) == joined(each)
