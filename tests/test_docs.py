"""What keeps the documents true: their commands, queries, snippets and rules are run, and their names are compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import typer

from poller import __version__, schema
from poller.activities import activity_views
from poller.cli.app import app
from poller.raw import DICTIONARY_FILE
from poller.rules import Rule, load_rules, read_rule
from poller.rules.timelines import records
from poller.settings import OrgSettings, Settings, load
from poller.store import Store
from tests.command_line import ROOT, CommandLine
from tests.delivery import deliver, found

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "deploy/*.md", "poller/rules/*/README.md") for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")
# Where a document may lead. No address of a package registry is among them, and none belongs there.
HOSTS = {
    *("developer.okta.com", "attack.mitre.org", "sigmahq.io", "www.rfc-editor.org", "docs.astral.sh"),
    *("help.okta.com", "support.okta.com"),
    *("keepachangelog.com", "semver.org", "acme.okta.com", "acme.oktapreview.com"),
}
TOOLS = ("sqlite3", "psql", "zstd")
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SET_UP = "python3 -m venv "


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the comment above it: where it can run, or why it can't."""

    place: str
    language: str
    mark: str
    text: str

    def filled_in(self, demo: Any) -> str:
        words = {"EVENT_UID": demo.event, "UID": demo.finding, "acme.okta.com": demo.org}
        return re.sub(r"\b(EVENT_UID|UID|acme\.okta\.com)\b", lambda match: words[match[1]], self.text)


def _blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for match in _BLOCK.finditer(text):
            line = text[: match.start("language")].count("\n") + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", match["language"], match["mark"] or "", match["text"])


BLOCKS = list(_blocks())


def _runnable(language: str) -> list[Block]:
    chosen = [
        block
        for block in BLOCKS
        if block.language == language
        and not block.mark.startswith(("not run", "rule"))
        and not block.text.startswith(_SET_UP)
    ]
    assert chosen
    return chosen


def blocks(language: str) -> Any:
    """One test for each block of a language that can be run."""
    return pytest.mark.parametrize("block", _runnable(language), ids=lambda block: block.place)


@pytest.fixture(scope="module")
def new_demo(new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The database that `poller demo` leaves, on SQLite or Postgres, what it printed, and names of things in it."""
    made: dict[str, Any] = {}

    def make(kind: str) -> Any:
        if kind not in made:
            url = new_database(kind)
            printed = CommandLine(tmp_path_factory.mktemp("demo"), {"COLUMNS": "100"})("demo", "--database", url)
            assert printed.code == 0, printed.err
            with Store(url) as store, store.reading() as connection:
                the_attack = sa.select(schema.findings).where(schema.findings.c.rule == "push_fatigue")
                finding = connection.execute(the_attack).one()
            made[kind] = SimpleNamespace(
                url=url, printed=printed.out, finding=finding.uid, event=finding.trigger_uid, org=finding.org
            )
        return made[kind]

    return make


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder with `poller` and `python` to be called, and the files that a clone has in `poller/`."""
    programs = tmp_path / ".programs"
    programs.mkdir()
    for name, words in (("poller", "-m poller "), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "poller").mkdir()
    for name in ("raw.dict", "rules"):
        (tmp_path / "poller" / name).symlink_to(ROOT / "poller" / name)
    return {**CommandLine(tmp_path, {}).environment, "PATH": f"{programs}:{os.environ['PATH']}"}


# ---- what is shown is run ----


@blocks("sh")
def test_commands_run(
    block: Block, new_demo: Callable[[str], Any], environment: dict[str, str], tmp_path: Path
) -> None:
    missing = [tool for tool in TOOLS if re.search(rf"\b{tool} ", block.text) and not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    demo = new_demo(block.mark or "sqlite")
    if block.mark == "postgres":
        environment["DATABASE"] = demo.url
    else:
        shutil.copy(demo.url.removeprefix("sqlite:///"), tmp_path / "poller.db")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.filled_in(demo)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = [path for path in tmp_path.iterdir() if path.suffix in (".json", ".jsonl")]
    assert done.stdout or written or (tmp_path / "backup.db").exists()
    assert all(demo.finding in path.read_text() or demo.event in path.read_text() for path in written)
    if "rule.sql" in block.text:
        assert demo.event in done.stdout


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        pytest.param(kind, block, id=f"{kind}-{block.place}")
        for kind in ("sqlite", "postgres")
        for block in _runnable("sql")
        if block.mark in ("", kind)
    ],
)
def test_queries_run_and_find_something(kind: str, block: Block, new_demo: Callable[[str], Any]) -> None:
    demo = new_demo(kind)
    with Store(demo.url) as store, store.reading() as connection:
        rows = connection.exec_driver_sql(block.filled_in(demo)).all()
    assert rows or "quarantine" in block.text


