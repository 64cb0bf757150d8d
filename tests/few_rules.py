"""Settings under which few rules run: push_fatigue, poller's own about itself, and one of a user's.

What is killed and failed a thousand times needs a rule of each way to be run, not all of them.
"""

from __future__ import annotations

from pathlib import Path

from poller.rules import load_rules

OWN = """/*
title: A push was denied
id: 1d7c2c0a-0f5e-4f7e-8a57-6a1f8f2c9b11
level: low
parameters: {}
lookback: 0s
*/
select org, user_uid, uid as trigger_uid, time as trigger_time, uid as evidence_uid, 'rejected' as role
from push_rejected
where org = :org and time >= :since and time < :until;
"""


def few_rules(folder: Path) -> dict[str, str]:
    """The environment of it, with its files in this folder."""
    config, own = folder / "few_rules.toml", folder / "rules" / "denied_push"
    if not config.exists():
        off = (rule.name for rule in load_rules() if rule.is_about_events() and rule.name != "push_fatigue")
        own.mkdir(parents=True, exist_ok=True)
        (own / "rule.sql").write_text(OWN, "utf-8")
        (own / "README.md").write_text("# denied_push\n", "utf-8")
        config.write_text("".join(f"[rules.{name}]\nenabled = false\n" for name in off), "utf-8")
    return {"POLLER_CONFIG": str(config), "POLLER_RULES_PATH": str(own.parent)}
