"""What is installed is whole, and what it stands on is pinned."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.command_line import ROOT, CommandLine

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_that_the_program_reads_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    read = [
        *(ROOT / "poller").glob("*.sql"),
        *(ROOT / "poller").glob("*.dict"),
        *(path for path in (ROOT / "poller/rules").glob("*/*") if path.suffix in (".sql", ".md", ".yml")),
    ]
    assert {str(path.relative_to(ROOT)) for path in read} <= names
    revisions = {f"poller/migrations/versions/{path.name}" for path in (ROOT / "migrations/versions").glob("*.py")}
    assert revisions <= names
    assert [name for name in names if "test_" in name or name.startswith(("tests/", "migrations/"))] == []
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_installed_program_runs(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    assert (site / "bin/poller").exists()
    installed = CommandLine(tmp_path, {"PYTHONPATH": str(site)})
    where = subprocess.run(
        [sys.executable, "-c", "import poller; print(poller.__file__)"],
        cwd=tmp_path,
        env=installed.environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout == f"{site}/poller/__init__.py\n"
    assert installed("--version").out.startswith("poller ")
    assert installed("migrate").out.endswith("created.\n")
    assert installed("findings").json() == []
    assert "push_fatigue" in installed("rules", "show", "push_fatigue").out
    assert installed("rules", "test", "push_fatigue").out.endswith("timelines ok\n")


def pins(lock: str) -> dict[str, list[str]]:
    """The versions of each package: several where platforms need different ones."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_holds_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    for entry in re.split(r"^(?=\S)", text.replace("--only-binary :all:\n", ""), flags=re.MULTILINE):
        if entry.strip():
            assert re.fullmatch(r"[\w.-]+==[^\s;\\]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\s*", entry)
    assert text.startswith("--only-binary :all:\n")  # nothing is compiled, so nothing unpinned is fetched to do it


@pytest.mark.parametrize(("lock", "groups"), [(LOCKS[0], ["build"]), (LOCKS[1], ["build", "dev"])])
def test_a_lock_holds_what_the_project_asks_for(lock: str, groups: list[str]) -> None:
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += [text for group in groups for text in PROJECT["dependency-groups"][group]]
    pinned = pins(lock)
    for requirement in map(Requirement, asked):
        assert all(requirement.specifier.contains(version) for version in pinned[requirement.name.lower()])


def test_tests_run_on_what_users_run_on() -> None:
    users, tests = pins(LOCKS[0]), pins(LOCKS[1])
    assert {name: versions for name, versions in users.items() if tests.get(name) != versions} == {}


def test_the_project_asks_for_what_it_imports_and_no_more() -> None:
    names = {"yaml": "pyyaml", "jwt": "pyjwt", "sigma": "pysigma", "re2": "google_re2"}
    always, extras = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"].values()
    asked = {
        Requirement(text).name.replace("-", "_") for text in [*always, *(text for extra in extras for text in extra)]
    }
    modules = [path for folder in ("poller", "migrations") for path in (ROOT / folder).rglob("*.py")]
    imported = {
        name.partition(".")[0]
        for path in modules
        if not path.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in _imported(node)
    }
    chosen_at_run_time = {"pysqlite3", "arize_phoenix_sqlean"}  # see poller/sqlite.py
    found = {names.get(name, name) for name in imported - sys.stdlib_module_names - {"poller"}}
    assert found | chosen_at_run_time == asked


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
