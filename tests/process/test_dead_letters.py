"""A record that nobody can read is put aside in one process, too, and stops nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.process.sale import Sale
from tests.process.server import serving
from tests.support.consuming import committed, read_records
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire import topics

COMMANDS = TopicPartition(topics.RESERVE_SEAT.name, 0)
LETTERS = TopicPartition(dead_letter_topic(topics.RESERVE_SEAT.name), 0)


@asynccontextmanager
async def log_of(directory: Path) -> AsyncIterator[EmbeddedBroker]:
    """The log of a process that has ended."""
    broker = EmbeddedBroker(SqliteStorage(directory / "log.db"), SystemClock())
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()


async def spoil(directory: Path) -> None:
    """Somebody writes what is no command."""
    async with log_of(directory) as broker:
        await broker.producer().send({COMMANDS: [(b"concert#A", b"rubbish")]})


async def letters(directory: Path) -> tuple[list[dict[str, object]], bool]:
    """The records that were put aside, and whether the role has gone past them."""
    async with log_of(directory) as broker:
        found = [json.loads(value or b"") for _, value in await read_records(broker, LETTERS)]
        end = (await broker.end_offsets([COMMANDS]))[COMMANDS]
        return found, await committed(broker, topics.EVENT_SERVICE, COMMANDS) == end


def test_a_record_that_can_not_be_read_is_put_aside_and_the_sale_goes_on(tmp_path: Path) -> None:
    directory, sale = tmp_path / "data", Sale(1)
    with serving(directory) as (_, address):
        asyncio.run(sale.sell(address, 5))
    asyncio.run(spoil(directory))
    for _ in range(2):
        with serving(directory) as (_, address):
            asyncio.run(sale.sell(address, 5))

    [letter], passed = asyncio.run(letters(directory))
    assert (letter["topic"], letter["partition"], letter["offset"]) == (*COMMANDS, 5)
    assert passed
