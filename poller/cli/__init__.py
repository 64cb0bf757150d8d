"""The command line: text, JSON and exit codes out. One module per group of commands, each importing what it needs
only when it runs, so that a list of findings does not wait for a database library."""

from __future__ import annotations

import gc
import os
import signal
import sys

from poller.errors import PollerError
from poller.text import printable, without_secrets


def main() -> None:
    """The entry point. Exit codes: 0 done, 1 it could not be done, 2 wrong usage or settings, 130 interrupted."""
    if sys.argv[1:2] == ["run"]:  # until somebody listens nothing has begun, and there is nothing to wait for
        code = 1 if "--once" in sys.argv else 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(code))
    gc.set_threshold(50_000)  # imports make many objects and hardly any garbage
    # Bytes in the arguments that are no UTF-8 could be written neither to a database nor to a terminal.
    arguments = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in sys.argv[1:]]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = _run(arguments)
    gc.freeze()  # the process ends: nothing is worth a last collection
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    import typer

    from poller.cli import output
    from poller.cli.app import app

    try:
        code = typer.main.get_command(app).main(arguments, prog_name="poller", standalone_mode=False)
        output.flush()
    except PollerError as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "poller"
        message = error.format_message().strip().rstrip(".")
        return _failed(f"{message}. See {command} --help.", error.exit_code)
    except typer.Exit as exit:
        return exit.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        return _unforeseen(error)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    if code:
        print(f"poller: {printable(without_secrets(' '.join(message.split())))}", file=sys.stderr)
    return code


def _unforeseen(error: Exception) -> int:
    """A bug, or a machine in trouble: one line, and where it happened only for who asks."""
    if os.environ.get("POLLER_LOG_LEVEL", "").lower() == "debug":
        import traceback

        for line in without_secrets("".join(traceback.format_exception(error))).splitlines():
            print(printable(line), file=sys.stderr)
    what = without_secrets(f"{type(error).__name__}: {error}")[:300]
    hint = "The same command with POLLER_LOG_LEVEL=debug says where; please report it."
    return _failed(f"unexpected {what.rstrip('. ')}. {hint}", 1)
