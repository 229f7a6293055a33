"""Commands on their way to the log: answered when the log has them, refused with a reason that is told when it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import structlog

from ticketmaster.broker.port import NO_RECORD_HEADERS, Headers, Pair, RecordHeaders, TopicPartition
from ticketmaster.errors import Fatal, Retriable
from ticketmaster.streams.pace import Pace
from ticketmaster.telemetry.logs import LogObserver
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.problems import Headers as HttpHeaders

SOURCE = TopicPartition("commands", 3)
TRACED: Headers = [("traceparent", b"00-1-1-01")]


class Log:
    """Keeps what it is sent, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.sent: list[tuple[dict[TopicPartition, list[Pair]], dict[TopicPartition, dict[int, Headers]]]] = []

    async def send(self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS) -> None:
        if self.failure:
            raise self.failure
        self.sent.append(
            (
                {source: list(pairs) for source, pairs in records.items()},
                {source: dict(placed) for source, placed in headers.items()},
            )
        )


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
