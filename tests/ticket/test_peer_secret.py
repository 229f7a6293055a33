"""Processes that know each other by a secret, over real connections."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.site import client_of, problem, site
from tests.support.consuming import until
from tests.support.doors import bearing, scope_tokens
from tests.support.peer import Told
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.peersecret import HEADER, read_secrets

SECRET, OTHER = b"a secret of them".replace(b" ", b"-"), b"another-secret-of-them"
ID = b"01a2124a-fc96-7000-8855-0ce95bc3ca78"
LIMITS = TicketLimits(long_poll_ms=50)


@pytest.fixture
async def peers(told: Told) -> AsyncIterator[Peers]:
    peers = Peers(told.on_answer, told.failures.append, 10_000)
    yield peers
    peers.close()


async def status(peers: Peers, told: Told, address: str, post: Post | None = None) -> int:
    """What another process answers."""
    told.answers.clear()
    peers.ask(address, ID, post)
    await until(lambda: bool(told.answers), "it is answered")
    return told.answers[ID][0]


async def test_a_process_that_has_the_secret_is_answered_and_no_other(peers: Peers, told: Told) -> None:
    change = Post(ID + b"/change", b"no change", [])
    async with site(LIMITS, door=Door(scope_tokens(), secrets=(SECRET,))) as one:
        for secret, statuses in ((b"", (404, 404)), (OTHER, (404, 404)), (SECRET, (503, 400))):
            peers.prove_by(secret)
            assert (await status(peers, told, one.address), await status(peers, told, one.address, change)) == statuses


async def test_a_client_never_reaches_what_processes_ask_each_other() -> None:
    async with site(LIMITS, door=Door(scope_tokens(), secrets=(SECRET,))) as one:
        for version in (1, 2):
            async with client_of(one.address, version) as client:
                for headers in ({}, bearing("organiser"), {HEADER: OTHER.decode()}, {HEADER: ""}, {HEADER: SECRET.decode()[:-1]}):
                    for path in (f"/internal/v1/reservation/{ID.decode()}", "/internal/", "/internal%2Fv1/reservation/x"):
                        assert problem(await client.get(path, headers=headers)) == (404, "no_such_path")
                        assert problem(await client.post(f"{path}/change", headers=headers)) == (404, "no_such_path")


async def test_a_secret_is_changed_without_a_moment_in_which_nobody_is_known(peers: Peers, told: Told) -> None:
    door = Door(secrets=(SECRET,))
    peers.prove_by(SECRET)
    async with site(LIMITS, door=door) as one:
        for accepted, sent in (((SECRET, OTHER), SECRET), ((OTHER, SECRET), SECRET), ((OTHER, SECRET), OTHER), ((OTHER,), OTHER)):
            door.secrets = accepted
            peers.prove_by(sent)
            assert await status(peers, told, one.address) == 503
        peers.prove_by(SECRET)
        assert await status(peers, told, one.address) == 404


async def test_a_port_for_processes_has_nothing_for_clients(peers: Peers, told: Told) -> None:
    async with site(LIMITS, door=Door(only_peers=True)) as one, client_of(one.address, 1) as client:
        assert await status(peers, told, one.address) == 503
        for path in ("/v1/event", "/docs", "/v1/health_check", f"/v1/reservation/{ID.decode()}"):
            assert problem(await client.get(path)) == (404, "no_such_path")


def test_a_secret_is_long_and_visible_and_is_never_shown() -> None:
    assert read_secrets(b"\n" + SECRET + b"\r\n\n" + OTHER) == (SECRET, OTHER)
    for content, number in (
        (b"", 1),
        (b"\n\n", 1),
        (b"short", 1),
        (SECRET + b"\nwith a blank in it", 2),
        (b"\xff" * 20, 1),
        (b"x" * 257, 1),
    ):
        with pytest.raises(ValueError, match=rf"^{number}: ") as broken:
            read_secrets(content)
        assert "short" not in str(broken.value)
