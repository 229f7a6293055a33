"""Every name of aiokafka that is not documented, and why it is used. No other module knows one of them.

A name that is missing does not fail when this is imported, but in :func:`check`, which says which one and which version was tried.
Nothing is replaced for the whole process: what behaves otherwise is an instance of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from ticketmaster.errors import UsageError

TRIED: Final = "0.14.0"
"""The version that all of this was tried with; pyproject.toml pins it."""

# Types without types: aiokafka has none.
Client: TypeAlias = Any
Consumer: TypeAlias = Any
FetchedBatch: TypeAlias = Any
FetchedRecord: TypeAlias = Any

# By module, and within it by path. After a colon stands a name that the function before it must mention: an attribute that a
# constructor sets, or what a function looks up when it is called.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "aiokafka.client": (
        "AIOKafkaClient",
        "AIOKafkaClient.__init__:_conns",
        "AIOKafkaClient.__init__:cluster",
        "AIOKafkaClient._get_conn",
        "AIOKafkaClient._metadata_update:send",
        "AIOKafkaClient.add_topic",
        "AIOKafkaClient.bootstrap",
        "AIOKafkaClient.close",
        "AIOKafkaClient.coordinator_lookup",
        "AIOKafkaClient.force_metadata_update",
        "AIOKafkaClient.get_random_node",
        "AIOKafkaClient.ready:_get_conn",
        "AIOKafkaClient.send",
        "AIOKafkaClient.send:ready",
        "ConnectionGroup.COORDINATION",
        "ConnectionGroup.DEFAULT",
        "CoordinationType.GROUP",
        "CoordinationType.TRANSACTION",
    ),
    "aiokafka.cluster": (
        "ClusterMetadata.__init__:unauthorized_topics",
        "ClusterMetadata.add_listener",
        "ClusterMetadata.leader_for_partition",
        "ClusterMetadata.remove_listener",
    ),
    "aiokafka.conn": (
        "AIOKafkaConnection.__init__:_client_id",
        "AIOKafkaConnection.__init__:_last_action",
        "AIOKafkaConnection.__init__:_protocol",
        "AIOKafkaConnection.__init__:_read_task",
        "AIOKafkaConnection.__init__:_request_timeout",
        "AIOKafkaConnection.__init__:_requests",
        "AIOKafkaConnection.__init__:_versions",
        "AIOKafkaConnection.__init__:_writer",
        "AIOKafkaConnection._next_correlation_id",
        "AIOKafkaConnection.close",
        "AIOKafkaConnection.close:_requests",
        "AIOKafkaConnection.connected",
        "AIOKafkaConnection.send",
        "CloseReason.CONNECTION_BROKEN",
        "CloseReason.CONNECTION_TIMEOUT",
        "CloseReason.OUT_OF_SYNC",
    ),
    "aiokafka.consumer.consumer": (
        "AIOKafkaConsumer.__init__:_client",
        "AIOKafkaConsumer.__init__:_coordinator",
        "AIOKafkaConsumer.__init__:_fetcher",
        "AIOKafkaConsumer.start:_fetcher",
    ),
    "aiokafka.consumer.group_coordinator": (
        "GroupCoordinator.__init__:_commit_refresh_task",
        "GroupCoordinator.__init__:_heartbeat_task",
        "GroupCoordinator.__init__:generation",
        "GroupCoordinator.__init__:member_id",
    ),
    "aiokafka.consumer.fetcher": (
        "READ_COMMITTED",
        "FetchError.check_raise",
        "FetchResult",
        "FetchResult.calculate_backoff",
        "FetchResult.getall",
        "Fetcher",
        "Fetcher.__init__:_check_crcs",
        "Fetcher.__init__:_client",
        "Fetcher.__init__:_closed",
        "Fetcher.__init__:_default_reset_strategy",
        "Fetcher.__init__:_fetch_max_bytes",
        "Fetcher.__init__:_fetch_max_wait_ms",
        "Fetcher.__init__:_fetch_min_bytes",
        "Fetcher.__init__:_fetch_task",
        "Fetcher.__init__:_fetch_waiters",
        "Fetcher.__init__:_isolation_level",
        "Fetcher.__init__:_max_partition_fetch_bytes",
        "Fetcher.__init__:_pending_tasks",
        "Fetcher.__init__:_prefetch_backoff",
        "Fetcher.__init__:_records",
        "Fetcher.__init__:_retry_backoff",
        "Fetcher.__init__:_subscriptions",
        "Fetcher._create_fetch_waiter",
        "Fetcher._notify",
        "Fetcher._set_error",
        "Fetcher._update_fetch_positions",
        "Fetcher.error_future",
        "Fetcher.fetched_records",
        "Fetcher.seek_to",
        "PartitionRecords",
        "PartitionRecords.__init__:_aborted_producers",
        "PartitionRecords.__init__:_check_crcs",
        "PartitionRecords.__init__:_isolation_level",
        "PartitionRecords.__init__:_records",
        "PartitionRecords.__init__:_records_iterator",
        "PartitionRecords.__init__:_tp",
        "PartitionRecords.__init__:next_fetch_offset",
        "PartitionRecords._consume_aborted_up_to",
        "PartitionRecords._contains_abort_marker",
        "PartitionRecords._unpack_records",
    ),
    "aiokafka.consumer.subscription_state": (
        "Assignment.active",
        "Assignment.state_value",
        "Assignment.tps",
        "Assignment.__init__:unassign_future",
        "SubscriptionState.reassignment_in_progress",
        "SubscriptionState.subscription",
        "SubscriptionState.wait_for_assignment",
        "TopicPartitionState.__init__:highwater",
        "TopicPartitionState.__init__:lso",
        "TopicPartitionState.await_reset",
        "TopicPartitionState.awaiting_reset",
        "TopicPartitionState.has_valid_position",
        "TopicPartitionState.paused",
        "TopicPartitionState.position",
    ),
    "aiokafka.admin.client": ("AIOKafkaAdminClient.__init__:_client", "AIOKafkaAdminClient._send_request_to_node"),
    "aiokafka.codec": ("has_gzip", "has_lz4", "has_snappy", "has_zstd", "lz4_encode"),
    "aiokafka.coordinator.assignors.abstract": ("AbstractPartitionAssignor",),
    "aiokafka.coordinator.protocol": ("ConsumerProtocolMemberAssignment", "ConsumerProtocolMemberMetadata"),
    "aiokafka.protocol.api": (
        "Request.prepare",
        "RequestStruct",
        "RequestStruct.FLEXIBLE_VERSION",
        "RequestStruct.encode",
        "RequestStruct.parse_response_header",
        "Response",
        "ResponseHeader_v0",
    ),
    "aiokafka.protocol.commit": ("OffsetFetchRequest",),
    "aiokafka.protocol.group": ("LeaveGroupRequest",),
    "aiokafka.protocol.metadata": (
        "MetadataRequest",
        "MetadataRequest.__init__:_allow_auto_topic_creation",
        "MetadataRequest.build:_allow_auto_topic_creation",
    ),
    "aiokafka.protocol.produce": ("ProduceRequest",),
    "aiokafka.protocol.transaction": (
        "AddOffsetsToTxnRequest",
        "AddPartitionsToTxnRequest",
        "EndTxnRequest",
        "InitProducerIdRequest",
        "TxnOffsetCommitRequest",
    ),
    "aiokafka.protocol.types": (
        "Boolean",
        "CompactArray",
        "CompactBytes",
        "CompactString",
        "Int16",
        "Int32",
        "Int64",
        "Schema",
        "TaggedFields",
    ),
    "aiokafka.record.default_records": ("DefaultRecordBatchBuilder",),
    "aiokafka.record.memory_records": ("MemoryRecords",),
    "aiokafka.record.util": ("calc_crc32c",),
}


class _Missing:
    """Stands where a name is missing, until :func:`check` says so."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes what the real one takes, whatever that is."""


