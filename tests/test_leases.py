"""Several processes on one database: every org is polled by one of them, and nobody else can commit."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
import sqlalchemy as sa

from poller import schema
from poller.errors import LeaseLost
from poller.leases import Lease, Leases
from poller.store import Store, read_records
from tests.delivery import NOW, turn
from tests.handovers import play

INTERVAL = timedelta(seconds=30)
ORGS = [f"org-{number}" for number in range(7)]


@pytest.fixture
def join(store: Store):
    """A further process that wants these orgs."""
    joined = []

    def one(wanted=ORGS, **more) -> Leases:
        leases = Leases(store, wanted, INTERVAL, **more)
        leases.beat()
        joined.append(leases)
        return leases

    yield one
    for leases in joined:
        leases.close()


def run_out(store: Store, leases: Leases) -> None:
    """As if its time had passed without a beat."""
    with store.writing() as connection:
        ours = schema.daemons.c.uid == leases.holder
        connection.execute(sa.update(schema.daemons).where(ours).values(alive_until=0))


def commit(store: Store, lease: Lease) -> None:
    event = f'{{"uuid": "by {lease.holder} {lease.epoch}", "published": "2026-03-01T00:00:00Z"}}'
    store.commit_poll(lease.org, read_records([event.encode()]), turn(), [], NOW, lease)


def lease_of(leases: Leases, org: str) -> Lease:
    with leases.using(org) as lease:
        assert lease is not None
        return lease


def test_one_process_holds_every_org(join) -> None:
    assert join().held == ORGS


def test_a_second_one_gets_its_half_and_a_third_its_third(join) -> None:
    first = join()
    second = join()
    assert second.held == []
    first.beat()
    second.beat()
    assert (len(first.held), len(second.held)) == (4, 3)
    assert sorted(first.held + second.held) == ORGS
    third = join()
    for _ in range(2):
        for leases in (first, second, third):
            leases.beat()
    assert sorted(len(leases.held) for leases in (first, second, third)) == [1, 3, 3]


def test_an_org_in_use_is_not_given_away(join) -> None:
    first = join(["one", "two"])
    with first.using("one"), first.using("two"):
        join(["one", "two"])
        first.beat()
        assert first.held == ["one", "two"]
    first.beat()
    assert len(first.held) == 1


def test_processes_with_other_orgs_don_t_count_as_a_share(join) -> None:
    join(["other"])
    assert join().held == ORGS


def test_what_a_dead_process_held_goes_to_the_next(store, join) -> None:
    first = join()
    run_out(store, first)
    assert join().held == ORGS


def test_what_a_process_gave_back_in_the_end_is_free_at_once(join) -> None:
    join().close()
    assert join().held == ORGS


def test_a_process_of_this_machine_that_was_killed_is_known_to_be_dead(store, database_url, join) -> None:
    held = f"""
import os
from datetime import timedelta
from poller.leases import Leases
from poller.store import Store
Leases(Store({database_url!r}), {ORGS!r}, timedelta(hours=1)).beat()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", held], check=False)
    with store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.daemons)) == 1
    assert join().held == ORGS


def test_a_stopped_holder_that_wakes_up_can_t_commit(store, join) -> None:
    sleeper = join(["acme"])
    lease = lease_of(sleeper, "acme")
    commit(store, lease)
    run_out(store, sleeper)
    taken = lease_of(join(["acme"]), "acme")
    assert taken.epoch == lease.epoch + 1
    with pytest.raises(LeaseLost, match="acme"):
        commit(store, lease)
    with pytest.raises(LeaseLost):
        store.note_error("acme", "an old complaint", NOW, lease)
    commit(store, taken)
    sleeper.beat()
    assert sleeper.held == []


def test_a_late_beat_is_no_loss_where_nobody_else_came(store, join) -> None:
    leases = join(["acme"])
    lease = lease_of(leases, "acme")
    run_out(store, leases)
    commit(store, lease)
    leases.beat()
    assert lease_of(leases, "acme") == lease


def test_a_thousand_hand_overs_leave_one_writer_each_time(store, join) -> None:
    """Each holder in turn is stopped, replaced, wakes up and tries to commit."""
    leases = [Leases(store, ["acme"], INTERVAL) for _ in range(2)]
    leases[0].beat()
    refused = 0
    for number in range(1000):
        old, new = leases[number % 2], leases[(number + 1) % 2]
        lease = lease_of(old, "acme")
        run_out(store, old)
        new.beat()
        commit(store, lease_of(new, "acme"))
        with pytest.raises(LeaseLost):
            commit(store, lease)
        old.lost(lease)
        refused += 1
    with store.reading() as connection:
        writers = connection.execute(sa.select(schema.events.c.uid)).scalars().all()
        epoch = connection.scalar(sa.select(schema.orgs.c.lease_epoch))
    assert (refused, len(set(writers)), epoch) == (1000, 1000, 1001)


def test_daemons_that_are_stopped_killed_and_woken_up_lose_nothing(database_url) -> None:
    """A few of the hand-overs of `python -m tests.handovers`."""
    outcome = play(database_url, count=4, seed=1)
    assert outcome.differences == []
    assert outcome.stored == outcome.given
