"""Peers that are gone without a word, or do what no peer should: each ask ends in time, and the next ones reach a peer that is well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace

import pytest

from tests.e2e.site import site
from tests.support.consuming import until
from tests.support.peer import Peer, Told
from ticketmaster.broker.port import Assignment
from ticketmaster.clock import SystemClock
from ticketmaster.streams.jobs import cancel
from ticketmaster.ticket import peers as module
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.peers import Peers

DEADLINE_MS = 500
# A deadline, or a silence; the looks in between; and what a busy machine takes.
FAILED_WITHIN_S = 1.9
SETTINGS = bytes.fromhex("000000040000000000")
PING = bytes.fromhex("000008060000000000") + bytes(8)

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Misbehave = Callable[[Reader, Writer], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def swallow(reader: Reader, _writer: Writer) -> None:
    while await reader.read(65_536):
        pass


async def read_nothing(_reader: Reader, _writer: Writer) -> None:
    await asyncio.sleep(60)


def say(what: bytes) -> Misbehave:
    async def speak(reader: Reader, writer: Writer) -> None:
        writer.write(what)
        await swallow(reader, writer)

    return speak


def repeat(what: bytes, first: bytes = SETTINGS, pause_s: float = 0.01) -> Misbehave:
    async def speak(_reader: Reader, writer: Writer) -> None:
        writer.write(first)
        while True:
            writer.write(what)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return speak


async def drip(_reader: Reader, writer: Writer) -> None:
    for byte in SETTINGS + frame(1, 4, 1, b"\x88") * 1_000:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def say_random(reader: Reader, writer: Writer) -> None:
    writer.write(SETTINGS + random.Random(id(writer)).randbytes(10_000))
    await swallow(reader, writer)


async def close(_reader: Reader, writer: Writer) -> None:
    writer.close()


# A header field that is a literal of these names and values.
def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


MISBEHAVIOURS: dict[str, Misbehave] = {
    "accepts and is silent": swallow,
    "reads nothing": read_nothing,
    "speaks HTTP/1.1": say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
    "greets and is silent": say(SETTINGS),
    "answers rubbish": say_random,
    "takes no streams": say(frame(4, 0, 0, bytes.fromhex("000300000000"))),
    "says that it lives, and nothing else": repeat(PING),
    "goes away": say(SETTINGS + frame(7, 0, 0, bytes(8))),
    "answers without a status": say(SETTINGS + frame(1, 5, 1, literal(b"a", b"b"))),
    "answers with a status that is none": say(SETTINGS + frame(1, 5, 1, literal(b":status", b"abc"))),
    "answers what nobody asked": say(SETTINGS + frame(1, 5, 2_001, b"\x88")),
    "never ends its answer": repeat(frame(0, 0, 1, b"x"), SETTINGS + frame(1, 4, 1, b"\x88")),
    "drips": drip,
    "closes at once": close,
}


class TroubledPeer(Peer):
    """Misbehaves on its first connections."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_at_once = True
        self.misbehave: Misbehave | None = None
        self.accepted = 0
        self.writers: list[Writer] = []

    def accept(self) -> asyncio.BaseProtocol:
        self.accepted += 1
        misbehave = self.misbehave
        if misbehave is None:
            return super().accept()

        async def serve(reader: Reader, writer: Writer) -> None:
            self.writers.append(writer)
            # RuntimeError: uvloop's word for a transport that is closed.
            with suppress(ConnectionError, RuntimeError, asyncio.CancelledError):
                await misbehave(reader, writer)

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)

    def close(self) -> None:
        super().close()
        for writer in self.writers:
            writer.transport.abort()


@pytest.fixture
async def peer() -> AsyncIterator[TroubledPeer]:
    peer = TroubledPeer()
    await peer.listen()
    yield peer
    peer.close()


@pytest.fixture
async def peers(told: Told) -> AsyncIterator[Peers]:
    peers = Peers(told.on_answer, told.failures.append, DEADLINE_MS)
    yield peers
    peers.close()


async def test_a_peer_that_is_gone_without_a_word_is_asked_on_a_new_connection(peer: TroubledPeer, peers: Peers, told: Told) -> None:
    peers.ask(peer.address, b"first")
    await until(lambda: b"first" in told.answers, "it is answered")
    # From here on the peer's end takes bytes, and nobody is there: as where a machine is gone, and nothing says so.
    peer.answers_at_once = False
    asked, began = 0, asyncio.get_running_loop().time()
    while peer.accepted == 1:
        # More asks come all the time, and must not prolong it.
        peers.ask(peer.address, b"%d" % asked)
        asked += 1
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began < FAILED_WITHIN_S
    peer.answers_at_once = True

    peers.ask(peer.address, b"last")
    await until(lambda: b"last" in told.answers, "it is answered")
    await until(lambda: len(told.failures) + len(told.answers) == asked + 2, "each is told")
    assert len(set(told.failures)) == len(told.failures)


