"""Files that hold secrets: read only where nobody else can read them, or change them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from poller.errors import SettingsError


def read_secret(path: Path, what: str) -> str:
    """The text of a file. `what` it holds is for the error. Raises SettingsError: not readable, or not by us alone."""
    try:
        with path.open("rb") as file:
            _check(path, os.fstat(file.fileno()), what)
            return file.read().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"can't read {what} from {path}: {reason}.") from None


def check_secret(path: Path, what: str) -> None:
    """Raises SettingsError as `read_secret` does, but for a file that can't be read at all."""
    _check(path, path.stat(), what)


def _check(path: Path, status: os.stat_result, what: str) -> None:
    if os.name != "posix" or not stat.S_ISREG(status.st_mode) or _is_shown_to_us_alone(path):
        return
    mode = status.st_mode
    is_ours = status.st_uid == os.geteuid()
    # A group that was chosen for the file may read it (root:poller, 640; the fsGroup of a pod). That of every file one
    # makes was not chosen.
    has_chosen_group = not (is_ours and status.st_gid == os.getegid())
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        who = "everybody on this machine"
    elif mode & stat.S_IWGRP or (mode & stat.S_IRGRP and not has_chosen_group):
        who = "its group"
    else:
        return
    verb = "changed" if mode & (stat.S_IWOTH | stat.S_IWGRP) else "read"
    fix = "600" if is_ours and not (has_chosen_group and mode & stat.S_IRGRP) else "640"
    raise SettingsError(
        f"{what} in {path} can be {verb} by {who} (mode {stat.S_IMODE(mode):03o}). "
        f"Close it: chmod {fix} {shlex.quote(str(path))}"
    )


def _is_shown_to_us_alone(path: Path) -> bool:
    """Where the system hands secrets to one service, whatever their mode: Docker, and systemd's LoadCredential."""
    folders = ("/run/secrets", os.environ.get("CREDENTIALS_DIRECTORY"))
    return any(folder and path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)
