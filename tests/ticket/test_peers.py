"""Asking other processes, over real connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged, RequestReceived, StreamReset
from h2.settings import SettingCodes

from tests.support.consuming import until
from ticketmaster.ticket.peers import Peers

KEYS = [b"key-%d" % number for number in range(300)]


class _Side(asyncio.Protocol):
    """The peer's end of one connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.asked: list[tuple[int, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.peer.sides.append(self)
        self.http.initiate_connection()
        self.http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.peer.streams_max})
        transport.write(self.http.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.http.receive_data(data):
            if isinstance(event, RequestReceived):
                path = dict(event.headers or ())[b":path"]
                assert path.startswith(b"/internal/v1/reservation/")
                self.asked.append((event.stream_id or 0, path.rpartition(b"/")[2]))
                self.peer.most_at_once = max(self.peer.most_at_once, len(self.asked))
            elif isinstance(event, StreamReset):
                self.asked = [(number, key) for number, key in self.asked if number != event.stream_id]
                self.peer.resets += 1
            else:
                assert not isinstance(event, RemoteSettingsChanged) or event.changed_settings
        self.transport.write(self.http.data_to_send())
        if self.peer.answers_at_once:
            self.answer()

    def answer(self, status: int = 200, body: Callable[[bytes], bytes] = bytes.upper) -> None:
        """Answers all that is asked, in any order."""
        asked, self.asked = self.asked, []
        random.Random(7).shuffle(asked)
        for number, key in asked:
            self.http.send_headers(number, [(b":status", b"%d" % status)])
            self.http.send_data(number, body(key), end_stream=True)
        self.transport.write(self.http.data_to_send())


class Peer:
    """Another process, which answers when the test says so."""

    def __init__(self) -> None:
        self.sides: list[_Side] = []
        self.streams_max = 20_000
        self.answers_at_once = False
        self.most_at_once = 0
        self.resets = 0

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: _Side(self), "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    @property
    def asked(self) -> list[bytes]:
        return [key for side in self.sides for _, key in side.asked]


class Told:
    """What the asker was told."""

    def __init__(self) -> None:
        self.answers: dict[bytes, tuple[int, bytes]] = {}
        self.failures: list[bytes] = []

    def on_answer(self, key: bytes, status: int, body: bytes, _traceparent: bytes) -> None:
        assert key not in self.answers
        self.answers[key] = (status, body)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.listen()
    yield peer
    peer.server.close()
    for side in peer.sides:
        side.transport.abort()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def peers(told: Told) -> AsyncIterator[Peers]:
    peers = Peers(told.on_answer, told.failures.append, 10_000)
    yield peers
    peers.close()


def ask_all(peers: Peers, peer: Peer) -> None:
    for key in KEYS:
        peers.ask(peer.address, key)


async def test_many_are_asked_on_one_connection_and_answered_in_any_order(peer: Peer, peers: Peers, told: Told) -> None:
    ask_all(peers, peer)
    assert (told.answers, told.failures) == ({}, [])
    await until(lambda: len(peer.asked) == len(KEYS), "all are asked")
    peer.sides[0].answer()
    await until(lambda: len(told.answers) == len(KEYS), "all are answered")

    assert told.answers == {key: (200, key.upper()) for key in KEYS}
    assert told.failures == []
    assert len(peer.sides) == 1


async def test_no_more_are_asked_at_once_than_the_peer_allows(peer: Peer, peers: Peers, told: Told) -> None:
    peer.streams_max = 10
    peers.ask(peer.address, b"first")
    await until(lambda: peer.asked == [b"first"], "the limit is known")
    peer.answers_at_once = True
    ask_all(peers, peer)
    peer.sides[0].answer()

    await until(lambda: len(told.answers) == len(KEYS) + 1, "all are answered")
    assert peer.most_at_once <= 10


async def test_a_lost_connection_fails_what_was_under_way_and_the_next_ask_connects_anew(peer: Peer, peers: Peers, told: Told) -> None:
    ask_all(peers, peer)
    await until(lambda: len(peer.asked) == len(KEYS), "all are asked")
    peer.sides[0].asked, rest = peer.sides[0].asked[:100], peer.sides[0].asked[100:]
    peer.sides[0].answer()
    await until(lambda: len(told.answers) == 100, "some are answered")
    peer.sides[0].transport.abort()

    await until(lambda: len(told.failures) == len(rest), "the others have failed")
    assert sorted(told.failures) == sorted(key for _, key in rest)
    peer.answers_at_once = True
    peers.ask(peer.address, b"again")
    await until(lambda: b"again" in told.answers, "it is answered")
    assert len(peer.sides) == 2


async def test_a_status_is_told_as_it_came(peer: Peer, peers: Peers, told: Told) -> None:
    peers.ask(peer.address, b"key")
    await until(lambda: peer.asked == [b"key"], "it is asked")
    peer.sides[0].answer(503)

    await until(lambda: told.answers == {b"key": (503, b"KEY")}, "it is answered")


async def test_a_process_that_is_not_there_fails_soon_and_not_at_once(peer: Peer, peers: Peers, told: Told) -> None:
    peer.server.close()
    await peer.server.wait_closed()
    peers.ask(peer.address, b"key")
    assert told.failures == []

    await until(lambda: told.failures == [b"key"], "it has failed")
    peers.ask("no such host:1", b"other")
    await until(lambda: told.failures == [b"key", b"other"], "it has failed")


async def test_what_is_not_answered_in_time_fails(peer: Peer, told: Told) -> None:
    peers = Peers(told.on_answer, told.failures.append, 300)
    peers.ask(peer.address, b"key")

    await until(lambda: told.failures == [b"key"], "it has failed")
    await until(lambda: peer.resets == 1, "the peer need not answer any more")
    peers.close()


async def test_an_answer_that_is_too_large_fails(peer: Peer, peers: Peers, told: Told) -> None:
    peers.ask(peer.address, b"key")
    await until(lambda: peer.asked == [b"key"], "it is asked")
    side = peer.sides[0]
    ((number, _),) = side.asked
    side.http.send_headers(number, [(b":status", b"200")])
    for _ in range(70):
        await asyncio.sleep(0.005)
        if peer.resets:
            break
        side.http.send_data(number, bytes(16_000))
        side.transport.write(side.http.data_to_send())

    await until(lambda: told.failures == [b"key"], "it has failed")


async def test_after_the_end_nothing_is_told(peer: Peer, peers: Peers, told: Told) -> None:
    ask_all(peers, peer)
    await until(lambda: len(peer.asked) == len(KEYS), "all are asked")
    peers.close()
    peers.ask(peer.address, b"late")
    await asyncio.sleep(0.05)

    assert (told.answers, told.failures) == ({}, [])