@blocks("python")
def test_snippets_run(
    block: Block, new_demo: Callable[[str], Any], environment: dict[str, str], tmp_path: Path
) -> None:
    shutil.copy(new_demo("sqlite").url.removeprefix("sqlite:///"), tmp_path / "poller.db")
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


@blocks("toml")
def test_configuration_files_load(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "example.toml").write_text(block.text)
    monkeypatch.setenv("POLLER_CONFIG", str(tmp_path / "example.toml"))
    settings = load()
    assert {name for name in tomllib.loads(block.text) if getattr(settings, name)} == set(tomllib.loads(block.text))
    load_rules(settings.rules)
    for org in settings.orgs:
        org.check_credentials()


@pytest.fixture
def shown_rule(tmp_path: Path) -> Rule:
    """The rule that the README shows, in a folder of its own."""
    (shown,) = (block for block in BLOCKS if block.mark.startswith("rule: "))
    folder = tmp_path / shown.mark.removeprefix("rule: ")
    folder.mkdir()
    (folder / "rule.sql").write_text(shown.text)
    (folder / "README.md").write_text("# Runbook\n")
    return read_rule(folder)


@pytest.mark.parametrize("page", [1, 1000])
@pytest.mark.parametrize("is_backwards", [False, True])
def test_the_rule_of_the_readme_fires_once_where_a_fifth_denial_falls_into_the_window(
    shown_rule: Rule, store: Store, page: int, is_backwards: bool
) -> None:
    events = records("""
        09:00:00      alice  push_rejected
        09:00:00      bob    push_rejected
        09:02:30      alice  push_rejected
        09:02:30      bob    push_rejected
        09:05:00      alice  push_rejected
        09:05:00      bob    push_rejected
        09:07:30      alice  push_rejected
        09:07:30      bob    push_rejected
        09:10:00      alice  push_rejected
        09:10:00.001  bob    push_rejected
        09:10:01      alice  push_rejected
        09:11:00      alice  push_rejected
    """)
    deliver(store, reversed(events) if is_backwards else events, rules=[shown_rule], page=page)
    (finding,) = found(store)
    assert (finding["user_name"], finding["evidence_count"]) == ("alice@example.com", 5)
    assert f"{finding['last_seen_time']:%H:%M:%S}" == "09:10:00"


def test_the_finding_of_the_readme_looks_as_it_does_in_the_demo(new_demo: Callable[[str], Any]) -> None:
    (shown,) = (block.text for block in BLOCKS if block.place.startswith("README") and block.language == "text")
    printed = {" ".join(line.split()) for line in new_demo("sqlite").printed.splitlines()}
    title = next(rule.title for rule in load_rules() if rule.name == "push_fatigue")
    headings = [line for line in shown.splitlines() if line.startswith(("UID ", "TIME ", "Evidence", title))]
    assert len(headings) == 4
    assert {" ".join(line.split()) for line in headings} <= printed


# ---- what is named is there, and what is there is named ----


