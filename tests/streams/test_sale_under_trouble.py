"""A sale goes right whatever happens to its processes: simulated, from many seeds."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from tests.support.sale import Sale
from ticketmaster.domain.reservation import State
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.reservations import ReservationFields, read_reservation

_SEEDS = 60
_CHANGELOGS = {topics.EVENT_SERVICE: topics.AREA_CHANGELOG.name, topics.RESERVATION_SERVICE: topics.RESERVATION_CHANGELOG.name}


def simulate(seed: int) -> Sale:
    async def simulated() -> Sale:
        sale = Sale(seed)
        try:
            await sale.run()
            check(sale)
        finally:
            await sale.close()
        return sale

    return run_virtual(simulated())


def check(sale: Sale) -> None:
    decisions = [
        (key, read_reservation(value or b""))
        for records in sale.log_of(topics.USER_RESERVATION.name).values()
        for _, (key, value) in records
    ]
    check_decisions(sale, decisions)
    check_seats(sale, [fields for _, fields in decisions])
    check_stores(sale)


def check_decisions(sale: Sale, decisions: list[tuple[bytes, ReservationFields]]) -> None:
    """Every command is decided exactly once, for good, and with a reason where it failed."""
    assert Counter(key for key, _ in decisions) == Counter(sale.ids)
    for key, fields in decisions:
        assert fields.reservation_id.encode() == key
        assert (State(fields.state), bool(fields.failed_reason)) in {(State.RESERVED, False), (State.FAILED, True)}


def check_seats(sale: Sale, decisions: list[ReservationFields]) -> None:
    """No seat is sold twice, and the areas have lost exactly the seats that were sold."""
    sold: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for fields in decisions:
        if fields.state == State.RESERVED:
            assert len(fields.seats) == fields.seat_count
            sold[f"{fields.event_id}#{fields.area_id}"] += fields.seats
    for key, seats in sold.items():
        assert len(seats) == len(set(seats)), f"a seat of {key} was sold twice"
    for topic in (topics.AREA_CHANGELOG.name, topics.AREA_STATUS.name):
        last = {key.decode(): value for records in sale.log_of(topic).values() for _, (key, value) in records}
        assert last.keys() == {f"{event}#{area}" for event, area in sale.areas} >= sold.keys()
        for key, value in last.items():
            _, area = AreaImage.parse(value or b"")
            gone = {(row, col) for row in range(area.rows) for col in range(area.cols) if not area.is_free(row, col)}
            assert gone == set(sold.get(key, [])), key


def check_stores(sale: Sale) -> None:
    """Every store, a dead process's too, leads to the whole state with its changelog from the checkpoint on; those in use have it."""
    changelogs = {application: sale.log_of(topic) for application, topic in _CHANGELOGS.items()}
    ends = {(name, number): records[-1][0] + 1 for name, log in changelogs.items() for number, records in log.items()}
    complete = set()
    for one in sale.processes:
        for (application, partition), store in one.stores.items():
            records = changelogs[application].get(partition, [])
            checkpoint = store.checkpoint() or 0
            end = ends.get((application, partition), 0)
            assert checkpoint <= end
            restored: dict[bytes, bytes | None] = dict(store.items())
            restored.update(pair for offset, pair in records if offset >= checkpoint)
            assert restored == dict(pair for _, pair in records), f"{one.process.name}: {application}-{partition} at {checkpoint}"
            if checkpoint == end:
                complete.add((application, partition))
    assert complete >= ends.keys()


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_every_command_is_decided_once_and_every_seat_sold_once(seed: int) -> None:
    simulate(seed)


def test_a_seed_always_makes_the_same_history() -> None:
    one, other = simulate(7), simulate(7)

    for topic in topics.ALL_TOPICS:
        assert one.log_of(topic.name) == other.log_of(topic.name)
    assert one.troubles == other.troubles


def test_the_simulation_meets_every_kind_of_trouble() -> None:
    troubles = sum((simulate(seed).troubles for seed in range(15)), Counter[str]())

    kinds = {"_die", "_hang", "_join", "_leave", "restarted", "migrated", "failed before the commit", "failed after the commit"}
    assert kinds <= troubles.keys(), troubles
