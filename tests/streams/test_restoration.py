"""Restoring brings a store to the end of its changelog, whatever state it is in."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.support.engine import CHANGELOG, COUNTS_STORE, FragileStores
from tests.support.stores import write
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage, Replacement
from ticketmaster.broker.port import TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.port import Steps, Update
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.streams.restoration import Suspended, restore
from ticketmaster.telemetry.observer import Observer


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(MemoryStorage(), SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec(CHANGELOG.topic, 1, compacted=True)])
    for number in range(10):
        await broker.producer().send({CHANGELOG: [(b"%d" % (number % 4), b"%d" % number), (b"gone", None)]})
    yield broker
    await broker.close()


RESTORED = [(b"0", b"8"), (b"1", b"9"), (b"2", b"6"), (b"3", b"7")]


async def test_a_new_store_is_restored_whole(broker: EmbeddedBroker) -> None:
    store = MemoryStores()

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).checkpoint()) == (RESTORED, 20)


async def test_a_store_is_restored_from_its_checkpoint(broker: EmbeddedBroker) -> None:
    store = MemoryStores()
    # A value that only a store with this checkpoint can have: nothing before it is read again.
    write(store, {COUNTS_STORE: Update({b"2": b"6", b"kept": b"v"}, 13)})

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 7
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).checkpoint()) == (sorted([*RESTORED, (b"kept", b"v")]), 20)


async def test_a_store_that_is_up_to_date_is_left_as_it_is(broker: EmbeddedBroker) -> None:
    store = FragileStores()
    store.opened = 1
    write(store, {COUNTS_STORE: Update({b"k": b"v"}, 20)})

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 0
    assert (list(store.table(COUNTS_STORE).items()), store.writes) == ([(b"k", b"v")], [20])


async def test_a_store_that_is_ahead_of_its_changelog_is_cleared_and_restored_whole(broker: EmbeddedBroker) -> None:
    store = MemoryStores()
    write(store, {COUNTS_STORE: Update({b"from another log": b"v"}, 21)})

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).checkpoint()) == (RESTORED, 20)


async def test_a_store_is_restored_to_where_its_changelog_must_end_whatever_is_said(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told_by_who_leads_no_more(_: object) -> dict[TopicPartition, int]:
        return {CHANGELOG: 5}

    monkeypatch.setattr(broker, "end_offsets", told_by_who_leads_no_more)
    store = MemoryStores()

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer(), at_least={CHANGELOG: 20}) == 20
    assert list(store.table(COUNTS_STORE).items()) == RESTORED


async def test_a_store_that_leaves_out_values_for_the_sake_of_records_that_the_log_lacks_is_restored_whole(broker: EmbeddedBroker) -> None:
    store = MemoryStores()
    write(store, {COUNTS_STORE: Update({b"3": b"6"}, 13, 21)})

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).reach()) == (RESTORED, 20)


async def test_a_store_that_a_restoration_has_left_midway_needs_the_log_to_where_that_went(broker: EmbeddedBroker) -> None:
    store, looks = MemoryStores(), iter((True, False))
    with pytest.raises(Suspended):
        await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer(), lambda: next(looks))

    assert store.table(COUNTS_STORE).reach() == 20


async def test_a_store_of_a_release_that_did_not_note_how_far_its_log_must_go_is_restored_whole(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    store = SqliteStores(tmp_path / "state.db", (COUNTS_STORE,))
    write(store, {COUNTS_STORE: Update({b"3": b"3"}, 13, 13)})
    store._connection.execute("DELETE FROM checkpoint WHERE id < -1")

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert list(store.table(COUNTS_STORE).items()) == RESTORED
    store.close()


async def test_a_store_whose_values_have_no_checkpoint_is_cleared(broker: EmbeddedBroker, tmp_path: Path) -> None:
    store = SqliteStores(tmp_path / "state.db", (COUNTS_STORE,))
    write(store, {COUNTS_STORE: Update({b"left over": b"v"}, 5)})
    store._connection.execute("DELETE FROM checkpoint")
    store.close()

    store = SqliteStores(tmp_path / "state.db", (COUNTS_STORE,))
    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert list(store.table(COUNTS_STORE).items()) == RESTORED
    store.close()


async def test_a_store_that_cannot_be_read_is_cleared_and_restored_whole(broker: EmbeddedBroker) -> None:
    store = FragileStores()
    store.opened = 1
    store.damaged = True

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert (list(store.table(COUNTS_STORE).items()), store.cleared) == (RESTORED, 1)


async def test_a_store_whose_damage_is_found_while_it_is_restored_is_cleared_and_restored_whole(broker: EmbeddedBroker) -> None:
    class DamagedInside(MemoryStores):
        cleared = False

        def writing(self, updates: Mapping[str, Update]) -> Steps:
            if not self.cleared:
                raise TaskCorrupted("a page in the middle is damaged")
            return super().writing(updates)

        def clear(self) -> None:
            self.cleared = True
            super().clear()

    store = DamagedInside()
    store.table(COUNTS_STORE)._checkpoint = 13

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 20
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).checkpoint()) == (RESTORED, 20)


async def test_an_empty_changelog_leaves_an_empty_store() -> None:
    broker = EmbeddedBroker(MemoryStorage(), SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec(CHANGELOG.topic, 1, compacted=True)])
    store = MemoryStores()

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 0
    assert (list(store.table(COUNTS_STORE).items()), store.table(COUNTS_STORE).checkpoint()) == ([], None)
    await broker.close()


async def test_a_changelog_that_retention_has_emptied_is_restored_at_once(broker: EmbeddedBroker) -> None:
    store = MemoryStores()
    await broker.replace(Replacement(CHANGELOG, 0, 20))
    (log,) = broker.logs
    log.start, log.tail = 20, deque()

    assert await restore(broker, {COUNTS_STORE: CHANGELOG}, store, "task", Observer()) == 0
    assert list(store.table(COUNTS_STORE).items()) == []