@pytest.mark.parametrize("how", MISBEHAVIOURS)
async def test_whatever_a_peer_does_asks_fail_in_time_and_the_next_ones_are_answered(
    how: str, peer: TroubledPeer, peers: Peers, told: Told
) -> None:
    loop, peer.misbehave = asyncio.get_running_loop(), MISBEHAVIOURS[how]
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    asked_at_s: dict[bytes, float] = {}

    def ask(key: bytes) -> None:
        asked_at_s[key] = loop.time()
        peers.ask(peer.address, key)

    for number in range(40):
        ask(b"%d" % number)
        await asyncio.sleep(0.05)
        due = {key for key, at_s in asked_at_s.items() if at_s < loop.time() - FAILED_WITHIN_S}
        assert due <= {*told.failures, *told.answers}
    # It was left at least once, and not more often than a peer can bear.
    assert 2 <= peer.accepted <= 20
    assert all(status != 200 for status, _ in told.answers.values())
    peer.misbehave = None
    while not any(key.startswith(b"well") for key in told.answers):
        ask(b"well%d" % len(asked_at_s))
        await asyncio.sleep(0.05)
        assert len(asked_at_s) < 40 + FAILED_WITHIN_S / 0.05

    await until(lambda: {*told.failures, *told.answers} == {*asked_at_s}, "each is told")
    assert len(told.failures) + len(told.answers) == len(asked_at_s)
    assert not reported


class NoTable:
    """Nothing is decided here."""

    def get(self, _partition: int, _key: bytes) -> None:
        return None


@pytest.mark.parametrize("how", ["accepts and is silent", "reads nothing", "says that it lives, and nothing else", "closes at once"])
async def test_a_long_poll_is_answered_though_its_question_went_to_a_dead_connection(how: str, peer: TroubledPeer) -> None:
    peer.misbehave, loop = MISBEHAVIOURS[how], asyncio.get_running_loop()
    answered: list[int] = []
    client = SimpleNamespace(response_bytes=lambda status, _headers, _body: answered.append(status))

    def on_answer(key: bytes, status: int, body: bytes, traceparent: bytes) -> None:
        gateway.on_peer_answer(key, status, body, traceparent)

    def on_failure(key: bytes) -> None:
        gateway.on_peer_failure(key)

    peers = Peers(on_answer, on_failure, DEADLINE_MS)
    gateway = Gateway(NoTable(), NoTable(), Catalog(lambda: True), 1, SystemClock(), TicketLimits(), peers.ask)  # type: ignore[arg-type]
    gateway.on_assigned(Assignment([], 1, {0: peer.address}))
    sweeping = asyncio.create_task(gateway.sweep())
    for number in range(100):
        gateway.get_reservation(f"{number:08x}-0000-7000-8000-000000000000", client)
    await until(lambda: peer.accepted > 0, "it is asked")
    # Another one is there, at the same address, or it is itself again. Nobody tells those who wait for the first one.
    peer.misbehave, began_s = None, loop.time()

    await until(lambda: len(answered) == 100, "all are answered")
    assert set(answered) == {200}
    assert loop.time() - began_s < 2 * FAILED_WITHIN_S
    peers.close()
    await cancel(sweeping)


async def test_a_peer_that_does_not_read_holds_up_a_bounded_number_of_bytes(
    peer: TroubledPeer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.misbehave = repeat(PING, SETTINGS + frame(4, 0, 0, bytes.fromhex("00037fffffff")))
    monkeypatch.setattr(module, "_SILENT_S", 60.0)
    peers = Peers(told.on_answer, told.failures.append, 60_000)
    most = 0
    # More than the sockets of both sides take: what is left waits in this process.
    for number in range(40_000):
        peers.ask(peer.address, b"%0500d" % number)
        if number % 500 == 0:
            await asyncio.sleep(0.001)
            most = max([most, *(link._transport.get_write_buffer_size() for link in peers._links.values() if link._transport)])

    assert 0 < most < 1 << 20
    assert not told.failures
    peers.close()


async def test_a_process_of_ours_that_has_nothing_to_tell_yet_is_not_taken_for_dead(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT_S", 1.0)
    monkeypatch.setattr(module, "_PING_S", 0.25)
    # What nobody knows is waited for as long as a client would.
    async with site(TicketLimits(long_poll_ms=2_500)) as one:
        peers = Peers(told.on_answer, told.failures.append, 10_000)
        peers.ask(one.address, b"00000000-0000-7000-8000-000000000000")
        await until(lambda: bool(told.answers), "it is answered")
        peers.close()

    assert [status for status, _ in told.answers.values()] == [503]
    assert not told.failures


async def test_a_link_of_which_nothing_is_asked_any_more_is_forgotten(
    peer: TroubledPeer, peers: Peers, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.5)
    peers.ask(peer.address, b"key")
    await until(lambda: b"key" in told.answers, "it is answered")

    await until(lambda: not peers._links, "nothing is kept of it")
    assert not told.failures


async def test_nothing_is_kept_of_what_was_answered_or_has_failed(peer: TroubledPeer, peers: Peers, told: Told) -> None:
    asked = 0
    for number in range(20):
        # Some are answered before the next look at the connection, and some never.
        peer.answers_at_once = number % 2 == 0
        for _ in range(50):
            peers.ask(peer.address, b"%d" % asked)
            asked += 1
        await asyncio.sleep(0.05)
    await until(lambda: len(told.answers) + len(told.failures) == asked, "each is told")

    await until(lambda: not any(link._http.streams for link in peers._links.values()), "no stream is left")
    assert not any(link.waiting for link in peers._links.values())
