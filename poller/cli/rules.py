"""`poller rules`: what is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from poller.cli import output, rule_check, rule_history, rule_quality, rule_sigma, rule_tests
from poller.cli.setup import load_settings, rules_to_show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from poller.rules import Rule

app = typer.Typer()
app.command("backtest")(rule_history.backtest)
app.command("diff")(rule_history.diff)
app.command("quality")(rule_quality.quality)
app.command("test")(rule_tests.run_timelines)
app.command("check")(rule_check.check_rules)
app.command("from-sigma")(rule_sigma.draft_rules)


@app.callback(invoke_without_command=True)
def list_rules(context: typer.Context) -> None:
    """List the rules with their parameters in force, or read one of them.

    **Examples**

    ```
    poller rules
    poller rules show push_fatigue
    poller rules backtest new_country --since 30d
    poller rules check my_rules/new_rule
    ```
    """
    if context.invoked_subcommand:
        return
    rows = output.table("RULE", "SEVERITY", "ENABLED", "PARAMETERS, AND WHAT IT FINDS")
    for column in rows.columns[:3]:
        column.no_wrap = True
    for rule in _rules():
        rows.add_row(
            output.cell(rule.name),
            output.cell(rule.level, output.SEVERITY_STYLES.get(rule.level, "")),
            "yes" if rule.enabled else "no",
            output.lines(parameters(rule), rule.title),
        )
    output.show(rows)


@app.command("show")
def show_rule(name: Annotated[str, typer.Argument(metavar="NAME", help="A rule, as poller rules lists them.")]) -> None:
    """Read one rule: its parameters in force, its SQL and its runbook."""
    rules = {rule.name: rule for rule in _rules()}
    if name not in rules:
        raise rule_history.no_such_rule(name, rules)
    rule = rules[name]
    pairs = [
        ("rule", rule.name),
        ("id", rule.uid),
        ("status", rule.status),
        ("severity", rule.level),
        ("enabled", "yes" if rule.enabled else "no"),
        ("tags", " ".join(rule.tags) or "-"),
        ("parameters", parameters(rule)),
        ("folder", str(rule.folder)),
    ]
    output.show(
        output.cell(rule.title, "bold"),
        output.cell(" ".join(rule.description.split()), most=output.LONGEST_TEXT),
        "",
        output.facts(pairs),
        *("", output.cell("SQL", "bold")),
    )
    output.write(rule.sql + "\n")  # as it was written, to be pasted: never folded to the width of a terminal
    output.show("", output.cell("Runbook", "bold"), markdown(rule.runbook))


def parameters(rule: Rule) -> str:
    """`rejections = 2, window = 10m`: what the rule's binds are given, durations in the unit that fits."""
    return ", ".join(
        f"{name} = {_duration(value) if isinstance(rule.defaults[name], str) else value}"
        for name, value in rule.parameters.items()
    )


def markdown(text: str) -> RenderableType:
    """Our own Markdown, laid out."""
    from rich.markdown import Markdown

    return Markdown(text)


def _duration(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _rules() -> list[Rule]:
    return rules_to_show(load_settings())
