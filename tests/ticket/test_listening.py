"""Sockets that listen: one port, taken once, by nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.sockets import accepted
from ticketmaster.errors import UsageError
from ticketmaster.ticket.listening import is_listening, listeners, stop_listening

HOST = "127.0.0.1"


@contextmanager
def opened(count: int, port: int = 0) -> Iterator[tuple[list[socket.socket], int]]:
    """Sockets on one port, and the port."""
    with ExitStack() as stack:
        found = [stack.enter_context(one) for one in listeners(HOST, port, count)]
        for one in found:
            one.settimeout(0)
        yield found, found[0].getsockname()[1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_port_is_taken_by_as_many_sockets_as_are_asked_for_and_by_nobody_else(count: int) -> None:
    with opened(count) as (found, port):
        assert [one.getsockname()[1] for one in found] == [port] * count
        for others in (1, 2):
            with pytest.raises(UsageError, match=rf"can't listen on {HOST}:{port}: .*in use; choose another port"):
                listeners(HOST, port, others)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shares", [False, True])
def test_a_port_that_another_program_listens_on_is_not_shared_with_it(count: int, *, shares: bool) -> None:
    with socket.socket() as foreign:
        if shares:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        foreign.bind((HOST, 0))
        foreign.listen()
        with pytest.raises(UsageError, match="in use"):
            listeners(HOST, foreign.getsockname()[1], count)


def test_connections_are_dealt_out_evenly() -> None:
    with opened(2) as (found, port), ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((HOST, port), 5))
        counts = [accepted(one) for one in found]
    assert sum(counts) == 200
    assert min(counts) > 50


def test_a_socket_that_stops_listening_gets_no_connections_until_it_listens_again() -> None:
    with opened(2) as (found, port), ExitStack() as stack:

        def connections() -> list[int]:
            for _ in range(50):
                stack.enter_context(socket.create_connection((HOST, port), 5))
            return [accepted(one) for one in found]

        assert is_listening(found[0])
        stop_listening(found[0])
        assert not is_listening(found[0])
        assert connections() == [0, 50]
        found[0].listen(100)
        assert is_listening(found[0])
        assert min(connections()) > 5


def test_a_port_is_free_again_when_its_sockets_are_closed_though_connections_linger() -> None:
    with opened(2) as (found, port), socket.create_connection((HOST, port), 5) as client:
        # The server's end is closed first, and lingers.
        assert sum(accepted(one) for one in found) == 1
        assert client.recv(1) == b""
    with opened(1, port) as (_, again):
        assert again == port


@pytest.mark.parametrize("address", ["no.such.name.invalid", "a..b", "192.0.2.1", "x" * 64])
def test_an_address_that_is_none_of_this_machine_is_one_clear_line(address: str) -> None:
    with pytest.raises(UsageError, match=rf"can't listen on {address}:0: \S") as refused:
        listeners(address, 0)
    assert "\n" not in str(refused.value)


def test_connections_do_not_wait_for_more_to_send() -> None:
    with opened(1) as ((one,), port), socket.create_connection((HOST, port), 5):
        one.settimeout(5)
        connection, _ = one.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