def test_links_lead_somewhere() -> None:
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def _anchors(path: Path) -> list[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_documents_lead_to_no_host_but_those_that_we_know() -> None:
    addresses = [
        address for path in DOCUMENTS for address in re.findall(r"https?://[^\s)>`'\"]+", path.read_text("utf-8"))
    ]
    assert {urlsplit(address).hostname for address in addresses} <= HOSTS


def test_every_document_is_reached_from_the_readme() -> None:
    reached, coming = set(), [ROOT / "README.md"]
    while coming:
        path = coming.pop()
        if path in reached or path.suffix != ".md" or not path.exists():
            continue
        reached.add(path)
        coming += [
            (path.parent / target.partition("#")[0]).resolve()
            for target in re.findall(r"\]\(([^)\s:]+)\)", path.read_text("utf-8"))
        ]
    assert {path for path in DOCUMENTS if path not in reached} == set()


def table(text: str) -> dict[str, str]:
    """The rows of tables whose first cell names settings: {name: the default cell}."""
    rows = re.findall(r"^\| (`POLLER_[^|]*)\| ([^|]*) \|", text, re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}


def test_every_setting_is_documented_and_nothing_else() -> None:
    names = {f"POLLER_{name.upper()}" for name in Settings.model_fields if name not in ("orgs", "rules")}
    assert set(table(SETTINGS)) == set(table(README)) == {*names, "POLLER_CONFIG"}
    assert {name for name in OrgSettings.model_fields if f"`{name}`" not in SETTINGS} == set()
    assert all(f"[{name}" in SETTINGS for name in ("[orgs]]", "rules."))


@pytest.mark.parametrize("text", [README, SETTINGS], ids=["README", "settings"])
def test_the_defaults_of_settings_are_as_documented(text: str) -> None:
    defaults = Settings.model_construct()
    checked = 0
    for name, cell in table(text).items():
        field = name.removeprefix("POLLER_").lower()
        value = re.fullmatch(r"`([^`]+)`", cell.strip())
        if value and field in Settings.model_fields:
            assert getattr(Settings(**{field: value[1]}), field) == getattr(defaults, field), name
            checked += 1
    assert checked >= 6


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join(("poller", *words, name))


def test_every_command_stands_in_the_readme_and_every_command_that_documents_name_is_there() -> None:
    commands = set(_commands(typer.main.get_command(app)))
    rows = re.findall(r"^\| (`poller .*?) \|", README, re.MULTILINE)
    in_table = {
        match
        for row in rows
        for match in re.findall(r"`(poller(?: [a-z]+(?:-[a-z]+)*)+)", row.replace(" NAME", "").replace("UID", ""))
    }
    assert in_table == commands
    for path in DOCUMENTS:
        for words in re.findall(r"`poller ([a-z]+)", path.read_text("utf-8")):
            assert f"poller {words}" in {" ".join(command.split()[:2]) for command in commands}, path


@pytest.mark.parametrize("name", ["events", "findings", "finding_evidence", "finding_history", "quarantine"])
def test_every_column_is_documented(name: str) -> None:
    told = "".join((ROOT / "docs" / file).read_text("utf-8") for file in ("findings.md", "raw-events.md"))
    internal = {"id", "raw_hash"}
    columns = {column.name for column in schema.metadata.tables[name].columns} - internal
    assert {column for column in columns if f"`{column}`" not in told} == set()


def test_every_activity_is_documented() -> None:
    told = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs/rules.md").read_text("utf-8").split("## Activities")[1], re.MULTILINE
    )
    assert told == [name for name in activity_views() if name != "activities"]


def test_every_rule_is_in_the_list_of_detections() -> None:
    row = r"^\| \[`(\w+)`\]\((.*?)\) \| (.*?) \| (.*?) \| (.*?) \|$"
    rows = re.findall(row, (ROOT / "docs/detections.md").read_text("utf-8"), re.MULTILINE)
    told = {name: rest for name, *rest in rows}
    assert len(told) == len(rows)
    for rule in load_rules():
        techniques = ", ".join(tag.removeprefix("attack.").upper() for tag in rule.tags if tag.startswith("attack.t"))
        level = rule.level if rule.enabled else f"{rule.level}, off"
        assert told.pop(rule.name) == [f"../poller/rules/{rule.name}/README.md", level, techniques or "-", rule.title]
    assert told == {}


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)[0] == __version__
    assert all(f"`{rule.name}`" in changelog.split("### Detections")[1] for rule in load_rules())


def test_the_dictionary_is_named_by_its_id() -> None:
    import zstandard

    number = zstandard.ZstdCompressionDict(DICTIONARY_FILE.read_bytes()).dict_id()
    assert f" {number}," in (ROOT / "docs/raw-events.md").read_text("utf-8").replace("\n", " ")


# ---- the two commands ----


def test_the_readme_has_two_lines_that_set_everything_up() -> None:
    demo, tests = (line for line in README.splitlines() if line.startswith(_SET_UP))
    assert demo.endswith(" && .venv/bin/poller demo")
    assert tests.endswith(" && .venv/bin/python -m tests")
    assert all(" --require-hashes -r " in line and " --no-deps --no-build-isolation " in line for line in (demo, tests))


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("false", 1)])
def test_ci_runs_the_test_line_of_the_readme_and_fails_with_it(tmp_path: Path, command: str, code: int) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    line = f"{_SET_UP}--help > seen && {command} -m tests"
    (tmp_path / "README.md").write_text(
        f"```sh\n{_SET_UP}--help > other && true poller demo\n```\n```sh\n{line}\n```\n"
    )
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, line + "\n")
    assert (tmp_path / "seen").read_text()
    assert not (tmp_path / "other").exists()
