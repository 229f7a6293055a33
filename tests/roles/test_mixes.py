"""One role of ours among roles of the original, on a real Kafka: it works off what they have written, and writes their very bytes.

Theirs are played by the records of a run of the original. The registry has their schemas and ours under ids of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.process.client import ask
from tests.roles.mix import Mix
from tests.support.golden import GOLDEN, golden_records
from ticketmaster.broker.port import Pair
from ticketmaster.wire import avro, topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import SCHEMA_IDS

AT_CACHE_LEVEL = "request rejected at cache level"


def bodies(records: Iterable[Pair]) -> dict[bytes, bytes]:
    """The last value of each key, without its frame."""
    return {key: value[FRAME_BYTES:] for key, value in records if value}


def bodies_of(records: Iterable[Pair]) -> list[bytes]:
    """Every value, without its frame."""
    return [value[FRAME_BYTES:] for _, value in records if value]


def golden_bodies(topic: topics.Topic) -> dict[bytes, bytes]:
    return bodies(pair for _, pair in golden_records(topic.name, 0))


async def test_our_event_role_among_theirs(mix: Mix) -> None:
    await mix.started("event")
    await mix.write(topics.CREATE_EVENT)
    await mix.written(topics.AREA_STATUS, 2)
    asked = await mix.write(topics.RESERVE_SEAT)

    answers = await mix.written(topics.RESERVATION_RESULT, asked)

    assert bodies(answers) == golden_bodies(topics.RESERVATION_RESULT)
    assert bodies(await mix.written(topics.AREA_STATUS, 3)) == golden_bodies(topics.AREA_STATUS)
    assert bodies(await mix.written(topics.AREA_CHANGELOG, 3)) == golden_bodies(topics.AREA_CHANGELOG)


async def test_our_reservation_role_among_theirs(mix: Mix) -> None:
    questions = {avro.decode("ReserveSeat", value)["reservationId"] for value in framed(topics.RESERVE_SEAT)}
    decisions = golden_bodies(topics.USER_RESERVATION)
    filtered = {key.decode() for key, body in decisions.items() if AT_CACHE_LEVEL.encode() in body}
    others = {key.decode() for key in decisions} - filtered
    assert questions <= others
    assert filtered

    # Before any status: whatever the area must decide, it is asked.
    await mix.started("reservation")
    await mix.write(topics.CREATE_RESERVATION, others)
    asked = await mix.written(topics.RESERVE_SEAT, len(questions))
    assert sorted(value[FRAME_BYTES:] for _, value in asked if value) == sorted(
        value[FRAME_BYTES:] for value in framed(topics.RESERVE_SEAT)
    )
    await mix.write(topics.RESERVATION_RESULT)
    decided = bodies(await mix.written(topics.USER_RESERVATION, len(others)))
    await asyncio.to_thread(mix.fleet.stop, "reservation")

    # With the statuses at the end of the sale the rest needs no area.
    await mix.write(topics.AREA_STATUS)
    await mix.started("reservation")
    await mix.write(topics.CREATE_RESERVATION, filtered)

    assert decided == {key: body for key, body in decisions.items() if key.decode() in others}
    assert bodies(await mix.written(topics.USER_RESERVATION, len(decisions))) == decisions
    assert len(await mix.written(topics.RESERVE_SEAT, len(questions))) == len(questions)


async def test_our_ticket_role_among_theirs(mix: Mix) -> None:
    await mix.write(topics.AREA_STATUS)
    await mix.write(topics.USER_RESERVATION)
    await mix.started("ticket")
    (address,) = mix.fleet.addresses()

    for exchange in GOLDEN["http"]:
        if exchange["path"].startswith("/v1/reservation/"):
            reply = await ask(address, "GET", exchange["path"])
            assert (reply.status, reply.body.decode()) == (exchange["status"], exchange["response"])
    shown = {area["areaId"]: area["availableSeats"] for area in (await ask(address, "GET", "/v1/event/golden")).json["areas"]}
    last = {avro.decode("AreaStatus", value)["areaId"]: avro.decode("AreaStatus", value) for value in framed(topics.AREA_STATUS)}
    assert shown == {area_id: status["availableSeats"] for area_id, status in last.items()}

    body = {"userId": "late", "eventId": "golden", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
    reservation_id = (await ask(address, "POST", "/v1/event/golden/reservation", body)).body
    ((key, _),) = await mix.written(topics.CREATE_RESERVATION, 1)
    assert key == reservation_id


def framed(topic: topics.Topic) -> list[bytes]:
    """The values of a golden topic, framed as the tests' codec wants them."""
    return [value for _, (_, value) in golden_records(topic.name, SCHEMA_IDS[topic.record]) if value]
