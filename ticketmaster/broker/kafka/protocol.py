"""The requests of a transaction, in both of Kafka's protocols for it.

The newer one (KIP-890, from Kafka 4.0 on, where the feature ``transaction.version`` is 2) needs three requests instead of five: partitions
and groups are added to the transaction by what is sent to them. Each of its transactions has an epoch of its own, so that no request
that arrives late is taken for one of the next. aiokafka has the older one only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import IncompatibleBrokerVersion, for_code

from ticketmaster.broker.kafka import compact
from ticketmaster.broker.kafka.batches import EncodedBatch, Identity
from ticketmaster.broker.kafka.private import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    Boolean,
    Client,
    CompactArray,
    CompactBytes,
    CompactString,
    EndTxnRequest,
    InitProducerIdRequest,
    Int16,
    Int32,
    Int64,
    ProduceRequest,
    RequestStruct,
    Response,
    ResponseHeader,
    Schema,
    TaggedFields,
    TxnOffsetCommitRequest,
)
from ticketmaster.broker.port import TopicPartition

# From this version of the feature on the newer protocol is spoken.
_FEATURE, _FEATURE_VERSION_MIN = "transaction.version", 2
_FINALIZED_FEATURES_TAG = 2
_OPERATION_NOT_ATTEMPTED = 55
_ALL_REPLICAS = -1
_NO_LEADER_EPOCH = -1
# The sender is known by its transactional id; its member of the group is not told.
_NO_GENERATION, _NO_MEMBER, _NO_INSTANCE = -1, "", None

_STRING = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}


class Written(NamedTuple):
    """What became of a batch: 0 and its first offset, or a code why it was refused, and whatever the broker says about that."""

    code: int
    offset: int
    message: str = ""


class Requests(Protocol):
    """One protocol's requests, and what their answers say. A code is 0, or why the request was refused."""

    # Whether partitions and groups must be added to the transaction before anything is sent to them.
    adds_first: bool

    def produce(self, transactional_id: str, batches: Iterable[EncodedBatch], timeout_ms: int) -> Any:
        """Writes batches to one broker, one of each partition."""

    def commit_offsets(self, transactional_id: str, identity: Identity, group: str, offsets: Mapping[TopicPartition, int]) -> Any:
        """Moves a group's offsets."""

    def end(self, transactional_id: str, identity: Identity, *, commits: bool) -> Any:
        """Commits the transaction, or aborts it."""

    def ended(self, answer: Any, identity: Identity) -> Identity:
        """Who writes the next transaction."""


class _OneVersion(RequestStruct):  # type: ignore[misc]
    """A request of which this program knows one version; that the cluster has it is known before."""

    FLEXIBLE_VERSION = True
    API_KEY = API_VERSION = -1
    RESPONSE_TYPE, SCHEMA = Response, Schema()

    # By hand, where it is asked all the time.
    read: Callable[[bytes], Any] | None = None

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> _OneVersion:
        return self

    def answer(self, frame: bytes) -> Any:
        """The answer in a frame."""
        if self.read:
            with suppress(compact.Unusual):
                return self.read(frame)
        data = BytesIO(frame)
        self.parse_response_header(data)
        return self.RESPONSE_TYPE.decode(data)


