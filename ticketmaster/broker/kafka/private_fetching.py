"""Fetching of ours differs from aiokafka's in these points: the names of aiokafka that this takes are in ``private.py``, with all others.

aiokafka looks at all partitions twice for each fetch, makes a task of it, and waits for five futures and a timer at a time. Here whatever
may let a fetch begin leads to :meth:`Fetcher._look`: an answer, records that are taken, a seek, news of the cluster. It asks each broker
that is not busy for all that its partitions want. Fetches have a connection of their own to each broker, as one that waits for records
holds up whatever comes behind it: who leads a partition, and where a log ends. Positions, pauses and assignments stay aiokafka's, and so
does asking where a log begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, RecordTooLargeError, TopicAuthorizationFailedError, for_code
from aiokafka.structs import TopicPartition

from ticketmaster.broker.kafka import private
from ticketmaster.broker.kafka.codes import LEADER_MOVED
from ticketmaster.broker.kafka.fetching import Answer, Fetch
from ticketmaster.broker.kafka.private import BaseFetcher, FetchedRecords, PartitionRecords
from ticketmaster.broker.kafka.private_connection import connection_to, leave_fetches

# Where aiokafka tells the same.
_log = logging.getLogger("aiokafka")

# A fetch without one of its broker's partitions takes no longer: the others are not to keep that one waiting.
_PARTIAL_WAIT_MS: Final = 100
# Something else than a fetch is under way with a broker, or it rests.
_ELSE: Final[Mapping[TopicPartition, int]] = {}
# Where the cluster knows no leader.
_NO_NODE: Final = -1
_OFFSET_OUT_OF_RANGE: Final = 1
_TOPIC_AUTHORIZATION_FAILED: Final = 29
# Besides those of any request: the leader's epoch is another one.
_LEADER_MOVED: Final = LEADER_MOVED | {74, 75}


class BatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that fetches by :class:`Fetcher`, and delivers whatever ``unpacked`` yields of a partition's records."""

    def __init__(self, unpacked: Callable[[Any], FetchedRecords], **arguments: Any) -> None:
        self._unpacked = unpacked
        super().__init__(**arguments)

    @property
    def _fetcher(self) -> Any:
        return self._own_fetcher

    @_fetcher.setter
    def _fetcher(self, fetcher: Any) -> None:
        self._own_fetcher = None if fetcher is None else Fetcher(fetcher, self._unpacked)

    def resume(self, *sources: TopicPartition) -> None:
        super().resume(*sources)
        if self._own_fetcher:
            self._own_fetcher.look_soon()


class _Wants:
    """The partitions that a broker is to be asked for, and whether it may be asked now."""

    __slots__ = ("held_s", "is_incomplete", "positions", "resets")

    def __init__(self) -> None:
        self.positions: list[tuple[TopicPartition, int]] = []
        # Those that have nothing at their position any more.
        self.resets: list[TopicPartition] = []
        # Whether a partition is left out; seconds until the broker is asked although records wait to be taken.
        self.is_incomplete = False
        self.held_s = 0.0


