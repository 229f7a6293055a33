"""A group's member over a consumer that behaves as aiokafka's: rebalances run beside polls, errors in callbacks are swallowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, IllegalStateError, KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka import consumer as consuming
from ticketmaster.broker.kafka.assignor import StickyAssignor
from ticketmaster.broker.kafka.consumer import KafkaGroupMember
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Assignment, Batch, Membership, Pair, TopicPartition
from ticketmaster.errors import Fatal, NotAllowed
from ticketmaster.simulation.loop import run_virtual

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
FOREIGN = b"foreign"


class Log:
    """As much of AIOKafkaConsumer as a member uses, over two partitions of batches of one record each."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Pair]] = {A: [], B: []}
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self._coordinator = SimpleNamespace(generation=0, member_id="m", _heartbeat_task=None, _commit_refresh_task=None)
        self._fetcher = SimpleNamespace(error_future=asyncio.get_running_loop().create_future())
        self.listener: Any = None
        self.failure: KafkaError | None = None
        self.stopped = 0
        self._client = self
        self._conns: dict[object, object] = {}

    async def close(self) -> None:
        """Of its client."""

    def subscribe(self, _topics: object, listener: Any) -> None:  # noqa: ANN401
        self.listener = listener

    async def start(self) -> None:
        if self.failure:
            raise self.failure
        await self.rebalance()

    async def stop(self) -> None:
        self.stopped += 1

    async def rebalance(self) -> None:
        """Everything comes straight back."""
        # As aiokafka does, which logs it.
        with contextlib.suppress(Exception):
            await self.listener.on_partitions_revoked(list(self.positions))
        self._coordinator.generation += 1
        self.positions, self.paused = dict.fromkeys(self.logs, 0), set()
        with contextlib.suppress(Exception):
            self.listener.on_partitions_assigned([KafkaTopicPartition(*source) for source in self.logs])

    def _assigned(self, source: TopicPartition) -> TopicPartition:
        if source not in self.positions:
            raise IllegalStateError(source)
        return source

    def pause(self, *sources: TopicPartition) -> None:
        self.paused.update(map(self._assigned, sources))

    def resume(self, *sources: TopicPartition) -> None:
        self.paused.difference_update(map(self._assigned, sources))

    def seek(self, source: TopicPartition, offset: int) -> None:
        self.positions[self._assigned(source)] = offset

    def highwater(self, source: TopicPartition) -> int:
        return len(self.logs[source])

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Batch]]:
        for _ in range(max(timeout_ms // 5, 1)):
            if self.failure:
                raise self.failure
            found = {}
            for source, position in self.positions.items():
                end = len(self.logs[source])
                if source not in self.paused and position < end:
                    found[source] = [Batch(source, [self.logs[source][at]], [at], at + 1, 0) for at in range(position, end)]
                    self.positions[source] = end
            if found:
                return found
            await asyncio.sleep(0.005)
        return {}


class Owner:
    """Reads everything from the start, or where it is told to."""

    def __init__(self) -> None:
        self.assigned = 0
        self.start = 0
        self.member: KafkaGroupMember | None = None
        self.raises: BaseException | None = None

    async def on_revoked(self, _partitions: Collection[int]) -> None:
        if self.raises:
            raise self.raises

    def on_assigned(self, assignment: Assignment) -> None:
        self.assigned += 1
        assert self.member
        for partition in assignment.partitions:
            self.member.seek(TopicPartition("t", partition), self.start)


class Registry:
    """Translates what is foreign as soon as it is there; all else at once."""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.asked: list[Sequence[Pair]] = []
        self.cancelled = 0
        self.raises: BaseException | None = None

    def try_translate(self, _topic: str, records: Sequence[Pair]) -> Sequence[Pair] | None:
        return None if any(value == FOREIGN for _, value in records) else records

    async def translate(self, _topic: str, records: Sequence[Pair]) -> Sequence[Pair]:
        self.asked.append(records)
        try:
            await self.there.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.raises:
            raise self.raises
        return [(key, b"ours" if value == FOREIGN else value) for key, value in records]


class Lab:
    """A member, its consumer, its owner, and what was delivered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, membership: Membership | None = None) -> None:
        self.logs: list[Log] = []
        monkeypatch.setattr(consuming, "new_consumer", self._new)
        self.registry, self.owner = Registry(), Owner()
        self.member = KafkaGroupMember(KafkaSettings(), "g", ["t"], self.owner, membership or Membership(), self.registry)
        self.owner.member = self.member
        self.delivered: list[tuple[TopicPartition, int, bytes | None]] = []

    def _new(self, *_: object, **__: object) -> Log:
        self.logs.append(Log())
        return self.logs[-1]

    @property
    def log(self) -> Log:
        return self.logs[-1]

    def write(self, source: TopicPartition, *values: bytes) -> None:
        self.log.logs[source] += [(b"k", value) for value in values]

    async def poll(self, seconds: float) -> None:
        """Polls for so long; each record is delivered where the one before ended."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while loop.time() < end_s:
            for batch in await self.member.poll(50):
                self.delivered += [(batch.source, at, value) for at, (_, value) in zip(batch.offsets, batch.records, strict=True)]

    def of(self, source: TopicPartition) -> list[tuple[int, bytes | None]]:
        return [(at, value) for found, at, value in self.delivered if found == source]


@pytest.fixture
def in_lab(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Lab], Any]], None]:
    def run(test: Callable[[Lab], Any]) -> None:
        async def main() -> None:
            lab = Lab(monkeypatch)
            await test(lab)
            await lab.member.stop()
            assert len(asyncio.all_tasks()) == 1, "something is left"

        run_virtual(main())

    return run


