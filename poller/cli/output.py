"""What commands print. Standard output carries the answer and nothing else; all that is said about it goes to
standard error. Text of unknown origin comes in through `cell` or `say`, which make it printable."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from poller.errors import PollerError
from poller.text import csv_cell, printable, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

WIDTH = 100  # where the output is not a terminal
LONGEST = 120  # characters of a text that a table shows
LONGEST_TEXT = 4000  # of free text, such as a summary
SEVERITY_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


def is_terminal() -> bool:
    return sys.stdout.isatty()


def write(text: str) -> None:
    """Text that is safe already, to standard output. Ends the command when it can't be written."""
    with _writing():
        sys.stdout.write(text)


def write_bytes(data: bytes) -> None:
    """Bytes as they are, to standard output that is not a terminal."""
    with _writing():
        sys.stdout.buffer.write(data)


def flush() -> None:
    """Hand over what was written so far."""
    with _writing():
        sys.stdout.flush()


@contextmanager
def _writing() -> Iterator[None]:
    """Ends the command where the answer goes nowhere: quietly when nobody reads on (`| head`), else as an error."""
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered must go somewhere
        if isinstance(error, BrokenPipeError):
            raise typer.Exit from None
        raise PollerError(f"the answer could not be written: {error.strerror}. Make room where it goes.") from None


def note(message: str) -> None:
    """A remark about the answer, to standard error."""
    print(f"poller: {printable(message)}", file=sys.stderr)


def width() -> int:
    """Columns of the terminal; elsewhere so many that nobody has to scroll sideways."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal() else WIDTH


def show(*parts: RenderableType) -> None:
    """Rich renderables, in colour on a terminal that wants it, 100 columns wide elsewhere."""
    import io

    from rich.console import Console

    terminal = is_terminal()
    plain = not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
    console = Console(
        file=io.StringIO(),
        width=width(),
        force_terminal=not plain,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    # Table cells are padded to the width of their column: nobody needs blanks at the end of a line.
    write("".join(f"{line.rstrip()}\n" for line in text.splitlines()) if plain else text)


def cell(value: Any, style: str = "", most: int = LONGEST) -> Text:
    """A value of any origin as the text of a table: printable, never markup, cut where it is endless."""
    from rich.text import Text

    text = printable("-" if value is None or value == "" else str(value)[: most + 1])
    return Text(text if len(text) <= most else f"{text[:most]}…", style=style)


def lines(*texts: str | None) -> Text:
    """Several texts under one another in one cell; what is not known takes no line."""
    from rich.text import Text

    return Text("\n").join(cell(text) for text in texts if text)


def table(*columns: str) -> Table:
    """An empty table without lines: headings, then rows that grep and awk can use."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def facts(pairs: Iterable[tuple[str, Text | str]]) -> Table:
    """Names and values under one another."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(cell(name, most=60), value if not isinstance(value, str) else cell(value, most=LONGEST_TEXT))
    return made


def write_json_array(items: Iterable[Mapping[str, Any]]) -> None:
    """A JSON array, one object to a line, written as the objects come."""
    started = False
    for item in items:
        write((",\n" if started else "[\n") + to_json(item))
        started = True
    write("\n]\n" if started else "[]\n")


def write_json_lines(items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        write(to_json(item) + "\n")


def write_csv(columns: Sequence[str], items: Iterable[Mapping[str, Any]]) -> None:
    """RFC 4180, with a header; every cell is one line and none is a formula."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    for item in items:
        writer.writerow([csv_cell(item[name]) for name in columns])
        write(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()
    write(buffer.getvalue())


def moment(iso: str | None) -> str:
    """`2026-11-01T09:00:00.000Z` as `2026-11-01 09:00:00`, the way tables write UTC."""
    return f"{iso[:10]} {iso[11:19]}" if iso else "-"