class ApiVersionsResponse(Response):  # type: ignore[misc]
    """Version 3; the features are in its tags."""

    API_KEY, API_VERSION = 18, 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class ApiVersionsRequest(_OneVersion):
    """Version 3."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 18, 3, ApiVersionsResponse
    SCHEMA = Schema(("client_software_name", _STRING), ("client_software_version", _STRING), _TAGS)

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> ApiVersionsRequest:
        if versions.get(self.API_KEY, (0, 0))[1] < self.API_VERSION:
            raise IncompatibleBrokerVersion("brokers before 2.4 have no features")
        return self

    def parse_response_header(self, read_buffer: BytesIO) -> Any:
        # Of this answer alone the header never has tags: who asks does not know yet what the broker understands.
        return ResponseHeader.decode(read_buffer)


_FEATURES = CompactArray(("name", _STRING), ("max_version", Int16), ("min_version", Int16), _TAGS)


class ProduceResponseV12(Response):  # type: ignore[misc]
    """The answer to :class:`ProduceRequestV12`."""

    API_KEY, API_VERSION = 0, 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", _STRING),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("timestamp", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("index", Int32), ("message", _STRING), _TAGS)),
                        ("error_message", _STRING),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class ProduceRequestV12(_OneVersion):
    """Adds its partitions to the transaction."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 0, 12, ProduceResponseV12
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(("topic", _STRING), ("partitions", CompactArray(("partition", Int32), ("records", CompactBytes), _TAGS)), _TAGS),
        ),
        _TAGS,
    )
    read = staticmethod(compact.read_written)

    def encode(self) -> bytes:
        return compact.encode_produce(self.transactional_id, self.acks, self.timeout_ms, self.topics)


class TxnOffsetCommitResponseV5(Response):  # type: ignore[misc]
    """The answer to :class:`TxnOffsetCommitRequestV5`."""

    API_KEY, API_VERSION = 28, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            CompactArray(("topic", _STRING), ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)), _TAGS),
        ),
        _TAGS,
    )


class TxnOffsetCommitRequestV5(_OneVersion):
    """Adds its group to the transaction."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 28, 5, TxnOffsetCommitResponseV5
    SCHEMA = Schema(
        ("transactional_id", _STRING),
        ("group_id", _STRING),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _STRING),
        ("group_instance_id", _STRING),
        (
            "topics",
            CompactArray(
                ("topic", _STRING),
                (
                    "partitions",
                    CompactArray(("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _STRING), _TAGS),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )
    read = staticmethod(compact.read_moved)

    def encode(self) -> bytes:
        names, identity = (self.transactional_id, self.group_id), (self.producer_id, self.producer_epoch)
        return compact.encode_offsets(names, identity, self.generation_id, self.member_id, self.topics)


class EndTxnResponseV5(Response):  # type: ignore[misc]
    """The answer to :class:`EndTxnRequestV5`: who writes the next transaction."""

    API_KEY, API_VERSION = 26, 5
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16), ("producer_id", Int64), ("producer_epoch", Int16), _TAGS)


class EndTxnRequestV5(_OneVersion):
    """Ends a transaction and its epoch."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 26, 5, EndTxnResponseV5
    SCHEMA = Schema(("transactional_id", _STRING), ("producer_id", Int64), ("producer_epoch", Int16), ("commits", Boolean), _TAGS)
    read = staticmethod(compact.read_ended)

    def encode(self) -> bytes:
        return compact.encode_end(self.transactional_id, (self.producer_id, self.producer_epoch), commits=self.commits)


class NewerRequests:
    """Three requests a transaction."""

    adds_first = False

    def produce(self, transactional_id: str, batches: Iterable[EncodedBatch], timeout_ms: int) -> Any:
        written = _by_topic((batch.source, (batch.source.partition, batch.data, _NO_TAGS)) for batch in batches)
        topics = [(topic, partitions, _NO_TAGS) for topic, partitions in written]
        return ProduceRequestV12(transactional_id, _ALL_REPLICAS, timeout_ms, topics, _NO_TAGS)

    def commit_offsets(self, transactional_id: str, identity: Identity, group: str, offsets: Mapping[TopicPartition, int]) -> Any:
        moved = _by_topic((source, (source.partition, offset, _NO_LEADER_EPOCH, "", _NO_TAGS)) for source, offset in offsets.items())
        topics = [(topic, partitions, _NO_TAGS) for topic, partitions in moved]
        return TxnOffsetCommitRequestV5(transactional_id, group, *identity, _NO_GENERATION, _NO_MEMBER, _NO_INSTANCE, topics, _NO_TAGS)

    def end(self, transactional_id: str, identity: Identity, *, commits: bool) -> Any:
        return EndTxnRequestV5(transactional_id, *identity, commits, _NO_TAGS)

    def ended(self, answer: Any, _identity: Identity) -> Identity:
        return Identity(answer.producer_id, answer.producer_epoch)