def _look_up(module: str, path: str) -> Any:
    """What stands under a name; AttributeError or ImportError: nothing."""
    path, _, mentioned = path.partition(":")
    found = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if mentioned:
        code = found.__code__
        if mentioned not in code.co_names:
            raise AttributeError(mentioned)
    return found


def _found(module: str, path: str) -> Any:
    assert path in NAMES[module], f"{module}.{path} is not in the list"
    try:
        return _look_up(module, path)
    except (AttributeError, ImportError):
        return _Missing


def check() -> None:
    """UsageError: this version of aiokafka has one of the names no more."""
    installed = metadata.version("aiokafka")
    for module, paths in NAMES.items():
        for path in paths:
            try:
                _look_up(module, path)
            except (AttributeError, ImportError) as cause:
                text = f"aiokafka {installed} has no {module}.{path.replace(':', ', which sets or uses ')}"
                raise UsageError(f"{text}: install aiokafka=={TRIED}, the version that was tried") from cause


# Requests of our own. aiokafka's producers speak an older protocol of transactions, repeat requests whose answer is lost, and let one
# partition hold up all others; their client finds brokers, connects, and encodes what it is given.
AIOKafkaClient: Final = _found("aiokafka.client", "AIOKafkaClient")
CONNECTION_DEFAULT: Final = _found("aiokafka.client", "ConnectionGroup.DEFAULT")
CONNECTION_BROKEN: Final = _found("aiokafka.conn", "CloseReason.CONNECTION_BROKEN")
CONNECTION_TIMEOUT: Final = _found("aiokafka.conn", "CloseReason.CONNECTION_TIMEOUT")
OUT_OF_SYNC: Final = _found("aiokafka.conn", "CloseReason.OUT_OF_SYNC")
MetadataRequest: Final = _found("aiokafka.protocol.metadata", "MetadataRequest")
CONNECTION_APART: Final = _found("aiokafka.client", "ConnectionGroup.COORDINATION")
"""A second connection to a broker, for what may take long: a broker answers one request of a connection after the other."""
CONNECTION_OF_FETCHES: Final = "fetches"
"""A third one: of a client's connections aiokafka wants to know only what tells them apart."""
OF_GROUP: Final = _found("aiokafka.client", "CoordinationType.GROUP")
OF_TRANSACTION: Final = _found("aiokafka.client", "CoordinationType.TRANSACTION")
RequestStruct: Any = _found("aiokafka.protocol.api", "RequestStruct")
Response: Any = _found("aiokafka.protocol.api", "Response")
ResponseHeader: Final = _found("aiokafka.protocol.api", "ResponseHeader_v0")
OffsetFetchRequest: Final = _found("aiokafka.protocol.commit", "OffsetFetchRequest")
LeaveGroupRequest: Final = _found("aiokafka.protocol.group", "LeaveGroupRequest")
ProduceRequest: Final = _found("aiokafka.protocol.produce", "ProduceRequest")
AddOffsetsToTxnRequest: Final = _found("aiokafka.protocol.transaction", "AddOffsetsToTxnRequest")
AddPartitionsToTxnRequest: Final = _found("aiokafka.protocol.transaction", "AddPartitionsToTxnRequest")
EndTxnRequest: Final = _found("aiokafka.protocol.transaction", "EndTxnRequest")
InitProducerIdRequest: Final = _found("aiokafka.protocol.transaction", "InitProducerIdRequest")
TxnOffsetCommitRequest: Final = _found("aiokafka.protocol.transaction", "TxnOffsetCommitRequest")
Boolean: Final = _found("aiokafka.protocol.types", "Boolean")
CompactArray: Final = _found("aiokafka.protocol.types", "CompactArray")
CompactBytes: Final = _found("aiokafka.protocol.types", "CompactBytes")
CompactString: Final = _found("aiokafka.protocol.types", "CompactString")
Int16: Final = _found("aiokafka.protocol.types", "Int16")
Int32: Final = _found("aiokafka.protocol.types", "Int32")
Int64: Final = _found("aiokafka.protocol.types", "Int64")
Schema: Final = _found("aiokafka.protocol.types", "Schema")
TaggedFields: Final = _found("aiokafka.protocol.types", "TaggedFields")