def test_what_takes_long_to_translate_lets_the_other_batches_of_a_poll_wait(in_lab: Callable[[Callable[[Lab], Any]], None]) -> None:
    async def test(lab: Lab) -> None:
        await lab.poll(0.1)
        loop, asked = asyncio.get_running_loop(), 0
        try_translate = lab.registry.try_translate

        def slowly(_topic: str, records: Sequence[Pair]) -> Sequence[Pair] | None:
            nonlocal asked
            asked += 1
            loop._now_s += 0.02  # type: ignore[attr-defined]
            return try_translate(_topic, records)

        lab.registry.try_translate = slowly  # type: ignore[method-assign]
        lab.registry.there.set()
        lab.write(A, b"0", b"1")
        lab.write(B, b"0")
        (first,) = await lab.member.poll(50)
        assert asked == 1
        lab.registry.try_translate = try_translate  # type: ignore[method-assign]
        await lab.poll(1)

        delivered = [*((first.source, value) for _, value in first.records), *((source, value) for source, _, value in lab.delivered)]
        assert sorted(delivered) == [(A, b"0"), (A, b"1"), (B, b"0")]

    in_lab(test)


def test_a_batch_that_waits_for_the_registry_stalls_its_own_partition_only(in_lab: Callable[[Callable[[Lab], Any]], None]) -> None:
    async def test(lab: Lab) -> None:
        await lab.poll(0.1)
        lab.write(A, b"0", FOREIGN, b"2")
        lab.write(B, b"0")
        await lab.poll(0.5)
        for number in range(10):
            lab.write(A, b"later")
            lab.write(B, b"%d" % number)
            await lab.poll(0.05)
        assert len(lab.of(B)) == 11
        assert lab.of(A) == []
        assert lab.member.behind(A) == 13
        assert len(lab.registry.asked) == 1

        lab.registry.there.set()
        await lab.poll(0.5)
        assert lab.of(A) == [(0, b"0"), (1, b"ours"), (2, b"2"), *((at, b"later") for at in range(3, 13))]
        assert lab.member.behind(A) == 0

    in_lab(test)


@pytest.mark.parametrize("what", ["rebalance", "seek", "pause and seek"])
def test_what_was_fetched_before_a_seek_is_never_delivered_after_it(what: str, in_lab: Callable[[Callable[[Lab], Any]], None]) -> None:
    async def test(lab: Lab) -> None:
        await lab.poll(0.1)
        lab.write(A, b"0", FOREIGN)
        await lab.poll(0.2)
        if what == "rebalance":
            await lab.log.rebalance()
        else:
            if what == "pause and seek":
                lab.member.pause(A)
                lab.registry.there.set()
                await lab.poll(0.2)
                assert lab.of(A) == []
            lab.member.seek(A, 0)
        lab.registry.there.set()
        await lab.poll(0.5)
        assert lab.of(A) == [(0, b"0"), (1, b"ours")]

    in_lab(test)


def test_a_batch_that_was_translated_and_not_delivered_yet_goes_with_a_seek(in_lab: Callable[[Callable[[Lab], Any]], None]) -> None:
    async def test(lab: Lab) -> None:
        await lab.poll(0.1)
        lab.write(A, FOREIGN, b"1")
        await lab.poll(0.2)
        lab.registry.there.set()
        await asyncio.sleep(0.1)
        lab.member.seek(A, 1)
        await lab.poll(0.5)
        assert lab.of(A) == [(1, b"1")]

    in_lab(test)


def test_a_member_that_stops_leaves_no_question_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        await lab.poll(0.1)
        lab.write(A, FOREIGN)
        await lab.poll(0.2)
        await lab.member.stop()
        assert lab.registry.cancelled == 1
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_what_a_translation_raises_is_raised_by_a_poll_and_nothing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        await lab.poll(0.1)
        lab.write(A, FOREIGN, b"1")
        lab.registry.raises = Fatal("no registry")
        lab.registry.there.set()
        with pytest.raises(Fatal, match="no registry"):
            await lab.poll(0.5)
        lab.registry.raises = None
        await lab.poll(0.5)
        assert lab.of(A) == [(0, b"ours"), (1, b"1")]
        await lab.member.stop()

    run_virtual(main())


