"""Tables follow a compacted topic: one whole, the other by the partitions the group assigns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from itertools import pairwise

import pytest

from tests.support.consuming import until
from tests.support.engine import FragileStores, NoConsumer, Notes
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage, Replacement
from ticketmaster.broker.port import Batch, Consumer, Pair, TopicPartition, TopicSpec
from ticketmaster.errors import Fatal, Retriable, TaskCorrupted
from ticketmaster.simulation.loop import VirtualClock, run_virtual
from ticketmaster.state.port import Scanned, StateStores
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.telemetry.observer import DeadLetter

SETTINGS = StreamSettings()
PARTITIONS = 3


class Lab:
    """A broker with a table's topic, and what follows it."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.broker = broker
        self.notes = Notes()
        self.stores = {number: FragileStores() for number in range(PARTITIONS)}
        self.jobs: list[asyncio.Task[None]] = []

    async def send(self, partition: int, *records: Pair) -> None:
        await self.broker.producer().send({TopicPartition("table", partition): records})

    def global_table(self) -> tuple[GlobalTable, list[Pair]]:
        seen: list[Pair] = []

        def take(records: Sequence[Pair]) -> list[Unreadable]:
            seen.extend(records)
            return [(at, "rubbish") for at, (_, value) in enumerate(records) if value == b"rubbish"]

        table = GlobalTable(self.broker, "table", PARTITIONS, take, SETTINGS, self.notes)
        self.jobs.append(asyncio.create_task(table.run()))
        return table, seen

    def owned_table(self) -> tuple[OwnedTable, list[Pair]]:
        seen: list[Pair] = []
        table = OwnedTable("tables", "table", "Table", self.broker, self.open_stores, SETTINGS, self.notes)
        self.jobs.append(asyncio.create_task(table.run(lambda records, _: seen.extend(records), lambda: seen.append((b"opened", None)))))
        return table, seen

    def open_stores(self, application_id: str, names: Sequence[str], partition: int) -> StateStores:
        self.stores[partition].opened += 1
        return self.stores[partition]

    async def stop(self, job: asyncio.Task[None]) -> None:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


