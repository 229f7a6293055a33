"""The reservation role beside the original's event and ticket roles: none of their records is decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.support.records import area_status, create_reservation, success
from tests.support.registry import registry_of_tests
from ticketmaster.broker.port import Pair
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.lives import RESERVATIONS
from ticketmaster.reservation.processor import ReservationProcessor
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.incoming import Incoming
from ticketmaster.wire.registry import SCHEMA_IDS, frame
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry

BATCH, BATCHES = 50, 40


class Beside:
    """A task of the role, fed as its consumer feeds it: translated, then worked off."""

    def __init__(self, incoming: Incoming, ids: dict[str, int]) -> None:
        self._incoming = incoming
        self._ids = ids

    def _theirs(self, record: str, value: bytes) -> bytes:
        return frame(self._ids[record]) + value[FRAME_BYTES:]

    def decide(self) -> int:
        """How many reservations are decided of a sale: a status a batch for the filter, as many commands and results."""
        status = self._theirs("AreaStatus", area_status(20, 20))
        create = self._theirs("CreateReservation", create_reservation())
        keys = [str(UUID(int=number)).encode() for number in range(BATCH * BATCHES)]
        results = [self._theirs("ReservationResult", success(key.decode(), [(0, 1)])) for key in keys]
        areas = AreaCache(1, lambda: True)
        processor, overlays = ReservationProcessor(0, 1, areas), Overlays(MemoryStores(), (RESERVATIONS,))
        decided = 0
        for at in range(0, len(keys), BATCH):
            areas.apply(self._translated(topics.AREA_STATUS, [(b"show#A", status)]))
            outputs = Outputs()
            commands: list[Pair] = [(key, create) for key in keys[at : at + BATCH]]
            processor.process(topics.CREATE_RESERVATION.name, self._translated(topics.CREATE_RESERVATION, commands), overlays, outputs)
            answers: list[Pair] = list(zip(keys[at : at + BATCH], results[at : at + BATCH], strict=True))
            processor.process(topics.RESERVATION_RESULT.name, self._translated(topics.RESERVATION_RESULT, answers), overlays, outputs)
            overlays[RESERVATIONS].commit(at + BATCH)
            decided += outputs.outcomes[""]
        return decided

    def _translated(self, topic: topics.Topic, records: list[Pair]) -> list[Pair]:
        found = self._incoming.try_translate(topic.name, records)
        assert found is not None
        return list(found)


@pytest.fixture
async def incoming() -> AsyncIterator[tuple[Incoming, dict[str, int]]]:
    with registry_of_tests(first_id=101) as registry:
        ids = registry.put_original()
        async with SchemaRegistry(RegistrySettings(url=registry.url)) as client:
            incoming = Incoming(client, SCHEMA_IDS, lambda *_: pytest.fail("it is there"))
            for topic in (topics.AREA_STATUS, topics.CREATE_RESERVATION, topics.RESERVATION_RESULT):
                await incoming.translate(topic.name, [(b"k", frame(ids[topic.record]))])
            yield incoming, ids


async def test_of_the_originals_records_none_is_decoded(incoming: tuple[Incoming, dict[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    translator, theirs = incoming
    monkeypatch.setattr("fastavro.schemaless_reader", lambda *_: pytest.fail("a record was decoded, which costs hundreds of times as much"))

    assert Beside(translator, theirs).decide() == BATCH * BATCHES
