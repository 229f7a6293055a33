"""The ticket role as it is put together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest
import structlog

from ticketmaster.bootstrap.ticket import _TellingProducer
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Retriable


@pytest.fixture(autouse=True)
def json_lines() -> Iterator[None]:
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()


class Refusing:
    """A broker that takes nothing."""

    async def send(self, records: Mapping[TopicPartition, Sequence[Pair]]) -> None:
        raise Retriable("no permission")


async def test_commands_that_are_not_acknowledged_are_told_with_the_reason_and_not_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    producer = _TellingProducer(Refusing(), SystemClock())

    for _ in range(3):
        with pytest.raises(Retriable):
            await producer.send({})

    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line == {"event": "commands_not_acknowledged", "reason": "no permission"}
