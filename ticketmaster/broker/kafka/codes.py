"""The codes with which a broker refuses, by what they mean for whoever asked."""

from __future__ import annotations

from typing import Final

from aiokafka.errors import KafkaError, for_code

from ticketmaster.errors import Fatal, NotAllowed, Retriable

# The last transaction is still being closed: that takes a millisecond or two.
CONCURRENT_TRANSACTIONS: Final = 51
# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED.
FENCED: Final = frozenset({47, 90})
# The partition's leader, or the coordinator, is another one now, or none yet; or its disk has failed (56).
LEADER_NOT_AVAILABLE: Final = 5
COORDINATOR_NOT_AVAILABLE: Final = 15
LEADER_MOVED: Final = frozenset({3, LEADER_NOT_AVAILABLE, 6, 56})
COORDINATOR_MOVED: Final = frozenset({COORDINATOR_NOT_AVAILABLE, 16})
NETWORK_EXCEPTION: Final = 13
# REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND: a leader that is alone may have been deposed, and not know.
ALONE: Final = frozenset({7, 19, 20})
# Besides: COORDINATOR_LOAD_IN_PROGRESS.
FOR_NOW: Final = frozenset({CONCURRENT_TRANSACTIONS, NETWORK_EXCEPTION, 14}) | ALONE | LEADER_MOVED | COORDINATOR_MOVED
# Those that a broker says only after it has waited, and nothing else on that connection with it: they or silence.
ANSWERED_LATE: Final = frozenset({7, NETWORK_EXCEPTION, 20})
# The broker has the batch already: it was sent once more because its acknowledgement was lost.
DUPLICATE: Final = 46
# TOPIC_, GROUP_, CLUSTER_ and TRANSACTIONAL_ID_AUTHORIZATION_FAILED: an operator's business.
NOT_ALLOWED: Final = frozenset({29, 30, 31, 53})
# Of records, however often they are sent, by the topic's setting: MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_RECORD,
# UNSUPPORTED_COMPRESSION_TYPE.
FOR_GOOD: Final = {
    10: "max.message.bytes",
    18: "segment.bytes",
    87: "cleanup.policy and message.timestamp.*",
    76: "compression.type",
}
# Of these a part of the batch may be taken: which records are meant is found by halves.
OF_SOME_RECORDS: Final = frozenset({10, 18, 87})


# Those that aiokafka has no name for, or a wrong one.
_NAMES: Final = {13: "NetworkExceptionError", 76: "UnsupportedCompressionTypeError", 87: "InvalidRecordError", 90: "ProducerFencedError"}


def name_of(code: int) -> str:
    """As Kafka calls it, in aiokafka's spelling."""
    return _NAMES.get(code) or str(for_code(code).__name__)


def is_not_allowed(cause: BaseException) -> bool:
    """Whether an error of aiokafka says that this user may not."""
    return getattr(cause, "errno", None) in NOT_ALLOWED


def for_now(cause: BaseException, text: str) -> Retriable:
    """An error that passes, or one that an operator must end: both are tried again."""
    return NotAllowed(text) if is_not_allowed(cause) else Retriable(text)


def translated(cause: KafkaError, doing: str) -> Retriable | Fatal:
    """What an error of aiokafka means for the caller."""
    text = f"{doing}: {cause!r}"
    return for_now(cause, text) if cause.retriable or is_not_allowed(cause) else Fatal(text)
