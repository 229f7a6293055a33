"""`ticketmaster topics refill` on topics of any size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from ticketmaster.bootstrap import refill
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.config.roles import Loaded, load_properties
from ticketmaster.errors import TicketmasterError


class Broker:
    """Counts its producers, and what they send."""

    def __init__(self) -> None:
        self.producers = self.records = 0

    def producer(self) -> Broker:
        """As a broker."""
        self.producers += 1
        return self

    async def send(self, records: Mapping[TopicPartition, Sequence[Pair]]) -> Mapping[TopicPartition, TicketmasterError]:
        """As a producer."""
        self.records += sum(map(len, records.values()))
        return {}


async def test_however_many_records_are_missing_one_producer_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, missing = Broker(), 3_500

    @asynccontextmanager
    async def context(_: Loaded) -> AsyncIterator[tuple[Broker, int, None]]:
        yield broker, 2, None

    async def check(*_: object) -> None:
        pass

    async def latest(_broker: Broker, source: TopicPartition, _progress: object) -> Mapping[bytes, bytes]:
        return {b"%d" % key: b"" for key in range(missing)} if source.topic == refill._TABLES[0].changelog.name else {}

    monkeypatch.setattr(refill, "reading_context", context)
    monkeypatch.setattr(refill, "_check", check)
    monkeypatch.setattr(refill, "_latest", latest)
    monkeypatch.setattr(refill, "_TABLES", tuple(table._replace(belongs=lambda _: True) for table in refill._TABLES))

    refilled = await refill._refill(load_properties(None), lambda *_: None)

    assert refilled[0].written == broker.records == 2 * missing
    assert broker.producers == 1
