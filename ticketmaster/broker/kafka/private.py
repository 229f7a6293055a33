"""Every name of aiokafka that is not documented, and why it is used. No other module knows one of them.

A name that is missing does not fail when this is imported, but in :func:`check`, which says which one and which version was tried.
Nothing is replaced for the whole process: what behaves otherwise is an instance of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module, metadata
from typing import Any, Final, TypeAlias
from weakref import proxy

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

_PARTIAL_WAIT_MS: Final = 100

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
    "aiokafka.cluster": ("ClusterMetadata.leader_for_partition", "ClusterMetadata.__init__:unauthorized_topics"),
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
        "Fetcher.__init__:_fetch_max_wait_ms",
        "Fetcher.__init__:_fetcher_timeout",
        "Fetcher.__init__:_in_flight",
        "Fetcher.__init__:_pending_tasks",
        "Fetcher.__init__:_records",
        "Fetcher._fetch_requests_routine:_get_actions_per_node",
        "Fetcher._get_actions_per_node:_fetcher_timeout",
        "Fetcher._proc_fetch_request:_records",
        "Fetcher.error_future",
        "FetchResult",
        "FetchResult.__init__:_partition_records",
        "FetchResult.getall:_partition_records",
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
    "aiokafka.protocol.fetch": (
        "FetchRequest",
        "FetchRequest.__init__:_isolation_level",
        "FetchRequest.__init__:_max_bytes",
        "FetchRequest.__init__:_max_wait_ms",
        "FetchRequest.__init__:_min_bytes",
        "FetchRequest.__init__:_rack_id",
        "FetchRequest.topics",
    ),
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
FetchRequest: Final = _found("aiokafka.protocol.fetch", "FetchRequest")
MetadataRequest: Final = _found("aiokafka.protocol.metadata", "MetadataRequest")
CONNECTION_APART: Final = _found("aiokafka.client", "ConnectionGroup.COORDINATION")
"""A second connection to a broker, for what may take long: a broker answers one request of a connection after the other."""
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
_FetchResult: Final = _found("aiokafka.consumer.fetcher", "FetchResult")


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


class _Fetched(dict[Any, Any]):
    """A fetcher's memory: what is put into it is unpacked in our way."""

    def __init__(self, unpacked: Callable[[Any], FetchedRecords]) -> None:
        self._unpacked = unpacked
        super().__init__()

    def __setitem__(self, source: Any, fetched: Any) -> None:
        if type(fetched) is _FetchResult:
            fetched._partition_records = self._unpacked(fetched._partition_records)  # noqa: SLF001 - nothing has been read of it yet
        super().__setitem__(source, fetched)


class BatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that delivers whatever ``unpacked`` yields of a fetch, instead of one object for each record.

    A broker has one fetch of it at a time. A partition that is paused when that begins, or whose records nobody has taken yet, or whose
    leader is not known, waits until it ends: a fetch without one is short, and all others wait as long as the consumer is told to.
    """

    def __init__(self, unpacked: Callable[[Any], FetchedRecords], **arguments: Any) -> None:
        self._unpacked = unpacked
        super().__init__(**arguments)

    @property
    def _fetcher(self) -> Any:
        return self._own_fetcher

    @_fetcher.setter
    def _fetcher(self, fetcher: Any) -> None:
        # Its job has not run yet: it keeps what it fetches in there.
        if fetcher is not None:
            fetcher._records = _Fetched(self._unpacked)  # noqa: SLF001
            # It looks whether there is anything else to be done, of which it is told anyway.
            fetcher._fetcher_timeout = max(fetcher._fetch_max_wait_ms / 1000, fetcher._fetcher_timeout)  # noqa: SLF001
            # By a reference that does not keep it: it has the last that was fetched.
            fetcher._get_actions_per_node = _choosing_well(proxy(fetcher), type(fetcher)._get_actions_per_node)  # noqa: SLF001
        self._own_fetcher = fetcher


def _choosing_well(fetcher: Any, choose: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A fetcher's choice of what to ask for next, and of how long that takes at most if nothing happens."""

    def chosen(assignment: Any) -> Any:
        fetches, resets, timeout_s, is_unknown, paused = choose(fetcher, assignment)
        # ``is_unknown``: a partition has no leader that the client knows of.
        if paused or is_unknown or fetcher._records:  # noqa: SLF001
            for _, fetch in fetches:
                fetch._max_wait_ms = min(fetch._max_wait_ms, _PARTIAL_WAIT_MS)  # noqa: SLF001
        if len(fetcher._in_flight) > len(fetcher._pending_tasks):  # noqa: SLF001
            # A fetch has ended as the timer fired: its broker is still taken for busy in this turn, and nothing else would tell.
            timeout_s = 0
        return fetches, resets, timeout_s, is_unknown, paused

    return chosen


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