# Record batches are encoded for those requests, and compressed as fast as can be.
DefaultRecordBatchBuilder: Final = _found("aiokafka.record.default_records", "DefaultRecordBatchBuilder")
lz4_encode: Final = _found("aiokafka.codec", "lz4_encode")
calc_crc32c: Final = _found("aiokafka.record.util", "calc_crc32c")

# Assignors are documented to be replaceable, but not where their base and messages are.
AbstractPartitionAssignor: Any = _found("aiokafka.coordinator.assignors.abstract", "AbstractPartitionAssignor")
ConsumerProtocolMemberAssignment: Final = _found("aiokafka.coordinator.protocol", "ConsumerProtocolMemberAssignment")
ConsumerProtocolMemberMetadata: Final = _found("aiokafka.coordinator.protocol", "ConsumerProtocolMemberMetadata")

# Whole batches instead of an object of eleven fields for each record: :class:`BatchConsumer`.
READ_COMMITTED: Final = _found("aiokafka.consumer.fetcher", "READ_COMMITTED")
PartitionRecords: Any = _found("aiokafka.consumer.fetcher", "PartitionRecords")
FetchResult: Any = _found("aiokafka.consumer.fetcher", "FetchResult")
MemoryRecords: Final = _found("aiokafka.record.memory_records", "MemoryRecords")
BaseFetcher: Any = _found("aiokafka.consumer.fetcher", "Fetcher")


