"""The whole life of a reservation is told, from its command to the seats that it gives back."""

from __future__ import annotations

from tests.audit.test_lives import CANCEL, EXTEND, GIVEN_MS, PAY, REFUND, HeldSale
from ticketmaster.audit.trace import trace
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.port import TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.wire import topics


async def told(sale: HeldSale) -> list[str]:
    """The story of h1 by the topics, without what the reservation role has in its changelog."""
    broker = EmbeddedBroker(MemoryStorage(), SystemClock())
    await broker.start()
    try:
        await broker.create_topics([TopicSpec(topic.name, 1, topic.compacted) for topic in topics.ALL_TOPICS])
        for batch in sorted(sale.batches(), key=lambda batch: (batch.source, batch.next_offset)):
            await broker.producer().send({batch.source: batch.records})
        found = await trace(broker, 1, "h1", lambda _: None)
    finally:
        await broker.close()
    assert (found.event_id, found.area_id) == ("show", "A")
    steps = sorted((step for step in found.steps if "changelog" not in step.at.topic), key=lambda step: (step.at.topic, step.at.offset))
    return [step.text for step in steps]


async def test_a_life_with_a_refund_is_told_to_its_end() -> None:
    sale = HeldSale()
    for number, change in enumerate((EXTEND, PAY, CANCEL, REFUND)):
        sale.make(b"h1", change, GIVEN_MS + number)

    # By topics: commands to areas, changes, commands, answers, decisions.
    assert await told(sale) == [
        "seat (0, 1) to be given back",
        "the area is asked for any 1 adjacent seat",
        "change extend asks to hold the seats for 30 s from now",
        "change pay asks to pay, by p-1",
        "change cancel asks to cancel",
        "change refund asks to cancel, and to refund",
        "ann asks for any 1 adjacent seat in show#A",
        "the area gives seat (0, 1), for 10 s, extended for 60 s at most",
        "RESERVED: seat (0, 1), until 00:16:50.000",
        "RESERVED: seat (0, 1), until 00:17:10.000; after change extend",
        "PAID: seat (0, 1), by p-1; after change pay",
        "PAID: seat (0, 1), by p-1; after change cancel, which was refused: already_paid",
        "CANCELLED: [REFUNDED]: refunded on request; after change refund",
    ]


async def test_a_hold_that_ended_is_told() -> None:
    sale = HeldSale()
    sale.expire(b"h1", [(0, 1)])

    found = await told(sale)

    assert found[0] == "seat (0, 1) to be given back"
    assert found[-1] == "CANCELLED: [HOLD_EXPIRED]: the hold ended before a payment"
