"""Who is asked for a reservation that lives elsewhere."""

from __future__ import annotations

import pytest

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Assignment
from ticketmaster.ticket.forwarding import Forwarding

PARTITIONS = 4
KEYS = [f"{number:08x}-0000-7000-8000-000000000000".encode() for number in range(40)]
HERE = [key for key in KEYS if partition_of(key, PARTITIONS) < 2]
THERE = [key for key in KEYS if partition_of(key, PARTITIONS) >= 2]
OWNERS = {0: "me:1", 1: "me:1", 2: "other:2", 3: "third:3"}


class Peers:
    """Notes who is asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []

    def ask(self, address: str, key: bytes) -> None:
        self.asked.append((address, key))


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
def forwarding(peers: Peers) -> Forwarding:
    """Of a process that holds partitions 0 and 1 of 4."""
    forwarding = Forwarding(peers.ask)
    forwarding.on_assigned(Assignment([0, 1], 1, OWNERS))
    return forwarding


def look(forwarding: Forwarding, *keys: bytes) -> None:
    for key in keys:
        forwarding.look(key, partition_of(key, PARTITIONS))


def expected(keys: list[bytes]) -> list[tuple[str, bytes]]:
    return [(OWNERS[partition_of(key, PARTITIONS)], key) for key in keys]


def test_the_owner_is_asked_for_what_lives_elsewhere_and_nobody_for_the_rest(forwarding: Forwarding, peers: Peers) -> None:
    look(forwarding, *KEYS)

    assert peers.asked == expected(THERE)
    assert [forwarding.lives_elsewhere(partition) for partition in range(PARTITIONS)] == [False, False, True, True]


def test_an_owner_is_asked_once_however_many_wait(forwarding: Forwarding, peers: Peers) -> None:
    look(forwarding, *THERE, *THERE)
    assert peers.asked == expected(THERE)

    forwarding.answered(THERE[0])
    look(forwarding, THERE[0])
    assert len(peers.asked) == len(THERE) + 1


def test_what_failed_may_be_asked_again(forwarding: Forwarding, peers: Peers) -> None:
    look(forwarding, *THERE)
    peers.asked.clear()
    for key in THERE:
        forwarding.failed(key)

    failed = forwarding.take_failed()
    look(forwarding, *sorted(failed))

    assert failed == list(THERE)
    assert forwarding.take_failed() == []
    assert sorted(peers.asked) == sorted(expected(THERE))


def test_when_partitions_move_the_new_owners_are_asked(forwarding: Forwarding, peers: Peers) -> None:
    look(forwarding, *KEYS)
    peers.asked.clear()

    forwarding.on_assigned(Assignment([2, 3], 2, {0: "new:4", 1: "", 2: "me:1", 3: "me:1"}))
    look(forwarding, *KEYS)

    # Of partition 1 nobody knows where it lives: who waits goes on waiting here.
    assert peers.asked == [("new:4", key) for key in KEYS if partition_of(key, PARTITIONS) == 0]
