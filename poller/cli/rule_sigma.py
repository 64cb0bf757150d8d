"""`poller rules from-sigma`: a rule folder drafted from a Sigma rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poller.cli import output
from poller.cli.setup import load_settings
from poller.errors import PollerError, UsageError
from poller.text import printable

if TYPE_CHECKING:
    from poller.sigma.draft import Draft


def draft_rules(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Sigma rule, or a correlation with its rules.")],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the draft's folder is made. [default: that of POLLER_RULES_PATH]",
        ),
    ] = None,
) -> None:
    """Draft a rule folder from a Sigma rule: query, runbook and timelines, with its author's credit.

    It takes rules about single Okta events, and correlations of the types event_count, value_count, temporal and
    temporal_ordered. What it can't say in SQL it names, with file and line; what it says in other words it notes in the
    draft. Nothing is overwritten. It needs pySigma: `pip install 'okta-poller[sigma]'`.

    **Examples**

    ```
    poller rules from-sigma okta_api_token_created.yml --to my_rules
    poller rules check my_rules
    ```
    """
    from poller.sigma import read_drafts

    folder = to or load_settings().rules_path
    if folder is None:
        raise UsageError("there is no folder for the draft. Name one with --to, or in POLLER_RULES_PATH.")
    drafts = read_drafts(file)
    for draft in drafts:
        if (folder / draft.name).exists() or (folder / draft.name).is_symlink():
            raise UsageError(f"{folder / draft.name} is there already, and nothing is overwritten. Move it away first.")
    for draft in drafts:
        _write(draft, folder / draft.name)
        output.write(printable(f"{folder / draft.name}: {draft.title}") + "\n")
        output.write("".join(printable(f"  {note}") + "\n" for note in draft.notes))
    tested = " && ".join(f"poller rules test {draft.name}" for draft in drafts[:3])
    output.note(f"read it, then: export POLLER_RULES_PATH={folder} && poller rules check {folder} && {tested}")


def _write(draft: Draft, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        for name, text in draft.files.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise PollerError(f"{folder} could not be written: {error.strerror}. Give another folder with --to.") from None
