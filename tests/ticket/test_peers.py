"""Asking other processes, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.consuming import until
from tests.support.peer import Peer, Told
from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.peers import Peers

KEYS = [b"key-%d" % number for number in range(300)]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.listen()
    yield peer
    peer.close()


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


def post_of(size: int) -> Post:
    return Post(b"some/change", b"\xa5" * size, [("traceparent", b"00-1-1-01")])


@pytest.mark.parametrize("size", [1, 7, 16_384, 16_385, 60_000])
async def test_a_post_has_its_body_and_is_told_by_its_own_name(size: int, peer: Peer, peers: Peers, told: Told) -> None:
    peers.ask(peer.address, b"key")
    peers.ask(peer.address, b"name", post_of(size))
    await until(lambda: len(peer.bodies.get(b"some/change", b"")) == size, "all of it is there")
    peer.sides[0].answer(body=lambda key: key)

    await until(lambda: len(told.answers) == 2, "both are answered")
    assert told.answers == {b"key": (200, b"key"), b"name": (200, b"change")}
    assert peer.traceparents == {b"some/change": b"00-1-1-01"}


async def test_posts_wait_until_the_peer_takes_more(peer: Peer, peers: Peers, told: Told) -> None:
    for number in range(10):
        peers.ask(peer.address, b"name-%d" % number, Post(b"%d/change" % number, b"x" * 20_000, []))
    await until(lambda: len(peer.bodies) == 10, "all have come")
    peer.sides[0].answer()

    await until(lambda: len(told.answers) == 10, "all are answered")
    assert {len(body) for body in peer.bodies.values()} == {20_000}


async def test_a_post_that_the_peer_never_takes_in_one_piece_fails_and_holds_up_nobody(peer: Peer, peers: Peers, told: Told) -> None:
    peers.ask(peer.address, b"large", post_of(70_000))
    peers.ask(peer.address, b"key")
    await until(lambda: peer.asked == [b"key"], "the other one is asked")

    await until(lambda: told.failures == [b"large"], "it has failed")