def on_virtual_time(test: Callable[[Lab], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        broker = EmbeddedBroker(MemoryStorage(), VirtualClock())
        await broker.start()
        await broker.create_topics([TopicSpec("table", PARTITIONS, compacted=True)])
        lab = Lab(broker)
        try:
            await test(lab)
        finally:
            for job in lab.jobs:
                await lab.stop(job)
            await broker.close()
        assert {store.opened for store in lab.stores.values()} == {0}, "a store was left open"

    run_virtual(run())


def test_a_global_table_is_ready_where_retention_has_left_nothing() -> None:
    async def test(lab: Lab) -> None:
        source = TopicPartition("table", 1)
        await lab.send(1, (b"k", b"1"))
        await lab.broker.replace(Replacement(source, 0, 1))
        log = next(log for log in lab.broker.logs if log.source == source)
        log.start, log.tail = 1, deque()

        table, seen = lab.global_table()

        await until(lambda: table.ready, "nothing is left to be read")
        assert seen == []

    on_virtual_time(test)


def test_a_global_table_is_ready_when_it_has_all_that_was_there() -> None:
    async def test(lab: Lab) -> None:
        for partition in (0, 2):
            await lab.send(partition, (b"k", b"%d" % partition))
        table, seen = lab.global_table()
        assert not table.ready
        await until(lambda: table.ready, "ready")

        assert sorted(seen) == [(b"k", b"0"), (b"k", b"2")]

    on_virtual_time(test)


def test_a_global_table_of_an_empty_topic_is_ready_at_once() -> None:
    async def test(lab: Lab) -> None:
        table, seen = lab.global_table()
        await until(lambda: table.ready, "ready")
        assert seen == []

    on_virtual_time(test)


def test_records_that_a_global_table_cant_read_are_told_by_their_place() -> None:
    async def test(lab: Lab) -> None:
        await lab.send(1, (b"a", b"1"), (b"b", b"rubbish"))
        table, seen = lab.global_table()
        await until(lambda: table.ready, "ready")
        await lab.send(1, (b"c", b"rubbish"), (b"d", b"2"))
        await until(lambda: len(seen) == 4, "all is seen")

        assert lab.notes.letters == [DeadLetter("table", 1, 1, "rubbish"), DeadLetter("table", 1, 2, "rubbish")]

    on_virtual_time(test)


def test_a_global_table_follows_every_partition_in_order() -> None:
    async def test(lab: Lab) -> None:
        table, seen = lab.global_table()
        await until(lambda: table.ready, "ready")
        for number in range(20):
            for partition in range(PARTITIONS):
                await lab.send(partition, (b"%d" % partition, b"%d" % number))
        await until(lambda: len(seen) == 60, "all is seen")

        for partition in range(PARTITIONS):
            assert [value for key, value in seen if key == b"%d" % partition] == [b"%d" % number for number in range(20)]

    on_virtual_time(test)


def test_a_global_table_lets_records_gather() -> None:
    async def test(lab: Lab) -> None:
        seen_at_s: list[float] = []

        def take(records: Sequence[Pair]) -> list[Unreadable]:
            seen_at_s.extend([asyncio.get_running_loop().time()] * len(records))
            return []

        table = GlobalTable(lab.broker, "table", PARTITIONS, take, SETTINGS, lab.notes, rest=True)
        lab.jobs.append(asyncio.create_task(table.run()))
        await until(lambda: table.ready, "ready")
        for number in range(100):
            await lab.send(0, (b"k", b"%d" % number))
            await asyncio.sleep(SETTINGS.table_rest_ms / 1000 / 10)
        await until(lambda: len(seen_at_s) == 100, "all is seen")

        assert len(set(seen_at_s)) < 25

    on_virtual_time(test)


@pytest.mark.parametrize("comes", [True, False])
def test_work_waits_for_a_global_table_but_not_for_ever(*, comes: bool) -> None:
    async def test(lab: Lab) -> None:
        now_s, began_s = asyncio.get_running_loop().time, list[float]()

        async def work() -> None:
            began_s.append(now_s())

        table, _ = lab.global_table()
        if not comes:
            await lab.stop(lab.jobs.pop())
        waited_s = SETTINGS.table_wait_max_ms / 1000
        started_s = now_s()
        await table.before(work)

        assert (began_s[0] - started_s >= waited_s) is not comes
        assert len(lab.notes.failed_reads) == (0 if comes else 1)

    on_virtual_time(test)


def test_an_owned_table_answers_from_what_was_there_and_from_what_comes() -> None:
    async def test(lab: Lab) -> None:
        await lab.send(1, (b"old", b"1"), (b"gone", b"1"))
        table, seen = lab.owned_table()
        assert table.get(1, b"old") is None
        await until(lambda: table.ready, "ready")
        assert table.get(1, b"old") == b"1"
        assert table.get(0, b"old") is None
        assert seen == [(b"opened", None)] * PARTITIONS
        seen.clear()

        await lab.send(1, (b"new", b"2"), (b"gone", None))
        await until(lambda: len(seen) == 2, "the records are seen")
        assert seen == [(b"new", b"2"), (b"gone", None)]
        assert (table.get(1, b"new"), table.get(1, b"gone")) == (b"2", None)

    on_virtual_time(test)


def test_an_owned_table_is_scanned_partition_by_partition() -> None:
    async def test(lab: Lab) -> None:
        await lab.send(1, (b"a", b"ann"), (b"b", b"bob"))
        table, _ = lab.owned_table()
        assert table.scan(1, b"", b"ann", 9) is None
        await until(lambda: table.ready, "ready")
        await lab.send(1, (b"c", b"ann"), (b"a", b"ann again"))
        await until(lambda: table.get(1, b"c") is not None, "the record is there")

        assert table.scan(1, b"", b"ann", 9) == Scanned([(b"a", b"ann again"), (b"c", b"ann")], None)
        assert table.scan(0, b"", b"ann", 9) == Scanned([], None)
        assert table.scan(PARTITIONS, b"", b"ann", 9) is None
        lab.stores[1].damaged = True
        assert table.scan(1, b"", b"ann", 9) is None
        assert not table.ready
        await until(lambda: table.ready, "ready again")
        assert table.scan(1, b"a", b"ann", 9) == Scanned([(b"c", b"ann")], None)

    on_virtual_time(test)


def test_a_record_can_be_looked_up_when_it_is_seen() -> None:
    async def test(lab: Lab) -> None:
        looked_up: list[bytes | None] = []
        table = OwnedTable("tables", "table", "Table", lab.broker, lab.open_stores, SETTINGS, lab.notes)

        def look_up(_records: object, _headers: object) -> None:
            looked_up.append(table.get(0, b"k"))

        lab.jobs.append(asyncio.create_task(table.run(look_up, lambda: None)))
        await until(lambda: table.ready, "ready")
        await lab.send(0, (b"k", b"v"))
        await until(lambda: bool(looked_up), "the record is seen")

        assert looked_up == [b"v"]

    on_virtual_time(test)


def test_a_global_table_gives_others_a_turn_within_a_poll_of_many_batches() -> None:
    async def run() -> None:
        turns: list[int] = []
        seen = 0

        class Prefetched(NoConsumer):
            """A reader that has everything at once, as aiokafka may."""

            polled = False

            async def poll(self, timeout_ms: int) -> list[Batch]:
                if self.polled:
                    return await super().poll(timeout_ms)
                self.polled = True
                records: list[Pair] = [(b"k", b"v")] * 1_000
                return [Batch(source, records, range(at, at + 1_000), at + 1_000, 0) for at in range(0, 50_000, 1_000)]

        class OfMany(EmbeddedBroker):
            def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
                return Prefetched()

            async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
                return {source: 0}

            async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
                return {source: 50_000}

        def take(records: Sequence[Pair]) -> list[Unreadable]:
            nonlocal seen
            seen += len(records)
            return []

        source = TopicPartition("table", 0)
        table = GlobalTable(OfMany(MemoryStorage(), VirtualClock()), "table", 1, take, SETTINGS, Notes())
        job = asyncio.create_task(table.run())
        while not table.ready:
            assert not job.done()
            turns.append(seen)
            await asyncio.sleep(0)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert max(after - before for before, after in pairwise(turns)) <= 3_000

    run_virtual(run())


def test_an_owned_table_is_restored_from_its_store() -> None:
    async def test(lab: Lab) -> None:
        table, _ = lab.owned_table()
        await until(lambda: table.ready, "ready")
        await lab.send(0, (b"a", b"1"))
        await until(lambda: table.get(0, b"a") == b"1", "it is followed")
        await lab.stop(lab.jobs[0])
        assert table.get(0, b"a") is None
        assert (list(lab.stores[0].items()), lab.stores[0].checkpoint()) == ([(b"a", b"1")], 1)
        await lab.send(0, (b"b", b"2"))
        lab.notes.restored.clear()

        again, _ = lab.owned_table()
        await until(lambda: again.ready, "ready")
        assert (again.get(0, b"a"), again.get(0, b"b")) == (b"1", b"2")
        assert sorted(lab.notes.restored) == [0, 0, 1]

    on_virtual_time(test)


def test_owned_tables_share_the_partitions() -> None:
    async def test(lab: Lab) -> None:
        for partition in range(PARTITIONS):
            await lab.send(partition, (b"k", b"v"))
        first, _ = lab.owned_table()
        await until(lambda: first.ready, "ready")
        second, _ = lab.owned_table()
        await until(lambda: first.ready and second.ready, "both are ready")

        held = [[table.get(partition, b"k") is not None for table in (first, second)] for partition in range(PARTITIONS)]
        assert sorted(held) == [[False, True], [True, False], [True, False]]
        await lab.stop(lab.jobs[0])
        await until(lambda: second.ready and all(second.get(partition, b"k") for partition in range(PARTITIONS)), "the second has all")

    on_virtual_time(test)


def test_an_owned_table_is_written_behind() -> None:
    async def test(lab: Lab) -> None:
        table, _ = lab.owned_table()
        await until(lambda: table.ready, "ready")
        await lab.send(0, (b"k", b"v"))
        await asyncio.sleep(5)

        assert lab.stores[0].checkpoint() == 1

    on_virtual_time(test)


def test_a_table_that_cannot_be_opened_leaves_no_store_open() -> None:
    async def test(lab: Lab) -> None:
        def refuse(*_: object) -> None:
            raise Fatal("the disk is full")

        await lab.send(1, (b"k", b"v"))
        lab.stores[1].writing = refuse  # type: ignore[assignment]
        lab.owned_table()
        with pytest.raises(Fatal, match="the disk is full"):
            await asyncio.wait_for(lab.jobs[0], 10)

        assert [store.opened for store in lab.stores.values()] == [0, 0, 0]

    on_virtual_time(test)


def test_a_store_that_turns_out_damaged_is_made_anew_while_the_table_runs() -> None:
    async def test(lab: Lab) -> None:
        await lab.send(0, (b"k", b"v"))
        table, seen = lab.owned_table()
        await until(lambda: table.ready, "ready")
        # Out of memory, so that it must be read.
        await lab.send(1, (b"other", b"v"))
        await asyncio.sleep(5)
        seen.clear()
        lab.stores[0].damaged, lab.stores[0].cleared = True, 0

        assert table.get(0, b"k") is None
        assert not table.ready
        await until(lambda: table.ready, "ready again")
        assert table.get(0, b"k") == b"v"
        # Who waited for what is in it is told to look again.
        assert seen == [(b"opened", None)]
        assert lab.stores[0].cleared
        assert lab.notes.restarted == ["the store is damaged"]

    on_virtual_time(test)


def test_a_store_that_turns_out_damaged_when_it_is_written_is_made_anew() -> None:
    async def test(lab: Lab) -> None:
        table, _ = lab.owned_table()
        await until(lambda: table.ready, "ready")
        lab.stores[0].damaged, lab.stores[0].cleared = True, 0
        await lab.send(0, (b"k", b"v"))
        await asyncio.sleep(5)

        assert table.ready
        assert table.get(0, b"k") == b"v"
        assert lab.stores[0].cleared

    on_virtual_time(test)


@pytest.mark.parametrize("failure", [Fatal("the disk is full"), TaskCorrupted("the store is damaged")])
def test_a_store_that_cannot_be_written_at_the_end_keeps_no_other_from_closing_and_nobody_in_the_group(failure: Exception) -> None:
    async def test(lab: Lab) -> None:
        def refuse(*_: object) -> None:
            raise failure

        table, _ = lab.owned_table()
        await until(lambda: table.ready, "ready")
        for partition in range(PARTITIONS):
            await lab.send(partition, (b"k", b"v"))
        await until(lambda: table.get(2, b"k") == b"v", "it is followed")
        lab.stores[0].writing = refuse  # type: ignore[assignment]
        await lab.stop(lab.jobs[0])

        assert [store.opened for store in lab.stores.values()] == [0, 0, 0]
        assert [store.checkpoint() for store in lab.stores.values()] == [None, 1, 1]
        # Had it stayed a member, the next one would wait for it to be expelled.
        began = asyncio.get_running_loop().time()
        again, _ = lab.owned_table()
        del lab.stores[0].writing
        await until(lambda: again.ready, "ready")
        assert asyncio.get_running_loop().time() - began < 5

    on_virtual_time(test)


def test_a_global_table_waits_for_a_broker_that_does_not_answer_when_it_begins() -> None:
    async def test(lab: Lab) -> None:
        end_offsets, failures = lab.broker.end_offsets, [Retriable("no answer"), Retriable("no answer")]

        async def reluctant(sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
            if failures:
                raise failures.pop()
            return await end_offsets(sources)

        lab.broker.end_offsets = reluctant  # type: ignore[method-assign]
        await lab.send(1, (b"k", b"v"))
        table, seen = lab.global_table()
        await until(lambda: table.ready, "ready")

        assert seen == [(b"k", b"v")]
        assert not failures

    on_virtual_time(test)


class CutOff(EmbeddedBroker):
    """A broker some of whose answers get lost: those of fetches, which then bring nothing and say nothing; those about the ends of logs."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage(), VirtualClock())
        self.fetches_lost = False
        self.ends_lost = False
        self.ends_held_s = 0.0
        self.fetches_held_s = 0.0
        self.asked = 0

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        reader = super().reader(sources)
        poll = reader.poll

        async def cut_off(timeout_ms: int) -> list[Batch]:
            if self.fetches_lost:
                await asyncio.sleep(timeout_ms / 1000)
                return []
            batches = await poll(timeout_ms)
            await asyncio.sleep(self.fetches_held_s)
            return batches

        reader.poll = cut_off  # type: ignore[method-assign]
        return reader

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked += 1
        if self.ends_lost:
            await asyncio.sleep(5)
            raise Retriable("no answer")
        ends = await super().end_offsets(sources)
        await asyncio.sleep(self.ends_held_s)
        return ends


AGE_MAX_S = SETTINGS.table_age_max_ms / 1000


class Watch:
    """A table that is asked every 10 ms how old it may be."""

    def __init__(self, lab: Lab) -> None:
        self.table, self.seen = lab.global_table()
        self.ages_s: list[float] = []
        lab.jobs.append(asyncio.create_task(self._look()))

    async def _look(self) -> None:
        while True:
            self.ages_s.append(self.table.age_s)
            assert self.table.fresh == (self.table.age_s <= AGE_MAX_S)
            await asyncio.sleep(0.01)

    async def oldest_s(self, within_s: float) -> float:
        """How old it was at most while so much time went by."""
        self.ages_s.clear()
        await asyncio.sleep(within_s)
        return max(self.ages_s)


def on_cut_off_broker(test: Callable[[Lab, CutOff, Watch], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        broker = CutOff()
        await broker.start()
        await broker.create_topics([TopicSpec("table", PARTITIONS, compacted=True)])
        lab = Lab(broker)
        await lab.send(1, (b"k", b"first"))
        watch = Watch(lab)
        assert not watch.table.fresh
        await until(lambda: watch.table.ready, "ready")
        try:
            await test(lab, broker, watch)
        finally:
            for job in lab.jobs:
                await lab.stop(job)
            await broker.close()

    run_virtual(run())


@pytest.mark.parametrize("busy", [False, True])
def test_a_table_that_is_followed_stays_fresh_whether_records_come_or_not(*, busy: bool) -> None:
    async def test(lab: Lab, broker: CutOff, watch: Watch) -> None:
        async def write() -> None:
            while True:
                await lab.send(2, (b"k", b"v"))
                await asyncio.sleep(0.01)

        if busy:
            lab.jobs.append(asyncio.create_task(write()))

        assert await watch.oldest_s(60) < AGE_MAX_S / 3
        # It costs a question now and then.
        assert broker.asked <= 60 / AGE_MAX_S * 4 + 3

    on_cut_off_broker(test)


def test_a_table_that_nobody_asks_how_fresh_it_is_asks_nobody_and_is_fresh_as_soon_as_somebody_does() -> None:
    async def run() -> None:
        broker = CutOff()
        await broker.start()
        await broker.create_topics([TopicSpec("table", PARTITIONS, compacted=True)])
        lab = Lab(broker)
        table, _ = lab.global_table()
        await until(lambda: table.ready, "ready")
        # Somebody may ask soon, as after each answer.
        await asyncio.sleep(9)
        assert table.fresh
        await asyncio.sleep(9)
        assert table.fresh
        await asyncio.sleep(60)
        asked = broker.asked

        await asyncio.sleep(600)
        assert broker.asked == asked
        assert not table.fresh
        await until(lambda: table.fresh, "fresh")
        # It stays so.
        for _ in range(10):
            await asyncio.sleep(AGE_MAX_S * 0.9)
            assert table.fresh
        await asyncio.sleep(60)
        asked = broker.asked
        await asyncio.sleep(600)
        assert broker.asked == asked

        for job in lab.jobs:
            await lab.stop(job)
        await broker.close()

    run_virtual(run())


def test_a_table_whose_fetches_fail_without_a_word_is_not_fresh_once_it_misses_a_record() -> None:
    async def test(lab: Lab, broker: CutOff, watch: Watch) -> None:
        broker.fetches_lost = True
        # There is nothing that it could miss.
        assert await watch.oldest_s(60) < AGE_MAX_S
        await lab.send(0, (b"k", b"news"))
        missing_since_s = asyncio.get_running_loop().time()
        while watch.table.fresh:
            assert asyncio.get_running_loop().time() - missing_since_s <= AGE_MAX_S
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        assert not watch.table.fresh

        broker.fetches_lost = False
        await until(lambda: watch.table.fresh, "fresh again")
        assert watch.seen[-1] == (b"k", b"news")

    on_cut_off_broker(test)


def test_a_table_is_not_fresh_while_nobody_says_where_the_logs_end() -> None:
    async def test(lab: Lab, broker: CutOff, watch: Watch) -> None:
        broker.ends_lost = True
        assert await watch.oldest_s(60) > 50
        assert not watch.table.fresh
        # It is followed all the same.
        await lab.send(0, (b"k", b"news"))
        await until(lambda: watch.seen[-1] == (b"k", b"news"), "it is seen")
        assert not watch.table.fresh

        broker.ends_lost = False
        await until(lambda: watch.table.fresh, "fresh again")
        assert "no answer" in lab.notes.failed_reads

    on_cut_off_broker(test)


def test_an_answer_that_comes_late_is_as_old_as_its_question() -> None:
    async def test(_: Lab, broker: CutOff, watch: Watch) -> None:
        broker.ends_held_s = 1.9 * AGE_MAX_S
        await asyncio.sleep(10)
        watch.ages_s.clear()
        await asyncio.sleep(30)
        assert min(watch.ages_s) >= 1.9 * AGE_MAX_S
        assert not watch.table.fresh

    on_cut_off_broker(test)


def test_a_table_that_is_always_a_little_behind_is_fresh() -> None:
    async def test(lab: Lab, broker: CutOff, watch: Watch) -> None:
        async def write() -> None:
            while True:
                await lab.send(2, (b"k", b"v"))
                await asyncio.sleep(0.01)

        lab.jobs.append(asyncio.create_task(write()))
        # Longer than it takes until the broker is asked again.
        broker.fetches_held_s = AGE_MAX_S / 5
        assert await watch.oldest_s(60) < AGE_MAX_S

    on_cut_off_broker(test)


def test_a_table_of_which_retention_removes_what_was_not_read_is_fresh_again() -> None:
    async def test(lab: Lab, broker: CutOff, watch: Watch) -> None:
        source = TopicPartition("table", 1)
        broker.fetches_lost = True
        # The fetch that is under way gets through.
        await asyncio.sleep(SETTINGS.poll_timeout_ms / 1000 + 0.1)
        await lab.send(1, (b"k", b"second"))
        await asyncio.sleep(10)
        assert not watch.table.fresh
        log = next(log for log in broker.logs if log.source == source)
        await broker.replace(Replacement(source, log.start, 2))
        log.start, log.tail = 2, deque()

        await until(lambda: watch.table.fresh, "nothing is left to be read")

    on_cut_off_broker(test)
