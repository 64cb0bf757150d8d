"""Log lines: facts with fields, `noun.past_verb`, on standard error. Never a token, never a raw event."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from poller.text import printable, to_json, without_secrets

__all__ = ["configure", "printable"]

LONGEST = 4000  # characters of one text, or of one line of a traceback


def configure(style: str, level: str = "info") -> None:
    """Send every log line to standard error as `json` or for a `console`. Libraries speak from WARNING up, in the same
    form, and the okta SDK not at all: at debug level it logs whole requests, tokens included."""
    import structlog

    facts: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _safe,
    ]
    in_colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer: Any = (
        structlog.processors.JSONRenderer(lambda line, **_: to_json(line))
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=in_colour, sort_keys=False)
    )
    structlog.configure(
        processors=[*facts, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    of_libraries = logging.StreamHandler(sys.stderr)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *facts, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[of_libraries], force=True)
    logging.getLogger("okta-sdk-python").disabled = True


def _safe(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {_safe_text(str(key)): _safe_value(value, is_trace=key == "exception") for key, value in event.items()}


def _safe_value(value: Any, is_trace: bool = False) -> Any:
    """Numbers as they are, all else as printable text, cut where it is endless. A traceback keeps its lines."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {_safe_text(str(key)): _safe_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_safe_value(item) for item in value]
    text = without_secrets(str(value))
    return "\n".join(_safe_text(line) for line in text.split("\n")) if is_trace else _safe_text(text)


def _safe_text(text: str) -> str:
    shown = printable(text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
