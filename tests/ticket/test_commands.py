"""Commands on their way to the log: answered when the log has them, refused with a reason that is told when it has not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
import structlog

from ticketmaster.broker.port import NO_RECORD_HEADERS, Headers, Pair, RecordHeaders, TopicPartition
from ticketmaster.errors import Fatal, Refused, Retriable, TicketmasterError
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.pace import Pace
from ticketmaster.telemetry.logs import LogObserver
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket import problems
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.problems import Headers as HttpHeaders

SOURCE = TopicPartition("commands", 3)
TRACED: Headers = [("traceparent", b"00-1-1-01")]


class Log:
    """Keeps what it is sent, or fails."""

    def __init__(self, failure: TicketmasterError | None = None) -> None:
        self.failure = failure
        self.sent: list[tuple[dict[TopicPartition, list[Pair]], dict[TopicPartition, dict[int, Headers]]]] = []
        # Partitions whose writes take until these are set.
        self.slow: dict[TopicPartition, asyncio.Event] = {}

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        if isinstance(self.failure, Fatal):
            raise self.failure
        for source in records:
            if source in self.slow:
                await self.slow[source].wait()
                return {source: Retriable("no leader")}
        if self.failure:
            return dict.fromkeys(records, self.failure)
        self.sent.append(
            (
                {source: list(pairs) for source, pairs in records.items()},
                {source: dict(placed) for source, placed in headers.items()},
            )
        )
        return {}


class Client:
    """Keeps its answer."""

    answer: tuple[int, bytes] = (0, b"")

    def response_bytes(self, status: int, headers: HttpHeaders, body: bytes) -> None:
        self.answer = status, body


async def test_what_was_added_goes_as_one_write_and_each_client_gets_its_id() -> None:
    log = Log()
    commands, clients = Commands(log, Observer()), [Client(), Client(), Client()]
    for number, client in enumerate(clients):
        commands.add(SOURCE, b"%d" % number, b"command", client, TRACED if number == 1 else [])
    assert commands.in_flight == 3

    await commands.hand_over(Pace(0))

    assert log.sent == [({SOURCE: [(b"0", b"command"), (b"1", b"command"), (b"2", b"command")]}, {SOURCE: {1: TRACED}})]
    assert [client.answer for client in clients] == [(200, b"0"), (200, b"1"), (200, b"2")]
    assert commands.in_flight == 0


async def test_commands_that_are_not_acknowledged_are_refused_and_the_reason_is_logged_once() -> None:
    commands, clients = Commands(Log(Retriable("no permission")), LogObserver()), [Client(), Client(), Client()]
    with structlog.testing.capture_logs() as lines:
        for client in clients:
            commands.add(SOURCE, b"1", b"command", client)
            await commands.hand_over(Pace(0))

    assert [client.answer[0] for client in clients] == [503, 503, 503]
    assert lines == [{"event": "commands_not_acknowledged", "reason": "no permission", "log_level": "warning"}]
    assert commands.in_flight == 0


async def test_a_log_that_is_gone_ends_the_work_and_says_why_by_itself() -> None:
    commands, client = Commands(Log(Fatal("the disk is full")), LogObserver()), Client()
    commands.add(SOURCE, b"1", b"command", client)

    with pytest.raises(Fatal), structlog.testing.capture_logs() as lines:
        await commands.hand_over(Pace(0))

    assert client.answer[0] == 503
    assert lines == []


def test_a_sick_partition_holds_up_nobody_else_and_its_own_clients_are_refused_in_the_end() -> None:
    async def main() -> None:
        log, sick, clock = Log(), list[TopicPartition](), asyncio.get_running_loop().time
        log.slow[SOURCE] = asyncio.Event()
        commands, well = Commands(log, Observer(), sick.append), SOURCE._replace(partition=4)
        job = asyncio.create_task(forever(commands))
        affected = [Client(), Client()]
        commands.add(SOURCE, b"1", b"command", affected[0])
        for number in range(100):
            client = Client()
            commands.add(well, b"%d" % number, b"command", client)
            since = clock()
            while not client.answer[0]:
                await asyncio.sleep(0.001)
            assert client.answer[0] == 200
            # The first time, before it is known, all wait for each other for a moment.
            assert clock() - since < 0.1 if number == 0 else 0.01
            await asyncio.sleep(0.02)
        commands.add(SOURCE, b"2", b"command", affected[1])
        await asyncio.sleep(0.1)
        assert sick
        assert set(sick) == {SOURCE}
        assert [client.answer for client in affected] == [(0, b"")] * 2
        assert commands.in_flight == 2

        log.slow[SOURCE].set()
        await asyncio.sleep(1)
        assert [client.answer[0] for client in affected] == [503, 503]
        assert commands.in_flight == 0
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    run_virtual(main())


async def forever(commands: Commands) -> None:
    while True:
        await commands.hand_over(Pace(0))


async def test_only_those_whose_commands_are_too_large_for_good_are_told_so() -> None:
    log = Log(Refused("too large: max.message.bytes", SOURCE, (b"2",)))
    sick: list[TopicPartition] = []
    commands, clients = Commands(log, Observer(), sick.append), [Client(), Client(), Client()]
    for number, client in enumerate(clients):
        commands.add(SOURCE, b"%d" % (number + 1), b"command", client)

    await commands.hand_over(Pace(0))

    assert [client.answer[0] for client in clients] == [200, 413, 200]
    assert not sick


@pytest.mark.parametrize("how", ["cancelled", "given up"])
@pytest.mark.parametrize("turns", [1, 2, 3, 10])
async def test_when_the_work_ends_whoever_waits_for_a_write_is_told_that_its_outcome_is_unknown(how: str, turns: int) -> None:
    log, client = Log(), Client()
    log.slow[SOURCE] = asyncio.Event()
    commands = Commands(log, Observer())
    job = asyncio.create_task(forever(commands))
    commands.add(SOURCE, b"1", b"command", client)
    # As soon as it has left, or later.
    for _ in range(turns):
        await asyncio.sleep(0)

    if how == "given up":
        await commands.give_up(problems.SHUTTING_DOWN)
        await asyncio.sleep(0.01)
        assert b"log_unavailable" in client.answer[1] or turns < 3
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    # Of those that had not left.
    await commands.give_up(problems.SHUTTING_DOWN)

    assert client.answer[0] == 503
    assert commands.in_flight == 0
