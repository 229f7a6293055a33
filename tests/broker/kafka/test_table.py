"""How fresh a table is on a real Kafka, whose client says nothing of a fetch that fails."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.support.consuming import until
from tests.support.engine import Notes
from tests.support.kafka_proxy import HOLD, KafkaProxy
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import GlobalTable, Unreadable

PARTITIONS = 2
FETCH = 1
SETTINGS = StreamSettings()


@pytest.fixture
async def proxy(broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaProxy]:  # noqa: ARG001 - after it
    """Before the table's reader. The broker's own connections, by which it asks where logs end, are older."""
    proxy = KafkaProxy()
    proxy.install(monkeypatch)
    yield proxy
    await proxy.close()


async def test_a_table_whose_fetch_is_never_answered_is_not_fresh_until_it_has_what_it_missed(
    broker: KafkaBroker, proxy: KafkaProxy
) -> None:
    topic, seen, notes = f"table-{uuid.uuid4().hex}", list[Pair](), Notes()
    await broker.create_topics([TopicSpec(topic, PARTITIONS, compacted=True)])

    def take(records: Sequence[Pair]) -> list[Unreadable]:
        seen.extend(records)
        return []

    table = GlobalTable(broker, topic, PARTITIONS, take, SETTINGS, notes)
    job = asyncio.create_task(table.run())
    try:
        await until(lambda: table.fresh, "fresh")
        proxy.next[FETCH] = HOLD
        await until(lambda: FETCH not in proxy.next, "a fetch is held up")

        await broker.producer().send({TopicPartition(topic, 1): [(b"k", b"v")]})

        await until(lambda: not table.fresh, "not fresh")
        assert (seen, notes.failed_reads) == ([], [])
        # The client gives that fetch up, and connects anew.
        await until(lambda: table.fresh, "fresh again")
        assert seen == [(b"k", b"v")]
    finally:
        await cancel(job)
