"""The schema that this program needs, known without a database library: reading commands start fast."""

from __future__ import annotations

from pathlib import Path


def migrations_folder() -> Path:
    """`migrations/` beside the package in a source tree, inside it where poller is installed."""
    package = Path(__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def head() -> str:
    """The newest revision: file names start with their number, so it is the last in order of name."""
    return max(path.stem for path in (migrations_folder() / "versions").glob("[0-9]*.py")).partition("_")[0]
