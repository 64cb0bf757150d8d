"""`poller rules check`: every rule of poller passes; what is wrong with another is told, with its file and line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poller.checking import HEADINGS, check_rule, known_ids, rule_folders
from poller.checking.plan import postgres_problems, scratch_database, sqlite_problems
from poller.checking.query import Checked
from poller.checking.tree import tables
from poller.rules import RULES_FOLDER
from poller.store import Store
from tests.command_line import CommandLine

UID = "3b1c9a52-0c1e-4a7e-9a70-1f2d3c4b5a69"
HEADER = """\
/*
title: Two pushes denied
id: 3b1c9a52-0c1e-4a7e-9a70-1f2d3c4b5a69
level: low
tags: [attack.credential-access, attack.t1621]
parameters: {rejections: 2, window: 10m}
lookback: window
summary:
  - "{user} denied {denied.count} pushes by {trigger} UTC"
*/
"""
QUERY = """\
with denied as (
    select org, user_uid, uid, time,
           count(*) over (partition by org, user_uid order by time
                          range between :window preceding and current row) as denials
    from push_rejected
    where org = :org and time >= :since - :window and time < :until
)
select d.org, d.user_uid, d.uid as trigger_uid, d.time as trigger_time,
       e.uid as evidence_uid, 'denied' as role
from denied as d join push_rejected as e
  on  e.org = d.org and e.user_uid = d.user_uid
  and e.time >= d.time - :window and e.time <= d.time
where d.denials = :rejections and d.time >= :since
"""
GOOD = HEADER + QUERY  # the query begins at line 11
TIMELINES = """\
- title: fires at the second
  timeline: |
    09:00:00  alice  push_rejected
    09:01:00  alice  push_rejected
  findings: ["alice 09:00:00-09:01:00 2 events"]
- title: one is none
  timeline: |
    09:00:00  alice  push_rejected
  findings: []
