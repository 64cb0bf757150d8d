"""`poller completeness`: the proof that nothing is missing, or the names of what is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poller.cli import output
from poller.cli.setup import all_rules, load_settings, open_store, start_log, time_range
from poller.errors import PollerError, Stopped, UsageError
from poller.findings import moment
from poller.reading import at
from poller.text import printable

if TYPE_CHECKING:
    from poller.cycle import Fetched
    from poller.ledger import Coverage
    from poller.normalize import Event
    from poller.rules import Rule
    from poller.settings import OrgSettings, Settings
    from poller.store import Store

FRESH = timedelta(minutes=5)  # what is younger than this, or than three poll intervals, need not have been read yet
LISTED = 20  # missing events, gaps


def completeness(
    since: Annotated[str, typer.Option(metavar="T", help="What was published at T or later. An age is 24h, 7d.")],
    until: Annotated[
        str | None, typer.Option(metavar="T", help="And before T. [default: the last poll, if it was just now]")
    ] = None,
    org: Annotated[str | None, typer.Option(metavar="NAME", help="Of this org only. [default: every org]")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the range again from Okta, and store what is missing.")
    ] = False,
    format: Annotated[Literal["text", "json"], typer.Option(help="Lines to read, or a JSON array.")] = "text",
) -> None:
    """Prove from the ledger of pages that a range was read without a gap, or name the gaps.

    Each page that poller commits is in the ledger: the link it was asked by, the link it led to, how many records,
    their hash, and the time it covers. With `--verify` the range is fetched once more with bounded requests; events
    that Okta has and poller has not are named and stored, and the rules run on them. Exits with 1 if a gap remains.

    **Examples**

    ```
    poller completeness --since 24h
    poller completeness --since 2026-11-01 --until 2026-11-02 --org acme.okta.com --verify
    ```
    """
    settings = load_settings()
    begin, end = time_range(since, until)
    assert begin is not None
    now = datetime.now(UTC)
    if begin >= (end or now):
        raise UsageError(f"nothing lies between --since {since} and --until {until or 'now'}: the range is empty.")
    start_log(settings.model_copy(update={"log_level": "warning"}))
    with open_store(settings) as store:
        names = _names(store, settings, org)
        spans = {name: (begin, min(end, now) if end else _reached(store, settings, name, now)) for name in names}
        verified = _verify(store, settings, spans) if verify else {}
        told = [_told(store, name, *spans[name], verified.get(name)) for name in names]
    if format == "json":
        output.write_json_array(told)
    else:
        for one in told:
            _write(one)
    if any(one["gaps"] or one.get("error") for one in told):
        if not verify:
            output.note("poller completeness with --verify fetches what is missing, as far back as Okta keeps it.")
        raise typer.Exit(1)


def _names(store: Store, settings: Settings, chosen: str | None) -> list[str]:
    """The org asked for; else all of the settings; else, where there are none, all of the database."""
    import sqlalchemy as sa

    from poller.schema import orgs

    with store.reading() as connection:
        stored = list(connection.scalars(sa.select(orgs.c.org).order_by(orgs.c.org)))
    configured = [one.name for one in _configured(settings)]
    if chosen is None:
        names = configured or stored
    else:
        names = [name for name in dict.fromkeys([*configured, *stored]) if name == chosen]
    if not names:
        known = ", ".join(dict.fromkeys([*configured, *stored])) or "none"
        raise UsageError(f"there is no org {chosen!r}. There are: {known}." if chosen else "no org was ever polled.")
    return names


def _configured(settings: Settings) -> Sequence[OrgSettings]:
    try:
        return settings.all_orgs()
    except PollerError:  # reading the ledger needs no credentials
        return ()


def _reached(store: Store, settings: Settings, org: str, now: datetime) -> datetime:
    """How far the live cursor has come, where that was just now: the rest is for the next poll."""
    import sqlalchemy as sa

    from poller.schema import orgs

    with store.reading() as connection:
        state = connection.execute(sa.select(orgs).where(orgs.c.org == org)).first()
    if state is None or state.covered_until is None or state.caught_up_time is None:
        return now
    fresh = max(FRESH, 3 * settings.poll_interval)  # by our own clock on both sides; Okta's may be another
    return min(moment(state.covered_until), now) if now - state.caught_up_time <= fresh else now


def _verify(
    store: Store, settings: Settings, spans: dict[str, tuple[datetime, datetime]]
) -> dict[str, tuple[Fetched, list[Event]] | PollerError]:
    from poller import cycle, daemon
    from poller.system_log import SystemLog

    rules: list[Rule] = [rule for rule in all_rules(settings) if rule.enabled]
    done: dict[str, tuple[Fetched, list[Event]] | PollerError] = {}
    polled = {one.name for one in settings.all_orgs()}
    if unknown := sorted(spans.keys() - polled):
        raise UsageError(f"{unknown[0]} is not among the orgs of the settings, so it can't be read again.")
    with daemon.stop_on_signals() as stop:
        for one in settings.all_orgs():
            if one.name in spans:
                log = SystemLog(one, settings.rate_limit_share, stop)
                try:
                    done[one.name] = cycle.verify(
                        store, log, one.name, rules, *_kept(store, one.name, *spans[one.name])
                    )
                except Stopped as error:
                    output.note(str(error))
                    raise typer.Exit(130) from None
                except PollerError as error:
                    done[one.name] = error
    return done


def _kept(store: Store, org: str, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Without what retention has deleted: to fetch that again would only be for it to be deleted again."""
    import sqlalchemy as sa

    from poller.schema import orgs

    with store.reading() as connection:
        before = connection.execute(sa.select(orgs.c.pruned_before).where(orgs.c.org == org)).scalar()
    return max(since, moment(before or 0)), until