class OlderRequests:
    """Five requests a transaction; the epoch is the producer's."""

    adds_first = True

    def produce(self, transactional_id: str, batches: Iterable[EncodedBatch], timeout_ms: int) -> Any:
        topics = _by_topic((batch.source, (batch.source.partition, batch.data)) for batch in batches)
        return ProduceRequest(transactional_id, _ALL_REPLICAS, timeout_ms, topics)

    def commit_offsets(self, transactional_id: str, identity: Identity, group: str, offsets: Mapping[TopicPartition, int]) -> Any:
        topics = _by_topic((source, (source.partition, offset, "")) for source, offset in offsets.items())
        return TxnOffsetCommitRequest(transactional_id, group, *identity, topics)

    def end(self, transactional_id: str, identity: Identity, *, commits: bool) -> Any:
        return EndTxnRequest(transactional_id, *identity, commits)

    def ended(self, _answer: Any, identity: Identity) -> Identity:
        return identity


def init_producer(transactional_id: str | None, transaction_timeout_ms: int) -> Any:
    """Fences every earlier producer of the id, and aborts what it has under way; without an id whoever asks is a new producer."""
    return InitProducerIdRequest(transactional_id, transaction_timeout_ms)


def produce(acks: int, batches: Iterable[EncodedBatch], timeout_ms: int) -> Any:
    """Writes batches to one broker outside of transactions, one of each partition."""
    topics = _by_topic((batch.source, (batch.source.partition, batch.data)) for batch in batches)
    return ProduceRequest(None, acks, timeout_ms, topics)


def add_partitions(transactional_id: str, identity: Identity, sources: Collection[TopicPartition]) -> Any:
    """Of the older protocol: records for these partitions will come."""
    return AddPartitionsToTxnRequest(transactional_id, *identity, _by_topic((source, source.partition) for source in sources))


def add_group(transactional_id: str, identity: Identity, group: str) -> Any:
    """Of the older protocol: offsets of this group will come."""
    return AddOffsetsToTxnRequest(transactional_id, *identity, group)


def written(answer: Any) -> dict[TopicPartition, Written]:
    """What became of each batch of a produce request."""
    return {
        TopicPartition(topic, partition): Written(code, offset, _message(rest) if code else "")
        for topic, partitions, *_ in answer.topics
        for partition, code, offset, *rest in partitions
    }


def _message(rest: Sequence[Any]) -> str:
    """Behind the time, the log's start and the errors of single records; in older answers nothing is."""
    return rest[3] or "" if len(rest) > 3 else ""


def code_of(answer: Any) -> int:
    """Of an answer with one code."""
    return int(answer.error_code)


def first_code(answer: Any) -> int:
    """Of an answer with a code for each partition: the first one that refuses."""
    codes = {error[1]: None for _, partitions, *_ in answer.errors for error in partitions if error[1]}
    if len(codes) > 1:
        # Said of what would have been right, beside something that was not.
        codes.pop(_OPERATION_NOT_ATTEMPTED, None)
    return next(iter(codes), 0)


async def requests_of(client: Client) -> Requests:
    """The newest protocol that the whole cluster speaks. KafkaError: it does not say."""
    try:
        answer = await client.send(client.get_random_node(), ApiVersionsRequest("ticketmaster", "0", _NO_TAGS))
    except IncompatibleBrokerVersion:
        return OlderRequests()
    if answer.error_code:
        raise for_code(answer.error_code)("of ApiVersions")
    encoded = answer.tags.get(_FINALIZED_FEATURES_TAG)
    features = _FEATURES.decode(BytesIO(encoded)) if encoded else ()
    newer = any(name == _FEATURE and version >= _FEATURE_VERSION_MIN for name, version, *_ in features)
    return NewerRequests() if newer else OlderRequests()


def _by_topic(entries: Iterable[tuple[TopicPartition, Any]]) -> list[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for source, entry in entries:
        found[source.topic].append(entry)
    return list(found.items())