def test_a_translation_that_something_cancelled_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        await lab.poll(0.1)
        lab.write(A, FOREIGN)
        lab.registry.raises = asyncio.CancelledError()
        lab.registry.there.set()
        await lab.poll(0.2)
        lab.registry.raises = None
        await lab.poll(0.2)
        assert lab.of(A) == [(0, b"ours")]
        await lab.member.stop()

    run_virtual(main())


# --- What fails in a rebalance ---------------------------------------------------------------------------------------------------


def disk_full(*_: object) -> Any:  # noqa: ANN401
    raise OSError(28, "No space left on device")


def failing(what: str, lab: Lab) -> None:
    if what == "on_assigned":
        lab.owner.on_assigned = disk_full  # type: ignore[assignment,method-assign]
    elif what == "on_revoked":
        lab.owner.raises = OSError(28, "No space left on device")
    elif what == "a job of the owner that was cancelled":
        lab.owner.raises = asyncio.CancelledError("No space left on device")
    elif what == "pause":
        lab.log.pause = disk_full  # type: ignore[method-assign]
    elif what == "member id":
        del lab.log._coordinator.member_id


@pytest.mark.parametrize("what", ["on_joined", "on_assigned", "on_revoked", "a job of the owner that was cancelled", "pause", "member id"])
def test_what_fails_in_a_rebalance_is_kept_and_ends_the_member(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        is_full: list[bool] = []
        lab = Lab(monkeypatch, Membership(on_joined=lambda _: disk_full() if is_full and what == "on_joined" else None))
        await lab.poll(0.1)
        is_full.append(True)
        failing(what, lab)
        await lab.log.rebalance()
        reason = "member_id" if what == "member id" else "No space left on device"
        for _ in range(2):
            with pytest.raises(Fatal, match=reason):
                await lab.poll(0.1)
        await lab.member.stop()

    run_virtual(main())


@pytest.mark.parametrize("method", ["metadata", "assign", "on_assignment"])
def test_what_fails_in_the_assignor_is_kept_and_ends_the_member(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stored() -> Collection[int]:
        return disk_full() if method == "metadata" else ()

    async def main() -> None:
        lab = Lab(monkeypatch, Membership(stored=stored))
        assignor: StickyAssignor = lab.member._assignor
        if method == "metadata":
            # The group is joined all the same: what the library makes of an error here nobody sees.
            assert assignor.metadata(["t"]).user_data
        elif method == "assign":
            with pytest.raises(AttributeError):
                assignor.assign(None, {"m": assignor.metadata(["t"])})
        else:
            assignor.on_assignment(SimpleNamespace(user_data=b"rubbish", assignment=[]))
        with pytest.raises(Fatal, match=r"a rebalance failed"):
            await lab.poll(0.1)
        await lab.member.stop()

    run_virtual(main())


def test_a_member_that_is_told_to_stop_in_a_rebalance_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        await lab.poll(0.1)

        async def long(_: object) -> None:
            await asyncio.sleep(3_600)

        lab.owner.on_revoked = long  # type: ignore[assignment,method-assign]
        job = asyncio.create_task(lab.log.rebalance())
        await asyncio.sleep(1)
        job.cancel()
        assert isinstance((await asyncio.gather(job, return_exceptions=True))[0], asyncio.CancelledError)
        await lab.poll(0.1)
        await lab.member.stop()

    run_virtual(main())


@pytest.mark.parametrize("job", ["error_future", "_heartbeat_task", "_commit_refresh_task"])
def test_a_consumer_of_which_a_job_has_ended_is_not_waited_for(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        await lab.poll(0.1)
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(KafkaError("unexpected"))
        setattr(lab.log._fetcher if job == "error_future" else lab.log._coordinator, job, failed)

        with pytest.raises(Fatal, match="reads no more: KafkaError"):
            await lab.poll(0.1)
        await lab.member.stop()

    run_virtual(main())


# --- What is not allowed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [GroupAuthorizationFailedError("g"), TopicAuthorizationFailedError("t")])
def test_what_is_not_allowed_is_said_and_works_as_soon_as_it_is(failure: KafkaError, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(monkeypatch)
        lab.log.failure = failure
        with pytest.raises(NotAllowed, match=type(failure).__name__):
            await lab.poll(0.1)
        # It is given back, and another one joins.
        assert lab.logs[0].stopped == 1
        await lab.poll(0.1)
        assert lab.owner.assigned == 1

        lab.log.failure = failure
        with pytest.raises(NotAllowed, match=type(failure).__name__):
            await lab.poll(0.1)
        lab.log.failure = None
        lab.write(A, b"0")
        await lab.poll(0.1)
        assert lab.of(A) == [(0, b"0")]
        await lab.member.stop()

    run_virtual(main())
