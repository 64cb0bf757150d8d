"""The commands of the contract, run as processes."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from poller.demo import SimulatedOkta
from poller.store import Store
from tests.command_line import NOW, CommandLine, fill
from tests.timelines import ALICE, BOB, ORG, OTHER_ORG, Record, User, record, uid_of

COMMANDS = (
    *("run", "backfill", "findings", "rules", "migrate", "doctor", "status", "demo", "events"),
    *("completeness", "copy"),
)
FINDING_KEYS = {
    *("uid", "org", "rule", "title", "severity", "confidence", "status", "user_uid", "user_name", "src_ips", "summary"),
    *("first_seen_time", "last_seen_time", "created_time", "modified_time", "trigger_uid", "evidence_count"),
    "evidence",
}
EVIDENCE_KEYS = {"event_uid", "role", "time", "event_type", "outcome", "src_ip"}


def attack(name: str, user: User, hour: int, org: str = ORG, ip: str = "203.0.113.9") -> list[Record]:
    """Two pushes denied and the third approved, within two minutes; `ip` is where the phone answers from."""
    return [
        record(f"{name}1", "push_denied", f"{hour:02}:00:00", user=user, org=org, sign_in=f"{name}a", ip=ip),
        record(f"{name}2", "push_denied", f"{hour:02}:01:00", user=user, org=org, sign_in=f"{name}b", ip=ip),
        record(f"{name}3", "push_approved", f"{hour:02}:02:00", user=user, org=org, sign_in=f"{name}c", ip=ip),
    ]


def wires(*timelines: list[Record]) -> list[bytes]:
    return [item.wire() for timeline in timelines for item in timeline]


@pytest.fixture(scope="module")
def postgres(postgres_server: str) -> str:
    """The address of a Postgres server's maintenance database."""
    return postgres_server.format("postgres")


