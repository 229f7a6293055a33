"""The requests of a transaction by hand, held against their descriptions field by field."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ticketmaster.broker.kafka import compact, protocol
from ticketmaster.broker.kafka.batches import EncodedBatch, Identity
from ticketmaster.broker.kafka.protocol import NewerRequests, Written
from ticketmaster.broker.port import TopicPartition

NUMBER = struct.pack(">i", 77) + b"\x00"
SOURCES = [TopicPartition("state.user.reservation", 0), TopicPartition("state.user.reservation", 19), TopicPartition("größe" * 40, 3)]
REQUESTS = NewerRequests()
BATCHES = [EncodedBatch(source, 1, bytes(size)) for source, size in zip(SOURCES, (100, 20_000, 0), strict=True)]


@pytest.mark.parametrize(
    "request_",
    [
        REQUESTS.produce("reservation-service-0", BATCHES, 2_500),
        REQUESTS.commit_offsets("reservation-service-0", Identity(1 << 40, 7), "reservation-service", dict.fromkeys(SOURCES, 1 << 33)),
        REQUESTS.commit_offsets("t" * 200, Identity(1, 0), "g", {}),
        REQUESTS.end("reservation-service-0", Identity(1 << 40, 7), commits=True),
        REQUESTS.end("reservation-service-0", Identity(1 << 40, 7), commits=False),
    ],
)
def test_a_request_has_the_bytes_of_its_description(request_: Any) -> None:  # noqa: ANN401
    assert request_.encode() == request_.SCHEMA.encode([request_.__dict__[name] for name in request_.SCHEMA.names])


def taken(partition: int, code: int = 0, message: str | None = None, errors: tuple[Any, ...] = ()) -> Any:  # noqa: ANN401
    return partition, code, 55, 66, 0, list(errors), message, {}


@pytest.mark.parametrize(
    ("topics", "by_hand"),
    [
        ([("state.event", [taken(0), taken(19)], {}), ("t", [taken(3)], {})], True),
        ([], True),
        ([("t", [taken(0, 87, "no")], {})], False),
        ([("t", [taken(0, 0, None, ((1, "no", {}),))], {})], False),
        ([("t", [taken(0, 3)], {})], False),
        ([("größe" * 40, [taken(0)], {})], False),
    ],
)
def test_an_answer_about_records_is_read_as_described(topics: list[Any], by_hand: bool) -> None:  # noqa: FBT001
    frame = NUMBER + protocol.ProduceResponseV12(topics, 0, {}).encode()

    answer = REQUESTS.produce("t", [], 1).answer(frame)

    assert (type(answer) is compact.Topics) == by_hand
    assert protocol.written(answer) == {
        TopicPartition(topic, partition): Written(code, offset, (message or "") if code else "")
        for topic, partitions, _ in topics
        for partition, code, offset, _, _, _, message, _ in partitions
    }


@pytest.mark.parametrize(("codes", "first"), [((0, 0), 0), ((), 0), ((0, 16), 16), ((55, 27), 27)])
def test_an_answer_about_offsets_is_read_as_described(codes: tuple[int, ...], first: int) -> None:
    topics: list[Any] = [("t", [(number, code, {}) for number, code in enumerate(codes)], {}), ("u", [(0, 0, {})], {})]
    frame = NUMBER + protocol.TxnOffsetCommitResponseV5(0, topics, {}).encode()

    assert protocol.first_code(REQUESTS.commit_offsets("t", Identity(1, 1), "g", {}).answer(frame)) == first


@pytest.mark.parametrize("code", [0, 47])
def test_an_answer_about_an_end_is_read_as_described(code: int) -> None:
    frame = NUMBER + protocol.EndTxnResponseV5(0, code, 1 << 40, 8, {}).encode()
    answer = REQUESTS.end("t", Identity(1, 1), commits=True).answer(frame)

    assert (protocol.code_of(answer), REQUESTS.ended(answer, Identity(1, 1))) == (code, Identity(1 << 40, 8))


@pytest.mark.parametrize("cut", [1, 4])
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (REQUESTS.produce("t", [], 1), protocol.ProduceResponseV12([("t", [taken(0)], {})], 0, {})),
        (REQUESTS.end("t", Identity(1, 1), commits=True), protocol.EndTxnResponseV5(0, 0, 1, 1, {})),
    ],
)
def test_an_answer_with_tags_is_read_as_described(request_: Any, answer: Any, cut: int) -> None:  # noqa: ANN401
    tagged = NUMBER[:-1] + b"\x01\x05\x01\x00" + answer.encode()

    assert request_.answer(tagged).to_object() == answer.to_object()
    with pytest.raises((ValueError, IndexError, struct.error)):
        request_.answer((NUMBER + answer.encode())[: -8 * cut])