"""
RUNBOOK = "# two_denied\n" + "".join(f"\n## {heading}\n\nText.\n" for heading in HEADINGS)
Check = Callable[[Path], list[str]]


def make(
    folder: Path, text: str | bytes = GOOD, runbook: str | None = RUNBOOK, timelines: str | None = TIMELINES
) -> Path:
    folder.mkdir(parents=True)
    (folder / "rule.sql").write_bytes(text if isinstance(text, bytes) else text.encode())
    if runbook is not None:
        (folder / "README.md").write_text(runbook)
    if timelines is not None:
        (folder / "timelines.yml").write_text(timelines)
    return folder


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[Any]:
    with scratch_database() as connection:
        yield partial(sqlite_problems, connection)


@pytest.fixture
def check(on_sqlite: Any) -> Check:
    """What is said of a rule folder: `FILE:LINE: what`, the file without its folder."""

    def say(folder: Path) -> list[str]:
        lines = [str(problem) for problem in check_rule(folder, known_ids(), [on_sqlite])]
        assert all("\n" not in line and len(line) < 600 for line in lines)
        return [line.removeprefix(f"{folder}/") for line in lines]

    return say


def instead(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize("folder", rule_folders(RULES_FOLDER), ids=lambda folder: folder.name)
def test_every_rule_of_poller_passes(folder: Path, check: Check) -> None:
    assert check(folder) == []


def test_every_rule_of_poller_passes_on_postgres(new_database: Callable[[str], str]) -> None:
    with Store(new_database("postgres")) as store, store.reading() as connection:
        for folder in rule_folders(RULES_FOLDER):
            assert check_rule(folder, known_ids(), [partial(postgres_problems, connection)]) == []


def test_a_good_rule_passes(tmp_path: Path, check: Check) -> None:
    assert check(make(tmp_path / "two_denied")) == []


BROKEN = [  # (rule.sql, the line that is told, what is told)
    # Metadata
    (instead("level: low\n", ""), 2, "the metadata has no `level`"),
    (instead("level: low", "level: scary"), 4, "level 'scary' is not one of informational, low"),
    (instead("level: low", "levle: low"), 4, "unknown key `levle`: leave it out. Did you mean level?"),
    (instead("level: low", "level: low\nstatus: done"), 5, "status 'done' is not one of"),
    (instead("level: low", "level: low\ntitle: Again"), 5, "`title` is given twice"),
    (instead("3b1c9a52", "3b1c9a5"), 3, "is no UUID"),
    (instead(UID, "5f0c7b0e-6a3c-4d5e-9a55-3f6f2a1f4f10"), 3, "is that of push_fatigue"),
    (instead("attack.t1621", "attack.t162"), 5, "tag 'attack.t162' is no technique"),
    (instead("attack.credential-access", "attack.stealing"), 5, "no tactic of ATT&CK"),
    (instead("tags: [attack.credential-access, attack.t1621]", "tags: attack.t1621"), 5, "`tags` is not a list"),
    (instead("window: 10m", "window: soon"), 6, "parameter window: 'soon' is not a duration"),
    (instead("window: 10m", "window: 10m, least: 3"), 6, "parameter least is not used"),
    (instead("window: 10m", "window: 10m, severity: 3"), 6, "has a meaning of its own"),
    (instead("lookback: window", "lookback: windw"), 7, "lookback: 'windw' is not a duration"),
    (instead("lookback: window", "lookback: window\nreads: [push_rejectd]"), 8, "Did you mean push_rejected?"),
    (instead("denied.count", "rejected.count"), 8, "the query yields no role 'rejected', only denied"),
    (instead("denied.count", "denied.palces"), 8, "no fact 'palces' of a role. Did you mean places?"),
    (instead("{trigger}", "{attempts}"), 8, "counts the column `attempt`"),
    (instead("{trigger}", "{triger}"), 8, "no fact 'triger'"),
    # One SELECT that only reads
    (GOOD + ";\ndelete from events\n", 25, "a second statement begins here"),
    (HEADER + "delete from events where org = :org\n", 11, "`delete`: a rule is one SELECT that only reads"),
    (HEADER + "pragma writable_schema = 1\n", 11, "`pragma`"),
    (HEADER + "attach 'other.db' as other\n", 11, "`attach`"),
    (HEADER + "values (1)\n", 11, "a rule is one SELECT, and this is none"),
    (instead("with denied as (", "with gone as (delete from events returning uid), denied as ("), 11, "`delete`"),
    (GOOD + "for update\n", 24, "`for`: a rule locks nothing"),
    (instead("'denied' as role\n", "'denied' as role into other\n"), 19, "`into`"),
    (HEADER, 11, "there is no query"),
    (instead("where d.denials", "where where d.denials"), 23, "this is no SQL of SQLite"),
    # Known tables and columns
    (instead("from push_rejected", "from push_rejectd"), 15, "a rule can't read `push_rejectd`"),
    (instead("from push_rejected", "from push_rejectd"), 15, "Did you mean push_rejected?"),
    (instead("from push_rejected", "from quarantine"), 15, "a rule can't read `quarantine`"),
    (instead("from push_rejected", "from findings"), 15, "a rule can't read `findings`"),
    (instead("from push_rejected", "from main.events"), 15, "without a schema"),
    (instead("select org, user_uid,", "select org, usr_uid as user_uid,"), 12, "no column `usr_uid`. Did you mean"),
    (instead("d.denials =", "d.denails ="), 23, "no column `denails` in d. Did you mean denials?"),
    (instead("e.user_uid = d.user_uid", "f.user_uid = d.user_uid"), 21, "nothing here is named f"),
    (instead("e.time >= d.time", "time >= d.time"), 22, "`time` is a column of d and e"),
    (instead("d.time >= :since", "trigger_time >= :since"), 23, "`trigger_time` is made by this very SELECT"),
    (instead("select org, user_uid, uid,", "select raw, org, user_uid, uid,"), 12, "`raw` is the compressed record"),
    (instead("with denied as", "with events as"), 11, "`with events` hides the table events"),
    # What both databases know, and know alike
    (instead("count(*) over", "ifnull(count(*), 0) over"), 13, "ifnull() is not on both"),
    (instead("d.time >= :since", "d.time >= strftime('%s', 'x')"), 23, "strftime() is not on both"),
    (instead("d.time >= :since", "d.time >= random()"), 23, "random() is not on both"),
    (instead("d.time >= :since", "e.message -> 'a' is null"), 23, "`->`: JSON is written differently"),
    (instead("d.time >= :since", "json_extract(e.message, '$.a') is null"), 23, "json_extract() is not"),
    (instead("d.time >= :since", "d.time::text = 'a'"), 23, "`::`: SQLite has no such cast"),
    (instead("d.time >= :since", "e.message ilike 'a%'"), 23, "`ilike`: it is not on both"),
    (instead("d.time >= :since", "e.message glob 'a*'"), 23, "`glob`: it is not on both"),
    (instead("d.time >= :since", "e.message like 'a%'"), 23, "write lower(e.message) like 'a%'"),
    (instead("d.time >= :since", 'e.message = "a"'), 23, "text in single quotes"),
    (instead("d.time >= :since", "d.time >= ?"), 23, "`?`: a bind is written with its name"),
    (instead("d.time >= :since", "d.time >= $1"), 23, "a bind is written with its name"),
    (instead("d.time >= :since", "e.is_proxy = 1"), 23, "mixes boolean and number, which Postgres refuses"),
    (instead("d.time >= :since", "d.time"), 23, "is number, and no condition on Postgres"),
    (instead("d.time >= :since", "e.outcome is 'SUCCESS'"), 23, "`is` compares with null"),
    (instead("d.time >= :since", "max(d.time, 5) > 3"), 23, "max(a, b) is on SQLite alone"),
    (instead("d.time >= :since", "d.time / d.denials > 3"), 23, "divide by nullif(d.denials, 0)"),
    (instead("d.time >= :since", "cast(e.factor as integer) = 1"), 23, "compare it as text"),
    (instead("d.time >= :since", "cast(e.time as real) > 1"), 23, "`real`: write double precision"),
    (instead("d.time >= :since", "current_timestamp > 1"), 23, "a rule knows no clock"),
    (instead("d.time >= :since", "3000000 * 1000 > d.time"), 23, "Postgres counts this in 32 bits"),
    (instead("d.time >= :since", "e.message = 'a :b'"), 23, "taken for a bind"),
    (GOOD + "limit 5\n", 24, "`limit` without `order by`"),
    (GOOD + "order by 1 limit 5 offset 2\n", 24, "`offset`"),
    (instead("count(*) over (partition", "max(time) as latest, count(*) over (partition"), 12, "neither in `group by`"),
    (instead("from denied as d join", "from denied as d right join"), 20, "`right`: SQLite before 3.39"),
    # Binds
    (instead("d.time >= :since", "d.time >= :sinse"), 23, "unknown parameter :sinse (this rule declares rejections"),
    (instead("org = :org and time >= :since - :window", "time >= :since - :window"), 20, "`d` is read without its org"),
    (instead("e.org = d.org and e.user_uid", "e.user_uid"), 20, "`e` is read without its org"),
    (instead("e.org = d.org and e.user_uid", "(e.org = d.org or 1 = 1) and e.user_uid"), 20, "read without its org"),
    (instead(" and time < :until", ""), 18, "the query does not use :until"),
    # The rows
    (instead(", 'denied' as role", ""), 18, "the rows have no column `role`"),
    (instead("'denied' as role", "'denied' as role, 1 as attemps"), 19, "no column `attemps`: leave it out. Did"),
    (instead("'denied' as role", "'denied' as role, 'sure' as confidence"), 18, "confidence 'sure' is not one of"),
    (QUERY.join([HEADER, ""]).replace("select d.org, d.user_uid, d.uid as", "select d.*, d.uid as"), 18, "`select *`"),
    # The index
    (instead("time >= :since - :window and time < :until", ":until > 0"), 15, "of a type, however old"),
    (
        instead("from push_rejected", "from events").replace("lookback", "reads: [push_rejected]\nlookback"),
        16,
        "SQLite reads all events",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "complaint"), BROKEN, ids=[f"{broken[2][:40]}" for broken in BROKEN])
def test_a_broken_rule_is_told_with_its_line(
    text: str, line: int, complaint: str, tmp_path: Path, check: Check
) -> None:
    told = check(make(tmp_path / "two_denied", text))
    assert [one for one in told if one.startswith(f"rule.sql:{line}: ") and complaint in one], told


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path, check: Check) -> None:
    text = instead("level: low", "level: scary").replace(" uid, time,", " uid, time, usr_uid, ifnull(uid, 0) as x,")
    told = check(make(tmp_path / "two_denied", text.replace("d.denials", "d.denails"), runbook=None, timelines=None))
    assert [one.split(": ")[0] for one in told] == [
        *("README.md:1", "rule.sql:4", "rule.sql:12", "rule.sql:12", "rule.sql:23", "timelines.yml:1")
    ]


def test_what_is_written_in_comments_and_texts_is_nobodys_business(tmp_path: Path, check: Check) -> None:
    text = instead("'denied' as role", "'denied' as role -- delete; \"quoted\" ifnull() :bind /*")
    text = text.replace("where d.denials", "/* pragma ; ?\n */ where 'drop ''table; ::' <> d.user_uid and d.denials")
    assert check(make(tmp_path / "two_denied", text)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("d.time >= :since", "e.is_proxy is true"),
        ("d.time >= :since", "lower(e.message) like 'a%' and e.src_ip like '10.%'"),
        ("d.time >= :since", "d.time / nullif(d.denials, 0) % 7 / :window > 3"),
        ("d.time >= :since", "exists (select 1 from events as x where x.org = d.org and x.uid = d.uid limit 1)"),
        ("d.time >= :since", "d.time >= :since and e.user_uid in (select user_uid from denied)"),
        ("e.org = d.org and", "e.org = :org and"),
        (
            " order by time\n",
            " order by time, uid\n                          rows 3 preceding), max(time) over (order by time\n",
        ),
    ],
)
def test_what_both_databases_know_is_allowed(old: str, new: str, tmp_path: Path, check: Check) -> None:
    told = check(make(tmp_path / "two_denied", instead(old, new)))
    assert [one for one in told if "all events" not in one] == []


def test_a_select_may_leave_the_org_to_those_who_read_it(tmp_path: Path, check: Check) -> None:
    text = instead(
        "with denied as (", "with known as (select org, user_uid, uid, time from push_rejected), denied as ("
    )
    assert check(make(tmp_path / "two_denied", text.replace("from push_rejected\n", "from known\n"))) == []
    text = text.replace("from push_rejected\n    where org = :org and", "from known where")
    assert "`d` is read without its org" in "".join(check(make(tmp_path / "b" / "two_denied", text)))


def test_runbook_and_timelines_are_asked_for(tmp_path: Path, check: Check) -> None:
    assert check(make(tmp_path / "a", runbook=None)) == [
        "README.md:1: there is no runbook beside the rule: write one with the headings"
        " Goal, What it sees, Blind spots, False positives, Triage, Response."
    ]
    assert check(make(tmp_path / "b", runbook=RUNBOOK.replace("## Triage", "Triage"))) == [
        "README.md:1: the runbook has no heading `## Triage`: add it."
    ]
    [told] = check(make(tmp_path / "c", timelines=None))
    assert told.startswith("timelines.yml:1: there are no timelines")
    [told] = check(make(tmp_path / "d", timelines=TIMELINES.split("- title: one")[0]))
    assert told.startswith("timelines.yml:1: no timeline leaves the rule quiet")
    [told] = check(make(tmp_path / "e", timelines="- title: one" + TIMELINES.split("- title: one")[1]))
    assert told.startswith("timelines.yml:1: no timeline makes the rule fire")
    [told] = check(make(tmp_path / "f", timelines=TIMELINES.replace("alice  push_rejected", "alice  push_rejectd", 1)))
    assert told.startswith("timelines.yml:3: ")


def test_names_and_ids_are_unique(tmp_path: Path) -> None:
    [taken] = check_rule(make(tmp_path / "push_fatigue"), known_ids())
    assert "poller has a rule push_fatigue of its own" in taken.what
    [odd] = check_rule(make(tmp_path / "Two denied"), known_ids())
    assert "small letters" in odd.what
    ids = known_ids()
    assert check_rule(make(tmp_path / "first"), ids) == []
    [twice] = check_rule(make(tmp_path / "second"), ids)
    assert (twice.line, "that of first" in twice.what) == (3, True)


BILLION_LAUGHS = "/*\na: &a [x, x]\nb: &b [*a, *a, *a, *a]\ntitle: [*b, *b, *b]\n*/\nselect 1"
HOSTILE = {
    "parentheses": (HEADER + "select " + "(" * 50_000, "rule.sql:11: more than 40 brackets"),
    "a megabyte": (HEADER + "select " + "(" * 1_000_000, "rule.sql:1: it is longer than 100000 characters"),
    "subqueries": (HEADER + "select * from (" * 60, "brackets inside one another"),
    "cases": (HEADER + "select " + "case when " * 5000, "brackets inside one another"),
    "minuses": (HEADER + "select " + "- " * 40_000 + "1", "rule.sql:11: the query is nested too deeply"),
    "nots": (HEADER + "select " + "not " * 20_000 + "1", "rule.sql:11: the query is nested too deeply"),
    "sums": (HEADER + "select " + "1 + " * 20_000 + "1", "rule.sql:11: "),
    "NUL": (GOOD.replace("denials", "deni\0als", 1), "rule.sql:14: a character '\\x00' stands here"),
    "escape": (GOOD.replace("Two", "\x1b[31mTwo"), "rule.sql:2: a character '\\x1b' stands here"),
    "binary": (bytes(range(256)) * 50, "rule.sql:1: it is not text in UTF-8 (byte 128)"),
    "empty": ("", "rule.sql:1: it does not start with a comment"),
    "laughs": (BILLION_LAUGHS, "rule.sql:2: the metadata has no room for YAML's anchors"),
    "flow": ("/*\n" + "[" * 60_000 + "\n*/ select 1", "rule.sql:2: the metadata is nested more than 6 levels"),
    "yaml object": (
        "/*\ntitle: !!python/object/apply:os.system [ls]\n*/ select 1",
        "rule.sql:2: the metadata is not YAML",
    ),
    "no date": ("/*\ntitle: 2024-99-99\n*/ select 1", "rule.sql:1: the metadata holds a value that is none"),
    "long number": (
        "/*\ntitle: " + "9" * 9000 + "\n*/ select 1",
        "rule.sql:1: the metadata holds a value that is none",
    ),
    "no mapping": ("/*\n- a\n*/ select 1", "rule.sql:1: the metadata is not a mapping"),
    "odd keys": (GOOD.replace("level:", "[1, 2]: 3\nlevel:"), "rule.sql:4: the metadata is not YAML"),
    "parameters": (GOOD.replace("{rejections: 2, window: 10m}", "7"), "rule.sql:6: `parameters` is not a mapping"),
    "numbers": (GOOD.replace("title: Two pushes denied", "title: 7"), "rule.sql:2: `title` is not text"),
    "open text": (GOOD.replace("'denied'", "'denied"), "a text begins here that does not end"),
    "unicode": (GOOD.replace("d.denials", "d.deni\u202eals"), "rule.sql:23: U+202E"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_line_and_never_a_traceback(name: str, tmp_path: Path, check: Check) -> None:
    text, complaint = HOSTILE[name]
    told = check(make(tmp_path / "two_denied", text))
    assert [one for one in told if complaint in one], told


def test_what_is_no_file_is_told(tmp_path: Path, check: Check) -> None:
    for name, target in (("loop", "rule.sql"), ("gone", "nowhere"), ("device", "/dev/zero"), ("folder", ".")):
        folder = make(tmp_path / name)
        (folder / "rule.sql").unlink()
        (folder / "rule.sql").symlink_to(target)
        [told] = [one for one in check(folder) if one.startswith("rule.sql")]
        assert told.startswith(("rule.sql:1: it can't be read: ", "rule.sql:1: it is no file"))
    pipe = make(tmp_path / "pipe")
    (pipe / "rule.sql").unlink()
    os.mkfifo(pipe / "rule.sql")
    assert "rule.sql:1: it is no file." in check(pipe)


def test_a_rule_folder_may_be_a_link(tmp_path: Path, check: Check) -> None:
    make(tmp_path / "data" / "two_denied")
    (tmp_path / "two_denied").symlink_to(tmp_path / "data" / "two_denied")
    assert check(tmp_path / "two_denied") == []


def test_the_tables_that_a_rule_may_read_are_those_of_the_schema(sqlite_template: Path) -> None:
    with Store(f"sqlite:///{sqlite_template}") as store, store.reading() as connection:
        for name, columns in {**tables(True), **tables(False)}.items():
            there = [row[1] for row in connection.exec_driver_sql(f"pragma table_info({name})")]
            assert sorted(columns) == sorted(column for column in there if column != "raw")


@pytest.fixture
def poller(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {})


def test_the_command_checks_a_folder_of_rules(poller: CommandLine, new_database: Callable[[str], str]) -> None:
    make(poller.folder / "mine" / "two_denied")
    asked = poller("rules", "check", "mine")
    assert (asked.code, asked.out) == (0, "two_denied ok\n")
    assert "Postgres was not asked" in asked.err
    broken = instead("d.time >= :since", "d.time >= :since and e.user_agent = e.is_proxy").replace(
        "3b1c9a52", "4b1c9a52"
    )
    make(poller.folder / "mine" / "broken", broken)
    asked = poller("rules", "check", "mine", "--database", new_database("postgres"))
    assert asked.code == 1
    assert asked.out.startswith("mine/broken/rule.sql:23: ")
    assert asked.out.endswith("\ntwo_denied ok\n")
    assert asked.err == ""


def test_the_command_says_what_it_can_not_check(poller: CommandLine) -> None:
    for words in (["nowhere"], ["."], ["mine", "--database", "sqlite:///x.db"]):
        asked = poller("rules", "check", *words)
        assert asked.code in (1, 2)
        assert asked.out == ""
        assert asked.err.count("\n") == 1
    make(poller.folder / "mine" / "two_denied")
    asked = poller("rules", "check", "mine", "--database", "postgresql://nobody:secret@127.0.0.1:1/x")
    assert asked.code == 1
    assert "secret" not in asked.err


def test_what_postgres_alone_refuses_is_told_with_its_line(tmp_path: Path, new_database: Callable[[str], str]) -> None:
    text = instead("d.time >= :since", "abs(e.user_uid) > 1")
    folder = make(tmp_path / "two_denied", text)
    with Store(new_database("postgres")) as store, store.reading() as connection:
        [problem] = check_rule(folder, known_ids(), [partial(postgres_problems, connection)])
    assert problem.line == 23
    assert problem.what.startswith("Postgres refuses it: function abs(text) does not exist")


@pytest.mark.parametrize(
    ("query", "is_told"),
    [
        ("select e.uid from events as e where e.message = 'a'", True),
        ("select e.uid from events as e where e.time > 5", True),
        ("select count(*) from push_rejected as e where e.org = :org and e.time > 5 and e.time < 9", False),
        ("select e.uid from events as e where e.org = :org and e.src_ip = 'a' and e.time > 5", False),
    ],
)
def test_reading_all_events_is_told_by_both_databases(query: str, is_told: bool, database_url: str) -> None:
    ask = sqlite_problems if database_url.startswith("sqlite") else postgres_problems
    with Store(database_url) as store, store.reading() as connection:
        told = ask(connection, "\n\n" + query, {"org": "o"}, Checked((), sources={"e": 3}), 3)
    assert [line for line, what in told if "reads all events" in what] == ([3] if is_told else [])