def new_database(postgres: str, name: str) -> str:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name}")
    return postgres.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'here.db'}"
    return new_database(request.getfixturevalue("postgres"), "one_test")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Alice attacked at 9 and at 11, Bob at 10 from another address, and Alice of another org at 8. Only read."""
    folder = tmp_path_factory.mktemp("stored")
    address = f"sqlite:///{folder / 'here.db'}"
    if request.param == "postgres":
        address = new_database(request.getfixturevalue("postgres"), "stored")
    fill(
        address,
        wires(attack("a", ALICE, 9), attack("b", BOB, 10, ip="198.51.100.7"), attack("c", ALICE, 11)),
        ORG,
    )
    fill(address, wires(attack("d", ALICE, 8, org=OTHER_ORG)), OTHER_ORG)
    return CommandLine(folder, {"POLLER_DATABASE_URL": address})


@pytest.fixture
def poller(tmp_path: Path) -> CommandLine:
    """On an SQLite database that is not there yet."""
    return CommandLine(tmp_path, {"POLLER_DATABASE_URL": f"sqlite:///{tmp_path / 'here.db'}"})


def filled(poller: CommandLine, *timelines: list[Record]) -> CommandLine:
    fill(poller.settings["POLLER_DATABASE_URL"], wires(*timelines), ORG)
    return poller


def triggers(found: list[dict[str, Any]]) -> list[str]:
    labels = {uid_of(f"{name}3"): name for name in "abcd"}
    return [labels[finding["trigger_uid"]] for finding in found]


# ---- help, usage and errors ----


def test_help_names_every_command_and_fits_100_columns(poller: CommandLine) -> None:
    told = poller.having(COLUMNS="100")("--help")
    assert told.code == 0
    assert all(re.search(rf"^│ {command}\b", told.out, re.MULTILINE) for command in COMMANDS)
    assert max(map(len, told.out.splitlines())) <= 100


@pytest.mark.parametrize(
    "words",
    [
        *((command,) for command in COMMANDS),
        ("findings", "show"),
        ("findings", "set"),
        ("rules", "show"),
        ("events", "show"),
    ],
    ids=" ".join,
)
def test_every_command_has_a_help_that_explains_each_of_its_options(
    poller: CommandLine, words: tuple[str, ...]
) -> None:
    told = poller.having(COLUMNS="100")(*words, "--help")
    assert (told.code, told.err) == (0, "")
    assert max(map(len, told.out.splitlines())) <= 100
    options = re.findall(r"^│ \*? *(--[a-z-]+)(.*)│$", told.out, re.MULTILINE)
    assert options
    for name, rest in options:
        assert len(re.findall(r"[a-z]{2,}", rest)) >= 3, f"{name} is not explained"


def test_poller_alone_shows_its_help(poller: CommandLine) -> None:
    assert poller().out == poller("--help").out


def test_the_version_is_one_line(poller: CommandLine) -> None:
    assert re.fullmatch(r"poller \d+\.\d+\.\d+\S*\n", poller("--version").out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "nonsense"),
        (("findings", "nonsense"), "nonsense"),
        (("findings", "--nonsense"), "--nonsense"),
        (("findings", "--since", "yesterday"), "yesterday"),
        (("findings", "--since", "2026-03-02", "--until", "2026-03-01"), "2026-03-01"),
        (("findings", "--severity", "grave"), "informational"),
        (("findings", "--status", "done"), "in_progress"),
        (("findings", "--format", "xml"), "jsonl"),
        (("findings", "--limit", "0"), "--limit"),
        (("findings", "--limit", "many"), "--limit"),
        (("findings", "show"), "UID"),
        (("findings", "show", ""), "UID"),
        (("findings", "show", "feed"), "feed"),
        (("findings", "set", "feed"), "--status"),
        (("findings", "set", "feed", "--status", "done"), "in_progress"),
        (("findings", "set", "feed", "--status", "new", "--reason", "tired"), "false_positive"),
        (("findings", "set", "feed", "--status", "new"), "feed"),
        (("rules", "show", "nonsense"), "poller rules lists them"),
        (("events", "show", "nonsense"), "nonsense"),
        (("backfill",), "--since"),
        (("backfill", "--since", "1h"), "POLLER_OKTA_ORG_URL"),
        (("run", "--once"), "POLLER_OKTA_ORG_URL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line_on_standard_error_and_exit_code_2(
    poller: CommandLine, words: tuple[str, ...], says: str
) -> None:
    result = poller(*words)
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(r"poller: .+\n", result.err), result.err
    assert says in result.err


@pytest.mark.parametrize(
    "words", [("findings",), ("status",), ("rules",), ("migrate",), ("run", "--once")], ids=" ".join
)
def test_a_setting_that_makes_no_sense_is_named_and_is_exit_code_2(poller: CommandLine, words: tuple[str, ...]) -> None:
    result = poller.having(POLLER_POLL_INTERVAL="soon")(*words)
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(r"poller: .*POLLER_POLL_INTERVAL.*\n", result.err)


@pytest.mark.parametrize("words", [("findings",), ("status",), ("migrate",), ("findings", "show", "a")], ids=" ".join)
def test_a_database_out_of_reach_is_exit_code_1_without_its_password(
    poller: CommandLine, words: tuple[str, ...]
) -> None:
    address = "postgresql://poller:hunter2hunter2@127.0.0.1:1/poller"
    result = poller.having(POLLER_DATABASE_URL=address)(*words)
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"poller: the database .*127\.0\.0\.1.*\n", result.err)
    assert "hunter2" not in result.err


@pytest.mark.parametrize("words", [("findings",), ("migrate",)], ids=" ".join)
def test_an_address_that_is_none_is_an_error_without_its_password(poller: CommandLine, words: tuple[str, ...]) -> None:
    result = poller.having(POLLER_DATABASE_URL="postgresql://poller:hunter2hunter2@host:port/%zz")(*words)
    assert result.code in (1, 2)
    assert re.fullmatch(r"poller: .*POLLER_DATABASE_URL.*\n", result.err), result.err
    assert "hunter2" not in result.err


def test_a_file_that_is_no_database_is_an_error_that_names_it(poller: CommandLine) -> None:
    (poller.folder / "here.db").write_text("These are not the pages you are looking for. " * 100)
    result = poller("findings")
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"poller: the database .*here\.db.*\n", result.err)


def test_a_reader_that_goes_away_is_no_error(stored: CommandLine) -> None:
    with subprocess.Popen(
        stored.command("findings", "--format", "jsonl"),
        cwd=stored.folder,
        env=stored.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_can_not_be_written_is_an_error(stored: CommandLine, unbuffered: str) -> None:
    stored = stored.having(PYTHONUNBUFFERED=unbuffered)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            stored.command("findings"), cwd=stored.folder, env=stored.environment, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert re.fullmatch(rb"poller: the answer could not be written: .+\n", done.stderr)


# ---- findings ----


def test_findings_are_an_array_of_objects_in_the_words_of_the_contract(stored: CommandLine) -> None:
    result = stored("findings")
    assert (result.code, result.err) == (0, "")
    found = result.json()
    assert triggers(found) == ["c", "b", "a", "d"]
    assert all(set(finding) - {"superseded_time", "rule_version"} == FINDING_KEYS for finding in found)
    bob = found[1]
    assert (bob["org"], bob["rule"], bob["status"]) == (ORG, "push_fatigue", "new")
    assert (bob["severity"], bob["confidence"]) == ("medium", "high")
    assert (bob["user_uid"], bob["user_name"], bob["src_ips"]) == (BOB.uid, BOB.name, ["198.51.100.7"])
    assert bob["first_seen_time"] == "2026-03-10T10:00:00.000Z"
    assert bob["last_seen_time"] == "2026-03-10T10:02:00.000Z"
    assert bob["created_time"] == "2026-03-10T12:00:00.000Z"
    assert bob["evidence_count"] == 3
    assert bob["evidence"] == [
        {
            "event_uid": uid_of(f"b{number}"),
            "role": role,
            "time": f"2026-03-10T10:0{number - 1}:00.000Z",
            "event_type": "user.authentication.auth_via_mfa",
            "outcome": outcome,
            "src_ip": "198.51.100.7",
        }
        for number, role, outcome in ((1, "rejected", "FAILURE"), (2, "rejected", "FAILURE"), (3, "login", "SUCCESS"))
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--user 00u9m1bobby3ExAmPq5d7", "b"),
        ("--user 00U9M1BOBBY3EXAMPQ5D7", ""),
        ("--user BOB.Brown@example.COM", "b"),
        ("--user alice.adams@example.com", "cad"),
        ("--user alice", ""),
        ("--ip 198.51.100.7", "b"),
        ("--ip 198.51.100", ""),
        ("--ip 198_51_100_7", ""),
        ("--ip %", ""),
        ("--rule push_fatigue", "cbad"),
        ("--rule push%", ""),
        ("--severity medium", "cbad"),
        ("--severity high", ""),
        ("--severity high --severity medium", "cbad"),
        ("--status new", "cbad"),
        ("--status resolved --status in_progress", ""),
        (f"--org {OTHER_ORG}", "d"),
        (f"--org {ORG} --user alice.adams@example.com", "ca"),
        ("--since 2026-03-10T10:02:00Z", "cb"),
        ("--since 2026-03-10T10:02:00.001Z", "c"),
        ("--until 2026-03-10T10:02:00Z", "ad"),
        ("--since 2026-03-10T11:02:00+02:00 --until 2026-03-10T10:02", "a"),
        ("--since 2026-03-10T10:02:00Z --until 2026-03-10T10:02:00Z", ""),
        ("--since 2026-03-10", "cbad"),
        ("--since 20000d", "cbad"),
        ("--since 1ms", ""),
        ("--limit 1", "c"),
        ("--limit 4", "cbad"),
    ],
)
def test_filters_choose_findings(stored: CommandLine, words: str, expected: str) -> None:
    result = stored("findings", *words.split())
    assert result.code == 0
    assert "".join(triggers(result.json())) == expected


def test_a_limit_that_leaves_some_out_says_so_beside_the_answer(stored: CommandLine) -> None:
    assert re.fullmatch(r"poller: .*newest 3.*--limit.*\n", stored("findings", "--limit", "3").err)
    assert stored("findings", "--limit", "4").err == ""


def test_no_findings_are_an_empty_array(poller: CommandLine) -> None:
    assert poller("findings").out == "[]\n"
    assert poller("findings", "--format", "jsonl").out == ""
    assert poller("findings", "--format", "table").out == "No findings.\n"
    assert poller("findings", "--format", "table", "--status", "new").out == "No finding matches.\n"


def test_jsonl_is_one_finding_to_a_line_and_the_same_as_json(stored: CommandLine) -> None:
    lines = stored("findings", "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == stored("findings").json()


def test_csv_has_a_header_and_the_columns_of_findings(stored: CommandLine) -> None:
    out = stored.bytes("findings", "--format", "csv").stdout.decode()
    assert out.count("\r\n") == 5
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert triggers(rows) == ["c", "b", "a", "d"]
    assert set(rows[0]) - {"superseded_time", "rule_version"} == FINDING_KEYS - {"evidence"}
    assert rows[1]["src_ips"] == "198.51.100.7"
    assert rows[1]["last_seen_time"] == "2026-03-10T10:02:00.000Z"


def test_a_table_is_what_a_terminal_gets_and_it_fits_100_columns(stored: CommandLine) -> None:
    shown = stored.having(NO_COLOR="1").on_terminal("findings")
    lines = shown.splitlines()
    assert lines[0].split() == ["UID", "LAST", "SEEN", "(UTC)", "SEVERITY", "STATUS", "ORG", "USER", "RULE"]
    assert max(map(len, lines)) <= 100
    times = re.findall(r"^[0-9a-f]{8}  2026-03-10 (..:..:..)  medium    new ", shown, re.MULTILINE)
    assert times == ["11:02:00", "10:02:00", "09:02:00", "08:02:00"]
    assert "\x1b" not in shown


def test_a_narrow_terminal_gets_rule_and_user_under_one_another(stored: CommandLine) -> None:
    lines = stored.having(NO_COLOR="1").on_terminal("findings", columns=80).splitlines()
    assert lines[0].split()[-4:] == ["ORG", "RULE,", "AND", "USER"]
    assert max(map(len, lines)) <= 80
    assert sum(line.endswith("  push_fatigue") for line in lines) == 4


def test_colour_is_for_terminals_that_want_it(stored: CommandLine) -> None:
    assert "\x1b[" in stored.on_terminal("findings")
    assert "\x1b" not in stored.having(TERM="dumb").on_terminal("findings")
    assert "\x1b" not in stored("findings", "--format", "table").out
    assert "\x1b" not in stored("findings", "show", stored("findings").json()[0]["uid"]).out


def test_one_finding_is_a_page_with_its_story_runbook_and_next_commands(stored: CommandLine) -> None:
    bob = stored("findings", "--user", BOB.uid).json()[0]
    page = stored("findings", "show", bob["uid"][:8])
    assert (page.code, page.err) == (0, "")
    assert bob["title"] in page.out
    assert bob["summary"] in " ".join(page.out.split())
    assert re.search(r"^confidence +high$", page.out, re.MULTILINE)
    story = page.out[page.out.index("Evidence") : page.out.index("Runbook")]
    assert re.findall(r"(\d\d:\d\d:\d\d\.\d{3}) +(\w+)", story) == [
        ("10:00:00.000", "rejected"),
        ("10:01:00.000", "rejected"),
        ("10:02:00.000", "login"),
    ]
    assert "rejections = 2, window = 10m" in page.out
    assert "did you try to sign in" in " ".join(page.out.split())
    assert f"poller findings set {bob['uid'][:8]} --status" in page.out
    assert max(map(len, page.out.splitlines())) <= 100


def test_one_finding_as_json_is_the_object_of_the_list(stored: CommandLine) -> None:
    for finding in stored("findings").json():
        shown = stored("findings", "show", finding["uid"], "--format", "json").json()
        assert set(shown.pop("context")) == {"until", "next", "addresses"}
        assert shown == finding


def test_a_prefix_that_several_share_names_them(poller: CommandLine) -> None:
    people = [User(f"00u{number:017}", f"user{number}@example.com", f"User {number}") for number in range(17)]
    filled(poller, *(attack(f"p{number}-", person, 9) for number, person in enumerate(people)))
    uids = [finding["uid"] for finding in poller("findings").json()]
    assert len(uids) == 17
    digit = next(uid[0] for uid in uids if sum(other[0] == uid[0] for other in uids) > 1)
    result = poller("findings", "show", digit)
    assert (result.code, result.out) == (2, "")
    sharing = sorted(uid for uid in uids if uid[0] == digit)
    assert all(uid[:16] in result.err for uid in sharing[:5])


def test_triage_changes_the_status_and_keeps_its_history(url: str, tmp_path: Path) -> None:
    poller = filled(CommandLine(tmp_path, {"POLLER_DATABASE_URL": url}), attack("a", ALICE, 9))
    before = poller("findings").json()[0]
    uid = before["uid"]
    first = poller("findings", "set", uid[:6], "--status", "in_progress", "--comment", "calling Alice")
    assert (first.code, first.out, first.err) == (0, f"{uid}: new -> in_progress\n", "")
    second = poller("findings", "set", uid, "--status", "resolved", "--reason", "true_positive")
    assert second.out == f"{uid}: in_progress -> resolved (true_positive)\n"
    after = poller("findings", "--status", "resolved").json()[0]
    assert after["modified_time"] > before["modified_time"]
    assert {**after, "status": "new", "modified_time": before["modified_time"]} == before
    page = poller("findings", "show", uid).out
    history = page[page.index("\nTriage\n") : page.index("Runbook")]
    assert re.search(r"in_progress +- +calling Alice\n.* resolved +true_positive", history)


def test_a_finding_that_late_events_undo_after_triage_is_marked_superseded(poller: CommandLine) -> None:
    events = attack("a", ALICE, 9)
    filled(poller, events)
    uid = poller("findings").json()[0]["uid"]
    poller("findings", "set", uid, "--status", "in_progress")
    earlier = record("a4", "push_approved", "09:01:30", user=ALICE, org=ORG, sign_in="other", ip="203.0.113.9")
    filled(poller, [earlier])
    marked = {finding["uid"]: finding["superseded_time"] is not None for finding in poller("findings").json()}
    assert marked[uid] is True
    assert sum(marked.values()) == 1
    assert "superseded" in poller("findings", "--format", "table").out
    assert "superseded" in poller("findings", "show", uid).out


def test_words_are_checked_before_the_database_is_touched(poller: CommandLine) -> None:
    assert poller("findings", "set", "a", "--status", "nonsense").code == 2
    assert list(poller.folder.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["findings", "findings show {uid} --format json", "status --format json", "events show {event}"]
)
def test_reading_starts_without_the_libraries_that_are_slow_to_import(stored: CommandLine, words: str) -> None:
    uid = stored("findings").json()[0]["uid"]
    words = words.format(uid=uid, event=uid_of("a1"))
    result = stored(*words.split(), python=("-X", "importtime"))
    assert result.code == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.err.splitlines()}
    assert imported & {"sqlite3", "pysqlite3", "sqlean"}
    assert imported.isdisjoint({"sqlalchemy", "alembic", "structlog", "aiohttp", "okta", "apscheduler", "rich", "yaml"})


def test_reading_does_not_wait_for_a_writer_and_leaves_no_files_behind(poller: CommandLine) -> None:
    filled(poller, attack("a", ALICE, 9))
    with sqlite3.connect(poller.folder / "here.db", isolation_level=None) as writer:
        writer.execute("begin immediate")
        writer.execute("update findings set status = 'resolved'")
        assert poller("findings").json()[0]["status"] == "new"
        writer.execute("rollback")
    writer.close()
    assert poller("findings").code == 0
    assert [path.name for path in poller.folder.iterdir()] == ["here.db"]


# ---- schema ----


def test_on_postgres_a_missing_schema_is_refused_unless_told_otherwise(postgres: str, tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": new_database(postgres, "bare")})
    for words in (("findings",), ("status",), ("doctor",)):
        result = poller(*words)
        assert result.code == 1
        assert "poller migrate" in result.out + result.err
        assert "POLLER_AUTO_MIGRATE" in result.out + result.err
    assert poller.having(POLLER_AUTO_MIGRATE="true")("findings").out == "[]\n"
    assert poller("findings").out == "[]\n"


def test_migrate_makes_the_schema_once(url: str, tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": url})
    first, second = poller("migrate"), poller("migrate")
    assert (first.code, second.code) == (0, 0)
    assert re.fullmatch(r".*schema \d{4} created\.\n", first.out)
    assert re.fullmatch(r".*has schema \d{4} already\.\n", second.out)
    assert poller("findings").out == "[]\n"


def test_a_schema_newer_than_the_program_is_refused(poller: CommandLine) -> None:
    filled(poller, attack("a", ALICE, 9))
    with sqlite3.connect(poller.folder / "here.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    for command in ("findings", "migrate"):
        result = poller(command)
        assert (result.code, result.out) == (1, "")
        assert "9999" in result.err


# ---- rules and raw events ----


def test_rules_are_listed_with_their_parameters_in_force(poller: CommandLine) -> None:
    (poller.folder / "poller.toml").write_text('[rules.push_fatigue]\nwindow = "90s"\nseverity = "high"\n')
    listed = poller("rules")
    assert listed.code == 0
    assert re.search(r"^push_fatigue +high +yes +rejections = 2, window =", listed.out, re.MULTILINE)
    assert "90s" in listed.out
    assert max(map(len, listed.out.splitlines())) <= 100


def test_one_rule_is_shown_with_sql_to_paste_parameters_and_runbook(poller: CommandLine) -> None:
    shown = poller("rules", "show", "push_fatigue")
    assert (shown.code, shown.err) == (0, "")
    from poller.rules import load_rules

    [rule] = [rule for rule in load_rules() if rule.name == "push_fatigue"]
    assert rule.sql in shown.out
    assert "rejections = 2, window = 10m" in shown.out
    assert "did you try to sign in" in " ".join(shown.out.split())


def test_the_raw_record_of_an_event_comes_out_byte_for_byte(stored: CommandLine) -> None:
    shown = stored.bytes("events", "show", uid_of("a1"))
    assert (shown.returncode, shown.stdout) == (0, attack("a", ALICE, 9)[0].wire())


def test_an_event_that_two_orgs_have_needs_the_name_of_one(poller: CommandLine) -> None:
    address = poller.settings["POLLER_DATABASE_URL"]
    for org in (ORG, OTHER_ORG):
        fill(address, wires(attack("a", ALICE, 9, org=org)), org)
    result = poller("events", "show", uid_of("a1"))
    assert (result.code, result.out) == (2, "")
    assert ORG in result.err
    assert OTHER_ORG in result.err
    assert json.loads(poller("events", "show", uid_of("a1"), "--org", ORG).out)["uuid"] == uid_of("a1")


# ---- status ----


def test_status_tells_how_far_each_org_has_been_read(url: str, tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"POLLER_DATABASE_URL": url})
    fill(url, [*wires(attack("a", ALICE, 9)), b'{"published": "2026-03-10T09:00:00Z"}'], ORG)
    with Store(url) as store:
        store.note_error(OTHER_ORG, "Okta is out to lunch.", NOW)
        store.open_backfill(ORG, "1d .. now", NOW - timedelta(days=1), NOW, NOW)
    acme, other = poller("status", "--format", "json").json()
    assert (acme["org"], acme["caught_up"], acme["quarantine"], acme["last_error"]) == (ORG, True, 1, None)
    assert acme["cursor"] == f"https://{ORG}/api/v1/logs?after=0"
    assert acme["last_event_time"] == "2026-03-10T09:02:00.000Z"
    assert acme["last_poll_time"] == acme["caught_up_time"] == "2026-03-10T12:00:00.000Z"
    lag = (datetime.now(UTC) - NOW).total_seconds()
    assert abs(acme["lag_seconds"] - lag) < 120
    assert acme["unfinished_backfills"][0]["since_time"] == "2026-03-09T12:00:00.000Z"
    assert (other["org"], other["state"], other["last_error"]) == (OTHER_ORG, "failing", "Okta is out to lunch.")
    page = poller("status").out
    assert "Okta is out to lunch." in page
    assert f"https://{ORG}/api/v1/logs?after=0" in page
    assert max(map(len, page.splitlines())) <= 100


def test_status_names_an_org_that_is_set_and_was_never_polled(poller: CommandLine) -> None:
    settings = {"POLLER_OKTA_ORG_URL": "https://acme.okta.com", "POLLER_OKTA_API_TOKEN": "00abc"}
    (told,) = poller.having(**settings)("status", "--format", "json").json()
    assert (told["org"], told["state"], told["cursor"]) == ("acme.okta.com", "never polled", None)


# ---- with an Okta org ----


@pytest.fixture
def okta(poller: CommandLine) -> Iterator[SimulatedOkta]:
    """An org in which Alice is attacked, half an hour ago."""
    start = datetime.now(UTC) - timedelta(minutes=30)
    events = [
        {**item.raw, "published": (start + timedelta(minutes=minute)).isoformat(timespec="milliseconds")}
        for minute, item in enumerate(attack("a", ALICE, 9))
    ]
    with SimulatedOkta(events) as org:
        yield org


def with_okta(poller: CommandLine, okta: SimulatedOkta, token: str | None = None) -> CommandLine:
    return poller.having(
        POLLER_OKTA_ORG_URL=okta.url, POLLER_OKTA_API_TOKEN=token or okta.token, POLLER_OKTA_ORG_NAME="acme"
    )


def test_one_cycle_fetches_stores_and_finds(poller: CommandLine, okta: SimulatedOkta) -> None:
    poller = with_okta(poller, okta).having(POLLER_LOG_FORMAT="json")
    done = poller("run", "--once")
    assert (done.code, done.out) == (0, "")
    assert all(json.loads(line) for line in done.err.splitlines())
    assert [finding["user_uid"] for finding in poller("findings").json()] == [ALICE.uid]
    assert poller("status", "--format", "json").json()[0]["state"] == "caught up"


def test_a_refused_token_is_exit_code_1_and_is_not_shown(poller: CommandLine, okta: SimulatedOkta) -> None:
    poller = with_okta(poller, okta, token="00thisTokenIsWrong0123456789abcdefghijklmn")
    for words in (("run", "--once"), ("backfill", "--since", "1h"), ("doctor",)):
        done = poller(*words)
        assert done.code == 1, words
        assert "E0000011" in done.out + done.err
        assert "00thisTokenIsWrong" not in done.out + done.err
    assert "E0000011" in poller("status", "--format", "json").json()[0]["last_error"]


def test_a_backfill_ends_with_one_line_and_leaves_the_live_cursor_alone(
    poller: CommandLine, okta: SimulatedOkta
) -> None:
    poller = with_okta(poller, okta)
    done = poller("backfill", "--since", "2h")
    assert done.code == 0
    assert re.fullmatch(r"acme: .* 3 new events, .*1 new findings?\.\n", done.out)
    assert len(poller("findings").json()) == 1
    status = poller("status", "--format", "json").json()[0]
    assert (status["cursor"], status["unfinished_backfills"]) == (None, [])


@pytest.mark.parametrize(
    "words", [("--since", "2026-03-02", "--until", "2026-03-02"), ("--since", "2999-01-01")], ids=" ".join
)
def test_a_backfill_of_nothing_is_wrong_usage(poller: CommandLine, okta: SimulatedOkta, words: tuple[str, ...]) -> None:
    result = with_okta(poller, okta)("backfill", *words)
    assert (result.code, result.out) == (2, "")


def test_a_backfill_of_an_org_that_is_not_set_names_those_that_are(poller: CommandLine, okta: SimulatedOkta) -> None:
    result = with_okta(poller, okta)("backfill", "--since", "1h", "--org", "nonsense")
    assert (result.code, result.out) == (2, "")
    assert "acme" in result.err


def test_a_backfill_shows_its_progress_on_a_terminal(poller: CommandLine, okta: SimulatedOkta) -> None:
    shown = with_okta(poller, okta).on_terminal("backfill", "--since", "2h")
    assert "new events" in shown
    assert "\x1b[?25h" in shown  # the cursor is given back


def test_an_interrupted_backfill_says_where_it_was_and_goes_on_from_there(poller: CommandLine) -> None:
    start = datetime.now(UTC) - timedelta(hours=2)
    sample = record("x", "app_opened", "09:00:00").raw
    events = [
        {**sample, "uuid": f"event{number}", "published": (start + timedelta(seconds=number)).isoformat()}
        for number in range(2500)
    ]
    with SimulatedOkta(events, rate_limit=3, rate_window=15) as okta:
        poller = with_okta(poller, okta)
        words = (
            "backfill",
            "--since",
            (start - timedelta(minutes=1)).isoformat(),
            "--until",
            datetime.now(UTC).isoformat(),
        )
        with subprocess.Popen(
            poller.command(*words),
            cwd=poller.folder,
            env=poller.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            first = next(line for line in process.stderr if b"rate_limit.reached" in line)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, b""), (first, err)
        assert re.search(rb"^poller: .*same command goes on", err, re.MULTILINE)
        (unfinished,) = poller("status", "--format", "json").json()[0]["unfinished_backfills"]
        assert 0 < unfinished["events_stored"] < 2500
        done = poller(*words)
    assert done.code == 0, done.err
    assert f"{2500 - unfinished['events_stored']} new events" in done.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ends_well_on_a_signal(poller: CommandLine, okta: SimulatedOkta, number: signal.Signals) -> None:
    poller = with_okta(poller, okta)
    with subprocess.Popen(
        poller.command("run"), cwd=poller.folder, env=poller.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for _ in range(600):
            if poller.folder.joinpath("here.db").exists() and poller("findings").json():
                break
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b""), err


def test_a_signal_while_the_daemon_still_begins_is_a_good_end_too(poller: CommandLine, okta: SimulatedOkta) -> None:
    poller = with_okta(poller, okta)
    with subprocess.Popen(poller.command("run"), cwd=poller.folder, env=poller.environment) as process:
        while not poller.folder.joinpath("here.db").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_the_doctor_has_one_line_for_each_thing_that_is_well(poller: CommandLine, okta: SimulatedOkta) -> None:
    told = with_okta(poller, okta)("doctor")
    assert (told.code, told.err) == (0, "")
    assert all(re.match(r"(ok|note) +\S+ +\S", line) for line in told.out.splitlines())
    for subject in ("settings", "rules", "database", "clock", "rate limit", "System Log"):
        assert subject in told.out
    assert okta.token not in told.out


def test_the_doctor_finds_a_variable_that_is_misspelt(poller: CommandLine, okta: SimulatedOkta) -> None:
    told = with_okta(poller, okta).having(POLLER_POL_INTERVAL="10s")("doctor")
    assert told.code == 1
    assert re.search(r"^wrong .*POLLER_POL_INTERVAL.*POLLER_POLL_INTERVAL", told.out, re.MULTILINE)


def test_the_doctor_says_what_is_wrong_with_the_settings(poller: CommandLine) -> None:
    told = poller.having(POLLER_RETENTION="long")("doctor")
    assert told.code == 1
    assert re.search(r"^wrong +settings .*POLLER_RETENTION", told.out, re.MULTILINE)
    none = poller("doctor")
    assert none.code == 1
    assert re.search(r"^wrong +orgs .*POLLER_OKTA_ORG_URL", none.out, re.MULTILINE)


def test_the_doctor_sees_a_clock_that_is_off(poller: CommandLine) -> None:
    with SimulatedOkta([], clock=lambda: time.time() - 600) as okta:
        told = with_okta(poller, okta)("doctor")
    assert told.code == 1
    assert re.search(r"^wrong .*(59\d|60\d) s ahead of", told.out, re.MULTILINE)


# ---- the demo ----


def test_the_demo_finds_the_attack_whatever_is_set_and_its_commands_work(tmp_path: Path) -> None:
    (tmp_path / "poller.toml").write_text("this is no TOML")
    broken = {"POLLER_DATABASE_URL": "nonsense", "POLLER_POLL_INTERVAL": "soon", "POLLER_CONFIG": "/nowhere.toml"}
    shown = CommandLine(tmp_path, {**broken, "TMPDIR": str(tmp_path)})("demo")
    assert shown.code == 0, shown.err
    assert "push_fatigue" in shown.out
    assert "198.51.100.23" in shown.out
    again = re.search(r"POLLER_DATABASE_URL=(\S+) .*-m poller findings\n", shown.out)
    assert again
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (found,) = CommandLine(elsewhere, {"POLLER_DATABASE_URL": again[1]})("findings", "--rule", "push_fatigue").json()
    assert found["confidence"] == "high"


def test_the_demo_stores_where_it_is_told(tmp_path: Path) -> None:
    poller = CommandLine(tmp_path, {"TMPDIR": str(tmp_path)})
    address = f"sqlite:///{tmp_path / 'mine.db'}"
    for _ in range(2):
        assert poller("demo", "--database", address).code == 0
    assert len(poller.having(POLLER_DATABASE_URL=address)("findings", "--rule", "push_fatigue").json()) == 2
