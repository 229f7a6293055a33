"""The broker port: partitions of records with offsets, consumer groups, transactions. Its semantics are Kafka's.

Records that :meth:`Producer.send` acknowledges are durable; those that are delivered are committed, and durable unless a member reads
ahead. One contract suite (``tests/contract``) holds every adapter to this text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from ticketmaster.errors import TicketmasterError

# Key and value of a record. A value of None is a tombstone: the key is gone.
Pair = tuple[bytes, bytes | None]
# Names and values of a record's headers. A list, as aiokafka takes no other sequence; nobody changes it.
Headers = list[tuple[str, bytes]]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


def partitions_of(topic: str, partitions: int) -> list[TopicPartition]:
    """Every partition of a topic, by number."""
    return [TopicPartition(topic, partition) for partition in range(partitions)]


class TopicSpec(NamedTuple):
    """A topic to be: of a compacted one only the last value of each key is kept.

    ``timed_by_log``: a record's time is when the log took it, not when it was sent. In the embedded log it always is.
    """

    name: str
    partitions: int
    compacted: bool = False
    timed_by_log: bool = False


# The headers of those records that have any, by their place among the others; and the same of several partitions.
PlacedHeaders = Mapping[int, Headers]
RecordHeaders = Mapping[TopicPartition, PlacedHeaders]
NO_PLACED_HEADERS: Final[PlacedHeaders] = MappingProxyType({})
NO_RECORD_HEADERS: Final[RecordHeaders] = MappingProxyType({})


# What a group reads as one batch was written within one second of the clock, so that what happens at a whole second is no matter of
# how records were read. So far may their times lie apart.
BATCH_SPAN_MS: Final = 1_000


class Batch(NamedTuple):
    """Records of one partition, in the order of their offsets.

    ``offsets[i]`` is the offset of ``records[i]``; compaction leaves gaps. ``next_offset`` is where to read on, past any gap. ``headers``
    are the traced records'; a broker may forget them. ``follows`` is where the consumer stood that delivers it, the ``next_offset`` of the
    batch before or what was sought; None: at the first record. ``timestamp_ms`` is the oldest record's; what a group reads has none in it
    that is younger by :data:`BATCH_SPAN_MS`, or of another second.
    """

    source: TopicPartition
    records: Sequence[Pair]
    offsets: Sequence[int]
    next_offset: int
    timestamp_ms: int
    headers: PlacedHeaders = NO_PLACED_HEADERS
    follows: int | None = None

    def split(self, at: int) -> tuple[Batch, Batch]:
        """The records before place ``at``, which there is, and those from there on."""
        before = {place: found for place, found in self.headers.items() if place < at}
        behind = {place - at: found for place, found in self.headers.items() if place >= at}
        return (
            self._replace(records=self.records[:at], offsets=self.offsets[:at], next_offset=self.offsets[at], headers=before),
            self._replace(records=self.records[at:], offsets=self.offsets[at:], headers=behind, follows=self.offsets[at]),
        )


class Producer(Protocol):
    """Appends records outside any transaction."""

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        """Returns, when the outcome of each partition is known, those whose records are not known to be durable, with why.

        Retriable: they may or may not be. Refused: those of its keys never will be, all others of the partition are. A partition that
        can't be written neither fails nor delays another one. Fatal, raised: the broker is gone.
        """


def ensure_durable(failures: Mapping[TopicPartition, TicketmasterError]) -> None:
    """Raises why something that :meth:`Producer.send` was given is not known to be durable, if anything is not."""
    for failure in failures.values():
        raise failure


class TransactionalProducer(Protocol):
    """Appends records and moves consumer offsets, all or nothing. Of one transactional id only the producer started last works."""

    async def start(self) -> None:
        """Fences every earlier producer of this id. Ends of logs that are read afterwards are final as to them."""

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        """One transaction: returns, once it is in the log, where each output partition's log ends behind its records.

        It need not be durable by then: see :meth:`Broker.until_durable`. ``offsets`` are the next offsets that ``group`` will read.
        Records and offsets can be read a moment later, and for certain once the next producer of this id has started. TaskMigrated:
        a later producer has taken over, nothing was written. Retriable: the outcome is unknown or nothing. Refused: the broker takes
        some record never, nothing of this is visible. NotAllowed: its operator forbids it. After any of these, this producer must not
        be used any more.
        """

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offsets that ``group`` will read; without those where it never committed.

        What earlier producers of this id have committed is in them for certain, which :meth:`Broker.committed` does not promise when
        brokers were lost. Errors as of :meth:`commit`.
        """

    async def ends_of(self, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where logs end at least, with all that earlier producers of this id have committed. Errors as of :meth:`commit`.

        :meth:`Broker.end_offsets` does not promise that: a broker that has lost the others, and not noticed, tells an old end.
        """

    async def stop(self) -> None:
        """Ends this producer. It may be called in any state."""


class Assignment(NamedTuple):
    """The partitions (by number, the same in all topics) that a member owns in one generation of its group.

    ``owners`` has the address of every partition's member, so far as members tell theirs.
    """

    partitions: Sequence[int]
    generation: int
    owners: Mapping[int, str]


def _no_partitions() -> Collection[int]:
    return ()


class Membership(NamedTuple):
    """What a member tells its group: the address others reach it at, and the partitions it has state of on its disk.

    ``on_joined`` is given the member's id after each rebalance.
    """

    address: str = ""
    stored: Callable[[], Collection[int]] = _no_partitions
    on_joined: Callable[[str], None] | None = None


NO_CLAIMS = Membership()


class RebalanceListener(Protocol):
    """Learns which partitions a member owns. Its methods must not raise."""

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Everything owned is given up until the next assignment; return when no commit of theirs is under way."""

    def on_assigned(self, assignment: Assignment) -> None:
        """These are owned now. Each delivers nothing until :meth:`Consumer.seek` says from where."""


class Consumer(Protocol):
    """Reads partitions, each from a position on."""

    async def poll(self, timeout_ms: int) -> list[Batch]:
        """The next batches of partitions that deliver, as soon as there is one: a few MiB of what is stored at most.

        The loop's other jobs get a turn at each poll, also when there is something at once.
        An empty list after ``timeout_ms``; or earlier, or later, when what is assigned changes meanwhile.
        """

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Delivers an assigned partition from ``offset`` on; from the log's start if that is later.

        Nothing happens if the partition is not assigned any more: its owner may not know yet.
        """

    def pause(self, source: TopicPartition) -> None:
        """Delivers nothing more of this partition, until :meth:`seek`."""

    def behind(self, source: TopicPartition) -> int:
        """How far a partition's log went past what is delivered, in offsets, when the broker was last asked; 0 if it is not assigned."""

    async def stop(self) -> None:
        """Leaves the group, if any."""


class Broker(Protocol):
    """A log of partitioned topics."""

    async def create_topics(self, specs: Collection[TopicSpec]) -> None:
        """Creates what is missing. UsageError: a topic exists with other partitions."""

    def producer(self) -> Producer:
        """A producer without transactions."""

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """A producer that must be started before it commits."""

    def group_consumer(
        self, group: str, topics: Collection[str], listener: RebalanceListener, membership: Membership = NO_CLAIMS, *, ahead: bool = False
    ) -> Consumer:
        """A member of a consumer group; joins at its first poll. Topics of a group have the same number of partitions.

        ``ahead``: it may be given records that are not durable yet. That is for a member whose work is transactions of this broker: what
        comes of a record is behind it in the same log, so a crash takes both or the second one. Whatever else it does with a
        record waits for :meth:`until_durable`.
        """

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        """A consumer outside any group, of given partitions from given offsets on."""

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offsets that a group will read; without those where it never committed."""

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last record that is delivered now, for each partition."""

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the first record that is still there, for each partition."""

    async def until_durable(self, ends: Mapping[TopicPartition, int]) -> None:
        """Returns when the logs are durable up to these offsets, which a commit has returned. Fatal: they never will be."""

    def now_ms(self) -> int:
        """What time it is for the log, in milliseconds since 1970, as far as this process knows without asking: it never goes back.

        A wall clock that is set meanwhile does not matter.
        """
