"""A connection to the run's Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.clock import SystemClock


@pytest.fixture
async def broker(kafka_bootstrap_servers: str) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=kafka_bootstrap_servers), SystemClock())
    await broker.start()
    yield broker
    await broker.close()
