"""Roles that start where the original has left 18,000 areas: their schema has another id than ours, so that each record gets our frame."""

from __future__ import annotations

import logging
import time

import psutil

from tests.chaos.fleet import ROLES
from tests.process.client import ask
from tests.roles.mix import Mix
from tests.support.golden import GOLDEN_PARTITIONS
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.wire import avro, topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import SCHEMA_IDS, frame

# Shown by pytest with --log-cli-level=INFO.
TOOK = logging.getLogger(__name__)
STATUSES = 18_000
AREAS_OF_AN_EVENT = 1_000
BATCH = 200
# Until a role is healthy it takes so many times less CPU than decoding every status: 1.3 to 2.4 s, measured where that took 7 to 12.
TIMES_LESS = 2
DECODED = 1_000


def status_of_the_original(number: int, schema_id: int) -> Pair:
    event, area = f"event-{number // AREAS_OF_AN_EVENT}", f"area-{number}"
    image = AreaImage.all_free(event.encode(), area.encode(), 100, 20, 20)
    image.take_run(0, 0, 4)
    return f"{event}#{area}".encode(), frame(schema_id) + image.value(396)[FRAME_BYTES:]


def decoding_cpu_s() -> float:
    """What decoding every status takes on this machine."""
    _, value = status_of_the_original(0, SCHEMA_IDS["AreaStatus"])
    began_s = time.process_time()
    for _ in range(DECODED):
        avro.decode("AreaStatus", value or b"")
    return (time.process_time() - began_s) * STATUSES / DECODED


async def left_by_the_original(mix: Mix) -> None:
    """Areas on the topic and in the changelog that the event role restores."""
    producer = mix.broker.producer()
    for start in range(0, STATUSES, BATCH):
        found: dict[TopicPartition, list[Pair]] = {}
        for number in range(start, start + BATCH):
            key, value = status_of_the_original(number, mix.theirs["AreaStatus"])
            for topic in (topics.AREA_STATUS, topics.AREA_CHANGELOG):
                found.setdefault(TopicPartition(topic.name, partition_of(key, GOLDEN_PARTITIONS)), []).append((key, value))
        await producer.send(found)


async def test_each_role_is_soon_healthy_and_has_them_all(mix: Mix) -> None:
    assert mix.theirs["AreaStatus"] != mix.ours["AreaStatus"]
    await left_by_the_original(mix)

    cpu_s_max = decoding_cpu_s() / TIMES_LESS
    for role in ROLES:
        begun_s = time.monotonic()
        program = await mix.started(role)
        took_s, times = time.monotonic() - begun_s, psutil.Process(program.pid).cpu_times()
        TOOK.info("%s is healthy after %.1f s and %.2f s of CPU (at most %.2f)", role, took_s, times.user + times.system, cpu_s_max)
        assert times.user + times.system <= cpu_s_max

    (address,) = mix.fleet.addresses()
    for number in range(0, STATUSES, AREAS_OF_AN_EVENT):
        event = f"event-{number // AREAS_OF_AN_EVENT}"
        shown = (await ask(address, "GET", f"/v1/event/{event}")).json["areas"]
        assert [area["availableSeats"] for area in shown] == [396] * AREAS_OF_AN_EVENT
        # The event role has it, with the seats that are gone.
        body = {"userId": "ann", "eventId": event, "areaId": f"area-{number}", "numOfSeats": 2, "type": "RANDOM"}
        reservation_id = (await ask(address, "POST", f"/v1/event/{event}/reservation", body)).body.decode()
        decision = (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).json
        assert (decision["state"], decision["seats"]) == ("RESERVED", [{"row": 0, "col": 4}, {"row": 0, "col": 5}])