class Fetcher(BaseFetcher):  # type: ignore[misc]
    """Fetches for one consumer. A broker has one fetch of it at a time.

    A partition that is paused when that begins, or whose position or leader is not known, or whose records nobody has taken yet, waits
    until it ends: such a fetch is short.
    """

    def __init__(self, given: Any, unpacked: Callable[[Any], FetchedRecords]) -> None:
        """In place of one that aiokafka has made, whose job has not run yet; ``unpacked`` is what a partition's records become."""
        self.__dict__.update(given.__dict__)
        del self._fetch_task
        self._closed = False
        given._fetch_task.cancel()  # noqa: SLF001
        self._unpacked = unpacked
        self._loop = asyncio.get_running_loop()
        self._assignment: Any = None
        self._sources: list[TopicPartition] = []
        # By broker: the positions that are asked for, or _ELSE; those that rest; how often each was asked.
        self._busy: dict[int, Mapping[TopicPartition, int]] = {}
        self._resting: set[int] = set()
        self._turns: dict[int, int] = {}
        # Whether a look is to come in the loop's next turn, and whether one is to come when records have waited for long to be taken.
        self._is_due = self._is_held = False
        self._learns_leaders = False
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._client.cluster.add_listener(self._on_metadata)
        self._work(self._follow())

    @property
    def error_future(self) -> asyncio.Future[None]:
        """Ends if this fetches no more, with the reason."""
        return self._broken

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._assignment = None
        self._client.cluster.remove_listener(self._on_metadata)
        leave_fetches(self._client)
        for job in self._pending_tasks:
            job.cancel()
        while self._pending_tasks:
            await asyncio.wait(self._pending_tasks)
            await asyncio.sleep(0)
        self._records.clear()
        self._wake()

    def _on_metadata(self, _: object) -> None:
        """Partitions may have other leaders."""
        self.look_soon()

    async def _follow(self) -> None:
        """From one assignment to the next."""
        subscriptions = self._subscriptions
        while True:
            subscription = subscriptions.subscription
            assignment = subscription.assignment if subscription else None
            if assignment is None or not assignment.active:
                # The next poll raises what the group's coordinator has refused.
                with suppress(KafkaError):
                    await subscriptions.wait_for_assignment()
                continue
            self._assignment, self._sources = assignment, sorted(assignment.tps)
            self._look()
            # The future is the assignment's: if this job is cancelled, it is not.
            await asyncio.wait({assignment.unassign_future})
            self._assignment, self._sources = None, []
            self._records.clear()
            leave_fetches(self._client)

    # Asking.

    def look_soon(self) -> None:
        """Something has changed, and more may: in the loop's next turn is seen what there is to fetch."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._is_due = False
        try:
            self._look_round()
        except Exception as failure:  # noqa: BLE001 - nobody waits for it
            self._fail(failure)

    def _look_round(self) -> None:
        """Asks each broker that is not busy for what its partitions have."""
        assignment = self._assignment
        if assignment is None or not assignment.active:
            return
        found = self._wants(assignment)
        if None in found and not self._learns_leaders:
            self._learns_leaders = True
            self._work(self._learn_leaders())
        for node, wants in found.items():
            if node is None:
                continue
            if wants.resets:
                self._busy[node] = _ELSE
                self._work(self._find_positions(assignment, node, wants.resets))
            elif not wants.positions:
                continue
            elif wants.held_s:
                if not self._is_held:
                    self._is_held = True
                    self._work(self._wait_until_taken(wants.held_s))
            else:
                self._ask(node, wants.positions, is_partial=wants.is_incomplete or None in found)

    def _wants(self, assignment: Any) -> dict[int | None, _Wants]:
        """By broker, of those that are not busy; None: partitions whose leader is not known."""
        found: dict[int | None, _Wants] = {}
        leader_of, records = self._client.cluster.leader_for_partition, self._records
        for source in self._sources:
            state, node = assignment.state_value(source), leader_of(source)
            if node in self._busy:
                continue
            if node == _NO_NODE:
                node = None
            wants = found.get(node)
            if wants is None:
                wants = found[node] = _Wants()
            if source in records:
                wants.is_incomplete, wants.held_s = True, max(wants.held_s, records[source].calculate_backoff())
            elif state.awaiting_reset:
                wants.resets.append(source)
            elif state.paused or not state.has_valid_position:
                wants.is_incomplete = True
            else:
                wants.positions.append((source, state.position))
        return found

    def _ask(self, node: int, positions: list[tuple[TopicPartition, int]], *, is_partial: bool) -> None:
        connection = connection_to(self._client, node, private.CONNECTION_OF_FETCHES)
        if connection is None:
            self._busy[node] = _ELSE
            self._work(self._connect(node))
            return
        # Brokers fill an answer in this order up to its limit: each partition is the first one now and then.
        turn = self._turns[node] = (self._turns.get(node, 0) + 1) % len(positions)
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for source, position in (*positions[turn:], *positions[:turn]):
            topics.setdefault(source.topic, []).append((source.partition, position, self._max_partition_fetch_bytes))
        wait_ms = min(self._fetch_max_wait_ms, _PARTIAL_WAIT_MS) if is_partial else self._fetch_max_wait_ms
        fetch = Fetch(wait_ms, self._fetch_min_bytes, self._fetch_max_bytes, self._isolation_level, topics.items(), "")
        asked = self._busy[node] = dict(positions)
        try:
            answer = connection.send(fetch)
        except KafkaError as cause:
            self._rest(node, cause)
        else:
            answer.add_done_callback(partial(self._answered, self._assignment, node, asked))

    def _work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Something that must be waited for: when it has ended there may be more to fetch."""
        if self._closed:
            coroutine.close()
            return
        job = asyncio.create_task(coroutine)
        self._pending_tasks.add(job)
        job.add_done_callback(self._worked)

    def _worked(self, job: asyncio.Task[None]) -> None:
        self._pending_tasks.discard(job)
        if not job.cancelled():
            if failure := job.exception():
                self._fail(failure)
            self._look()

    async def _connect(self, node: int) -> None:
        try:
            await self._client.ready(node, group=private.CONNECTION_OF_FETCHES)
            # There is none, or it was closed at once.
            if connection_to(self._client, node, private.CONNECTION_OF_FETCHES) is None:
                await asyncio.sleep(self._retry_backoff)
        finally:
            self._busy.pop(node, None)

    async def _find_positions(self, assignment: Any, node: int, sources: list[TopicPartition]) -> None:
        try:
            await self._update_fetch_positions(assignment, node, sources)
        finally:
            self._busy.pop(node, None)

    async def _learn_leaders(self) -> None:
        try:
            await self._client.force_metadata_update()
            await asyncio.sleep(self._retry_backoff)
        finally:
            self._learns_leaders = False

    async def _wait_until_taken(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._is_held = False

    def _rest(self, node: int, cause: object) -> None:
        """A broker is left alone for a moment."""
        _log.warning("broker %s is not asked for a moment: %r", node, cause)
        if node not in self._resting:
            self._resting.add(node)
            self._busy[node] = _ELSE
            self._work(self._have_rested(node))

    async def _have_rested(self, node: int) -> None:
        await asyncio.sleep(self._retry_backoff)
        self._resting.discard(node)
        self._busy.pop(node, None)

    # Answers.

    def _answered(self, assignment: Any, node: int, asked: Mapping[TopicPartition, int], answer: asyncio.Future[Answer]) -> None:
        if self._busy.get(node) is asked:
            del self._busy[node]
        try:
            # A cancelled answer belongs to a fetch that was left.
            if not answer.cancelled():
                self._take(assignment, node, asked, answer.result())
        except KafkaError as cause:
            self._rest(node, cause)
        except Exception as failure:  # noqa: BLE001 - nobody waits for it
            self._fail(failure)
        self._look()

    def _take(self, assignment: Any, node: int, asked: Mapping[TopicPartition, int], answer: Answer) -> None:
        """Keeps what was fetched until somebody takes it."""
        if not assignment.active:
            return
        known = len(self._records)
        for topic, partitions in answer:
            for fetched in partitions:
                source = TopicPartition(topic, fetched[0])
                state = assignment.state_value(source)
                # Somebody may have sought meanwhile, or the partition's next leader have been faster.
                if state is None or not state.has_valid_position or state.position != asked.get(source) or source in self._records:
                    continue
                if fetched[1]:
                    self._refused(node, source, state, fetched[1])
                    continue
                _, _, state.highwater, state.lso, _, aborted, _, data = fetched
                records = private.MemoryRecords(data)
                if records.has_next():
                    theirs = PartitionRecords(source, records, aborted, state.position, None, None, self._check_crcs, self._isolation_level)
                    self._records[source] = private.FetchResult(
                        source, assignment=assignment, partition_records=self._unpacked(theirs), backoff=self._prefetch_backoff
                    )
                elif data:
                    self._set_error(source, RecordTooLargeError(f"the broker sends no whole batch of {source} from {state.position} on"))
        if len(self._records) > known:
            self._wake()

    def _refused(self, node: int, source: TopicPartition, state: Any, code: int) -> None:
        if code == _OFFSET_OUT_OF_RANGE:
            _log.info("%s has nothing at %s", source, state.position)
            state.await_reset(self._default_reset_strategy)
        elif code == _TOPIC_AUTHORIZATION_FAILED:
            self._set_error(source, TopicAuthorizationFailedError(source.topic))
        else:
            if code in _LEADER_MOVED:
                self._client.force_metadata_update()
            self._rest(node, f"{source}: {for_code(code).__name__}")

    def _wake(self) -> None:
        for waiter in self._fetch_waiters:
            self._notify(waiter)

    def _fail(self, failure: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(failure)
        self._wake()

    # Taking.

    async def fetched_records(self, partitions: Any, timeout: float = 0, max_records: int | None = None) -> dict[TopicPartition, list[Any]]:  # noqa: ASYNC109 - as aiokafka's
        """All that is there; waits up to ``timeout`` seconds until there is something. KafkaError: the next was refused."""
        assert not partitions, "all are taken from"
        assert max_records is None, "all that there is is taken"
        until_s = self._loop.time() + timeout
        while True:
            if self._subscriptions.reassignment_in_progress:
                await self._subscriptions.wait_for_assignment()
            waiting = len(self._records)
            taken = self._taken()
            if len(self._records) < waiting:
                # Not at once: the caller may pause what it has too much of.
                self.look_soon()
            if taken:
                return taken
            rest_s = until_s - self._loop.time()
            if rest_s <= 0 or self._closed or self._broken.done():
                return {}
            waiter = self._create_fetch_waiter()
            timer = self._loop.call_later(rest_s, self._notify, waiter)
            try:
                # The coordinator may have it raise what it was refused.
                await waiter
            finally:
                timer.cancel()

    def _taken(self) -> dict[TopicPartition, list[Any]]:
        taken: dict[TopicPartition, list[Any]] = {}
        for source, found in list(self._records.items()):
            if type(found) is not private.FetchResult:
                if not taken:
                    # Then it can be asked for again.
                    del self._records[source]
                    self.look_soon()
                    found.check_raise()
                continue
            del self._records[source]
            try:
                records = found.getall()
            except Exception as cause:  # noqa: BLE001 - whatever it is, what was taken before comes first
                self._set_error(source, cause)
                return taken or self._taken()
            if records:
                taken[source] = records
        return taken

    def seek_to(self, source: TopicPartition, offset: int) -> None:
        super().seek_to(source, offset)
        self.look_soon()