def _told(
    store: Store,
    org: str,
    since: datetime,
    until: datetime,
    verified: tuple[Fetched, list[Event]] | PollerError | None,
) -> dict[str, Any]:
    from poller import ledger
    from poller.slices import Slice
    from poller.store import epoch_ms_of

    with store.reading() as connection:
        proof: Coverage = ledger.coverage(connection, org, Slice(epoch_ms_of(since), epoch_ms_of(until)))
    told: dict[str, Any] = {
        "org": org,
        "since": at(proof.since),
        "until": at(proof.until),
        "contiguous": not proof.gaps,
        "pages": proof.pages,
        "records": proof.records,
        "gaps": [{"since": at(gap.since), "until": at(gap.until), "reason": gap.reason} for gap in proof.gaps],
        "read_twice": proof.verified,
    }
    if isinstance(verified, PollerError):
        told["error"] = str(verified)
    elif verified is not None:
        done, missing = verified
        told["verification"] = {
            "pages": done.pages,
            "events": done.stored.new + done.stored.seen,
            "missing": done.stored.new,
            "quarantined": done.stored.quarantined,
            "findings": done.stored.found,
            "first_missing": [
                {"uid": event.uid, "time": at(event.time), "event_type": event.event_type, "user_name": event.user_name}
                for event in missing
            ],
        }
    return told


def _write(told: dict[str, Any]) -> None:
    gaps = told["gaps"]
    verdict = "contiguous, " if told["contiguous"] else ""
    counts = f"{told['pages']} {_s('page', told['pages'])}, {len(gaps)} {_s('gap', len(gaps))}"
    span = f"{output.moment(told['since'])} to {output.moment(told['until'])} UTC"
    again = ", read twice" if told["read_twice"] else ""
    lines = [f"{told['org']}: {span}: {verdict}{counts}, {told['records']} {_s('record', told['records'])}{again}"]
    for gap in gaps[:LISTED]:
        lines.append(f"  gap {output.moment(gap['since'])} to {output.moment(gap['until'])} UTC: {gap['reason']}")
    if len(gaps) > LISTED:
        lines.append(f"  and {len(gaps) - LISTED} more gaps: --format json lists them all")
    if error := told.get("error"):
        lines.append(f"  not verified: {error}")
    if found := told.get("verification"):
        events, missing = found["events"], found["missing"]
        lines.append(f"  verified: Okta has {events} {_s('event', events)} there, {missing} of them missing here")
        if missing:
            lines[-1] += f", and stored now ({found['findings']} new {_s('finding', found['findings'])})"
        for event in found["first_missing"][:LISTED]:
            what = " ".join(event[name] for name in ("event_type", "user_name", "uid") if event[name])
            lines.append(f"    {output.moment(event['time'])}  {what}")
        if missing > LISTED:
            lines.append(f"    and {missing - LISTED} more: --format json lists up to 1000")
    for line in lines:
        output.write(printable(line[: output.LONGEST_TEXT]) + "\n")


def _s(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
