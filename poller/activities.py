"""`activities.sql` taken apart: the views, and the event types that each of them picks out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ACTIVITIES_SQL = Path(__file__).with_name("activities.sql")


def activity_views() -> dict[str, str]:
    """{view name: its `create view` statement}, in the order of the file."""
    text = "\n".join(line for line in ACTIVITIES_SQL.read_text("utf-8").splitlines() if not line.startswith("--"))
    statements = [statement.strip() for statement in text.split(";") if statement.strip()]
    return {statement.split()[2]: statement for statement in statements}


@cache
def event_types() -> Mapping[str, frozenset[str]]:
    """{view name: the event types that it names}."""
    types = {}
    for name, view in activity_views().items():
        found = re.findall(r"event_type\s*=\s*'([^']+)'", view)
        for listed in re.findall(r"event_type\s+in\s*\(([^)]*)\)", view):
            found += re.findall(r"'([^']+)'", listed)
        types[name] = frozenset(found)
    return types
