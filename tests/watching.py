"""A timeline of polls for rules that watch poller itself: minutes from 2026-03-02 09:00 UTC."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from poller import schema, watch
from poller.ledger import FIRST, Turn
from poller.rules import Rule
from poller.store import Store, epoch_ms_of, read_records

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
LINK = "https://acme.okta.com/api/v1/logs?after=1"


@dataclass
class Watched:
    """The org `acme` as one rule sees it."""

    store: Store
    rule: Rule
    pages: int = field(default=0)

    def page(
        self, at: int, events: Collection[str] = (), newest: int | None = None, junk: int = 0, okta_is: int = 0
    ) -> None:
        """A page that was answered `at` a minute; `newest`: it was not the last, and its newest event is of then;
        `okta_is`: so many minutes ahead by Okta's clock."""
        self.pages += 1
        time = moment(at if newest is None else newest).isoformat()
        uids = events or ([f"of-{self.pages}"] if newest is not None else [])
        records = [f'{{"uuid": "{uid}", "published": "{time}"}}'.encode() for uid in uids]
        records += [f'"{self.pages}-{number}"'.encode() for number in range(junk)]
        opened = FIRST if self.pages == 1 else None
        turn = Turn(LINK, LINK, epoch_ms_of(moment(at + okta_is)), is_end=newest is None, opened=opened)
        self.store.commit_poll("acme", read_records(records), turn, [], moment(at))

    def fail(self, at: int, message: str = "it failed") -> None:
        self.store.note_error("acme", message, moment(at))

    def look(
        self, at: int, started: int = -(10**6), held: Collection[str] = ("acme",), interval: float = 0.5
    ) -> list[str]:
        """The statuses of all findings after a look, by time of trigger."""
        watch.look(self.store, [self.rule], held, moment(at), moment(started), timedelta(minutes=interval))
        return [row.status for row in self._findings()]

    def summary(self) -> str:
        return str(self._findings()[-1].summary)

    def close(self) -> None:
        self.store.set_status(self._findings()[-1].uid, "resolved", "benign", None, START)

    def _findings(self) -> list[sa.Row]:
        with self.store.reading() as connection:
            return list(connection.execute(sa.select(schema.findings).order_by(schema.findings.c.trigger_time)))


def moment(minute: int) -> datetime:
    return START + timedelta(minutes=minute)