def has_codec(name: str) -> bool:
    """Whether a codec is installed."""
    return bool(_found("aiokafka.codec", f"has_{name}")())


class FetchedRecords(PartitionRecords):  # type: ignore[misc]
    """What a fetch brought of one partition, unpacked by whoever derives from this: an iterator that is asked for all it has at once."""

    def __init__(self, fetched: Any) -> None:
        self.__dict__.update(fetched.__dict__)
        self._records_iterator = self._unpack_records()

    def _unpack_records(self) -> Iterator[Any]:
        """Yields what is delivered, and keeps ``next_fetch_offset``, the position behind it."""
        raise NotImplementedError

    @property
    def source(self) -> tuple[str, int]:
        """Topic and partition."""
        return self._tp.topic, self._tp.partition

    @property
    def checks_checksums(self) -> bool:
        """Whether each batch is held against its checksum."""
        return bool(self._check_crcs)

    def batches(self) -> Iterator[FetchedBatch]:
        """The batches of the log."""
        while self._records.has_next():
            yield self._records.next_batch()

    def is_aborted(self, batch: FetchedBatch) -> bool:
        """Whether a batch is of a transaction that did not take place; asked of each batch, in order."""
        if self._isolation_level != READ_COMMITTED or batch.producer_id is None:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return batch.is_transactional and batch.producer_id in self._aborted_producers


def generation_of(consumer: Consumer) -> tuple[int, str]:
    """The generation of a member's group, which tells whether a partition came straight back, and the member's id, to take it out."""
    coordinator = consumer._coordinator  # noqa: SLF001
    return coordinator.generation, coordinator.member_id


def job_failure(consumer: Consumer) -> BaseException | None:
    """Why one of a consumer's jobs has ended, if one has. It fetches no more then, or sends no heartbeats, and no call of it tells so."""
    # One that has not started has neither, and one without a group has only the first.
    jobs = [getattr(consumer._fetcher, "error_future", None)]  # noqa: SLF001
    jobs += [getattr(consumer._coordinator, name, None) for name in ("_heartbeat_task", "_commit_refresh_task")]  # noqa: SLF001
    for job in jobs:
        if job is not None and job.done() and not job.cancelled() and (failure := job.exception()):
            cause: BaseException = failure.__cause__ or failure
            return cause
    return None


def client_of(owner: AIOKafkaConsumer | AIOKafkaAdminClient) -> Client:
    """The client that a consumer or an admin client connects by."""
    return owner._client  # noqa: SLF001


async def ask_node(admin: AIOKafkaAdminClient, node: int, request: Any) -> Any:
    """Sends a request to a given broker: who coordinates a group is one of them. It connects first."""
    return await admin._send_request_to_node(node, request)  # noqa: SLF001
