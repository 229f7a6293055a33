"""Fetch requests and answers by hand, held against aiokafka's own structures."""

from __future__ import annotations

import random
import struct
from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11

from ticketmaster.broker.kafka.fetching import VERSION, Fetch

TOPICS = [("state.event", [(0, 0, 1 << 20)]), ("größe", [(3, 1 << 40, 5), (19, 7, 5)]), ("none", [])]


@pytest.mark.parametrize(("topics", "rack"), [(TOPICS, ""), (TOPICS, "eu-1b"), ([], "")])
def test_a_request_has_the_bytes_that_aiokafka_gives_it(topics: list[Any], rack: str) -> None:
    theirs = FetchRequest(500, 1, 1 << 25, 1, topics, rack).prepare({1: (0, 20)})

    ours = Fetch(500, 1, 1 << 25, 1, topics, rack)

    assert (ours.API_KEY, ours.API_VERSION, ours.FLEXIBLE_VERSION) == (theirs.API_KEY, theirs.API_VERSION, theirs.FLEXIBLE_VERSION)
    assert ours.encode() == theirs.encode()


def test_an_answer_is_read_as_aiokafka_reads_it() -> None:
    chance = random.Random(1)
    topics = [
        (
            name,
            [
                (number, chance.choice((0, 0, 6)), 70 + number, 60, 2, [(9, 8)] * chance.randrange(3), -1, chance.randbytes(number * 9))
                for number in range(count)
            ],
        )
        for name, count in (("state.event", 1), ("größe", 20), ("none", 0))
    ]
    answer = FetchResponse_v11(0, 0, 0, topics).encode()

    ours = Fetch(500, 1, 1, 1, [], "").answer(struct.pack(">i", 77) + answer)

    assert ours == topics == FetchResponse_v11.decode(BytesIO(answer)).topics
    assert Fetch.API_VERSION == FetchResponse_v11.API_VERSION == VERSION


def test_what_a_broker_leaves_out_is_empty() -> None:
    answer = FetchResponse_v11(0, 0, 0, [("t", [(0, 3, -1, -1, -1, None, -1, None)])]).encode()

    ours = Fetch(500, 1, 1, 1, [], "").answer(struct.pack(">i", 77) + answer)

    assert ours == [("t", [(0, 3, -1, -1, -1, [], -1, b"")])]


def test_an_answer_that_breaks_off_is_not_read() -> None:
    answer = struct.pack(">i", 77) + FetchResponse_v11(0, 0, 0, [("t", [(0, 0, 1, 1, 0, [], -1, b"")])]).encode()

    with pytest.raises(struct.error):
        Fetch(500, 1, 1, 1, [], "").answer(answer[:-6])
