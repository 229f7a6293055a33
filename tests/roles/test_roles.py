"""Several processes and several workers of each role, on a real Kafka: they find each other, replace each other, and stop for nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.buyers import Buyers
from tests.chaos.fleet import PARTITIONS, READY_S, Fleet, free_port, wait_serving, workers
from tests.process.client import ask
from tests.process.sale import Sale
from tests.process.server import Program, one_clear_line, run, wait_until
from tests.support.consuming import read_records, records_of, take
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics
from tests.support.pipe import piped
from tests.support.records import create_reservation
from ticketmaster.bootstrap.refill import is_decided
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import create_topics
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.domain.life import Life
from ticketmaster.domain.reservation import State
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire.lives import standing, stands
from ticketmaster.wire.registry import frame
from ticketmaster.wire.reservations import failed_at_once, processing
from ticketmaster.wire.topics import (
    AREA_STATUS,
    CREATE_RESERVATION,
    HOLDER_CHANGELOG,
    RESERVATION_RESULT,
    RESERVE_SEAT,
    USER_RESERVATION,
    Topic,
)

BUYERS = 16
# So long a worker may be gone. The supervisor's part is a second at most; the rest is a Python that starts on a busy machine.
REPLACED_S = 10.0


def started(fleet: Fleet, role: str, *options: str) -> Program:
    program = fleet.start(role, *options)
    program.wait_ready_line(READY_S)
    return program


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def sold(fleet: Fleet, sale: Sale, event: str, seconds: float) -> None:
    """A sale of some seconds, whose every answer is then asked of every process."""
    addresses = fleet.addresses()
    await sale.announce(addresses[0], event)
    buyers = Buyers(sale, fleet, BUYERS)
    buying = asyncio.create_task(buyers.buy())
    await asyncio.sleep(seconds)
    async with asyncio.timeout(READY_S):
        while len(buyers.seen_s) <= BUYERS:
            await asyncio.sleep(0.05)
    buyers.stop()
    await buying
    for address in addresses:
        await sale.check(address)


async def check_numbers(address: str, sale: Sale) -> None:
    """The supervisor tells the numbers of all its workers: together they have taken every command that was acknowledged."""
    assert (await ask(address, "GET", "/v1/health_check")).status == 200
    families = text_string_to_metric_families((await ask(address, "GET", "/metrics")).body.decode())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["worker"] for sample in samples} == {"0", "1"}
    taken = {"method": "POST", "route": "/v1/event/{eventId}/reservation", "status": "200"}
    assert sum(sample.value for sample in samples if taken.items() <= sample.labels.items()) == len(sale.answered)
    partitions = [sample.value for sample in samples if sample.name == "ticketmaster_partitions"]
    assert sum(partitions) == PARTITIONS


def events(name: str) -> str:
    return f"{name}-{time.time_ns()}"


async def test_every_process_answers_for_all_of_them(fleet: Fleet) -> None:
    fleet.start_all(2)
    sale = Sale(1, areas=4)

    assert len(set(fleet.addresses())) == 2
    await sold(fleet, sale, events("pairs"), 3)

    # One of two goes, in order: what it held is answered by the other.
    await asyncio.to_thread(fleet.stop, "ticket")
    await sale.check(*fleet.addresses())
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def test_workers_share_a_port_and_a_killed_one_is_replaced(fleet: Fleet) -> None:
    operators = free_port()
    ticket, reservation, event = (
        started(fleet, "ticket", "-a", "2", "--metrics-port", str(operators)),
        started(fleet, "reservation", "--workers", "2"),
        started(fleet, "event", "--workers", "2"),
    )
    assert [len(workers(program)) for program in (ticket, reservation, event)] == [2, 2, 2]
    sale = Sale(2, areas=4)
    await sold(fleet, sale, events("workers"), 2)
    await check_numbers(f"127.0.0.1:{operators}", sale)

    for program in (event, reservation, ticket):
        before = workers(program)
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(REPLACED_S):
            while len(set(workers(program)) - set(before)) != 1 or len(workers(program)) != 2:
                await asyncio.sleep(0.02)
        await sold(fleet, sale, events("killed"), 3)
        assert before[1] in workers(program), "the other worker goes on"
    # Its supervisor has left the group for it: nobody waited for a session to end, which would be told.
    assert fleet.logged("left_to_its_session_timeout") == []
    assert len(fleet.logged("worker_died")) == 3

    # With a supervisor its workers end, too.
    orphans = workers(ticket)
    ticket.kill()
    async with asyncio.timeout(READY_S):
        while any(is_running(pid) for pid in orphans):
            await asyncio.sleep(0.05)
    fleet.running["ticket"].remove(ticket)
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def test_a_role_waits_for_a_broker_and_goes_on_when_it_is_there(fleet: Fleet, own_cluster: Cluster, unused_tcp_port: int) -> None:
    fleet.config.write_text(f"bootstrap.servers=127.0.0.1:{unused_tcp_port}\nschema.registry.url={own_cluster.registry_url}\n")
    event = fleet.start("event")
    await asyncio.to_thread(wait_until, lambda: event.logged("waiting_for_kafka") is not None, "it waits")

    async with piped(own_cluster.bootstrap_servers, unused_tcp_port):
        await asyncio.to_thread(event.wait_ready_line, READY_S)

    assert len(fleet.logged("waiting_for_kafka")) == 1
    await asyncio.to_thread(fleet.stop_all)


# --- Records that nobody can read --------------------------------------------------------------------------------------------

BAD: list[Pair] = [
    (b"a", b"no frame at all"),
    (b"b", b""),
    (b"c", frame(999_999) + b"x"),
    (b"d", frame(1)),
    (b"", b"\x00\xff"),
    (b"\xff\xfe", b"\xff" * 100),
]
# Tombstones are no poison: a command that was taken back, a result of nothing.
HARMLESS: list[Pair] = [(b"018f0000-0000-7000-8000-00000000dead", None)]
READ = (CREATE_RESERVATION.name, RESERVE_SEAT.name, RESERVATION_RESULT.name)


async def dead_letters(broker: KafkaBroker, topic: str, count: int) -> list[dict[str, Any]]:
    """The records of a topic that were put aside, at least ``count`` of them."""
    reader = broker.reader({TopicPartition(dead_letter_topic(topic), number): 0 for number in range(PARTITIONS)})
    try:
        return [json.loads(value) for _, value in records_of(await take(reader, count)) if value is not None]
    finally:
        await reader.stop()


async def test_what_nobody_can_read_is_put_aside_and_stops_nothing(fleet: Fleet, own_cluster: Cluster) -> None:
    fleet.start_all()
    sale = Sale(3, areas=4)
    await sold(fleet, sale, events("before"), 1)
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    try:
        for topic in READ:
            await broker.producer().send(
                {TopicPartition(topic, number % PARTITIONS): [record] for number, record in enumerate(BAD + HARMLESS)}
            )

        await sold(fleet, sale, events("after"), 2)
        for topic in READ:
            letters = await dead_letters(broker, topic, len(BAD))
            found = {letter["value_base64"]: letter for letter in letters}
            for _, value in BAD:
                letter = found[base64.b64encode(value or b"").decode()]
                assert letter["topic"] == topic
                assert letter["reason"]
                assert letter["offset"] >= 0
    finally:
        await broker.close()
    assert fleet.logged("task_restarted") == []
    assert fleet.logged("dead_letter") != []
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def test_without_its_state_a_role_rebuilds_the_same(fleet: Fleet) -> None:
    fleet.start_all()
    sale = Sale(4, areas=4)
    await sold(fleet, sale, events("wiped"), 3)
    await asyncio.to_thread(fleet.stop_all)
    fleet.state.rename(fleet.folder / "gone")

    await asyncio.to_thread(fleet.start_all)
    (address,) = fleet.addresses()
    await sale.check(address)
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def keys_of(cluster: Cluster, topic: Topic) -> set[bytes]:
    """Every key that a topic has."""
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=cluster.bootstrap_servers), SystemClock())
    await broker.start()
    try:
        return {key for source in partitions_of(topic.name, PARTITIONS) for key, _ in await read_records(broker, source)}
    finally:
        await broker.close()


async def test_after_a_system_that_keeps_state_topics_by_time_they_are_refilled_from_the_changelogs(
    fleet: Fleet, own_cluster: Cluster
) -> None:
    fleet.start_all()
    sale = Sale(7, areas=4)
    await sold(fleet, sale, events("taken-over"), 2)

    def topics(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return run("topics", command, "-c", str(fleet.config), *options, cwd=fleet.folder)

    running = await asyncio.to_thread(topics, "refill")
    await asyncio.to_thread(fleet.stop_all)
    fleet.state.rename(fleet.folder / "gone")
    forgotten = [AREA_STATUS.name, USER_RESERVATION.name]
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    try:
        await delete_topics(broker, forgotten)
        await create_topics(broker.admin, [TopicSpec(name, PARTITIONS) for name in forgotten])
    finally:
        await broker.close()

    by_time, holders = await asyncio.to_thread(topics, "refill"), await keys_of(own_cluster, HOLDER_CHANGELOG)
    await asyncio.to_thread(topics, "create")
    refilled = await asyncio.to_thread(topics, "refill", "--json")
    again = await asyncio.to_thread(topics, "refill", "--json")

    one_clear_line(running, ["members", "stop them first"])
    one_clear_line(by_time, ["ticketmaster topics create"])
    found = {result["topic"]: result for result in json.loads(refilled.stdout)}
    assert found[USER_RESERVATION.name]["written"] >= len(sale.answered)
    assert all(found[name]["written"] == found[name]["keys"] > 0 for name in forgotten)
    assert found[USER_RESERVATION.name]["unreadable"] == 0
    # The event role has kept its holders itself: those that are made are of reservations of which it was never asked.
    assert found[HOLDER_CHANGELOG.name]["keys"] > 0
    assert found[HOLDER_CHANGELOG.name]["written"] == len(await keys_of(own_cluster, HOLDER_CHANGELOG) - holders)
    assert not (await keys_of(own_cluster, HOLDER_CHANGELOG) - holders) & await keys_of(own_cluster, RESERVATION_RESULT)
    assert [result["written"] for result in json.loads(again.stdout)] == [0, 0, 0]
    await asyncio.to_thread(fleet.start_all)
    await sale.check(*fleet.addresses())
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


def test_a_reservation_that_is_not_decided_is_not_for_its_state_topic() -> None:
    create = create_reservation()

    assert not is_decided(processing(b"id", create))
    assert is_decided(failed_at_once(b"id", create, "because"))
    # Of the second form, too: what is held, paid or cancelled.
    where = standing(processing(b"id", create))
    for state in (State.RESERVED, State.PAID, State.CANCELLED):
        assert is_decided(stands(processing(b"id", create), where.seats_end, state, b"", Life(change_id=b"c")))


async def test_two_processes_of_a_role_share_one_state_directory(fleet: Fleet) -> None:
    fleet.start_all()
    second = fleet.start("event")
    await asyncio.to_thread(lambda: wait_serving([second]))
    sale = Sale(5, areas=4)
    await sold(fleet, sale, events("shared"), 2)
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def test_a_client_that_asks_any_process_gets_its_decision_by_one_long_poll(fleet: Fleet) -> None:
    fleet.start_all(2)
    event = events("polled")
    sale = Sale(6, areas=1)
    await sale.announce(fleet.addresses()[0], event)
    for turn in range(40):
        minting, asking = (fleet.addresses()[(turn + number) % 2] for number in (0, turn // 2 % 2))
        body = {"userId": "ann", "eventId": event, "areaId": "area-0", "numOfSeats": 1, "type": "RANDOM"}
        reservation_id = (await ask(minting, "POST", f"/v1/event/{event}/reservation", body)).body.decode()

        reply = await ask(asking, "GET", f"/v1/reservation/{reservation_id}")

        assert (reply.status, reply.json["state"]) == (200, "RESERVED")
    await asyncio.to_thread(fleet.stop_all)
