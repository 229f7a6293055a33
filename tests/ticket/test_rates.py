"""How many requests a second each may send, of how many it is kept, and who counts as one client."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.ticket.clients import Clients
from ticketmaster.ticket.rates import Rates

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8:1::/48")))


class Lines(dict[str, list[str]]):
    """Headers, each with its lines."""

    def get_all(self, name: str) -> list[str]:
        return self.get(name, [])


def client(peer: str, xff: Sequence[str] = (), forwarded: Sequence[str] = (), proxies: tuple = PROXIES) -> bytes:  # type: ignore[type-arg]
    """Who a request is from."""
    given = {"x-forwarded-for": list(xff), "forwarded": list(forwarded)}
    return Clients(proxies).client_of(peer, Lines({name: lines for name, lines in given.items() if lines}))  # type: ignore[arg-type]


def direct(address: str) -> bytes:
    """Whoever comes from there without a proxy."""
    return client(f"[{address}]:1" if ":" in address else f"{address}:1", proxies=())


@given(st.integers(1, 50), st.lists(st.floats(0, 1), max_size=200))
def test_nobody_sends_more_than_a_second_allows_in_any_second(per_second: int, pauses: list[float]) -> None:
    rates, now_s, allowed = Rates(10), 1_000.0, list[float]()
    for pause in pauses:
        now_s += pause / per_second
        if rates.allow("one", per_second, now_s):
            allowed.append(now_s)
    for first in allowed:
        # What a rest has saved, and what has come meanwhile.
        assert sum(first <= at < first + 1 for at in allowed) <= 2 * per_second


@pytest.mark.parametrize("per_second", [1, 3, 7, 1_000])
def test_a_seconds_worth_may_come_at_once_and_the_next_one_when_its_time_has_come(per_second: int) -> None:
    rates = Rates(10)
    assert [rates.allow("one", per_second, 5.0) for _ in range(per_second + 1)] == [True] * per_second + [False]
    assert not rates.allow("one", per_second, 5.0 + 0.9 / per_second)
    assert rates.allow("one", per_second, 5.0 + 1.1 / per_second)
    assert rates.allow("other", per_second, 5.0)


def test_a_flood_that_is_refused_does_not_count() -> None:
    rates = Rates(10)
    assert [rates.allow("one", 1, 5.0) for _ in range(1_000)].count(True) == 1
    assert rates.allow("one", 1, 6.1)


def test_a_bounded_number_is_kept_those_that_came_last() -> None:
    rates = Rates(100)
    assert rates.allow("one", 1, 5.0)
    for number in range(49):
        assert rates.allow(number, 1, 5.0)
    assert not rates.allow("one", 1, 5.0)
    for number in range(100_000):
        rates.allow(number, 1, 5.0)
        assert len(rates) <= 100
    assert rates.allow("one", 1, 5.0)


def test_an_address_is_a_client_whatever_its_port() -> None:
    assert client("192.0.2.7:1") == client("192.0.2.7:2") != client("192.0.2.8:1")


def test_a_64_of_ipv6_is_one_client() -> None:
    assert client("[2001:db8::1]:1") == client("[2001:db8::ffff:2]:9") != client("[2001:db8:0:1::1]:1")
    assert client("[fe80::1%2]:1") == client("[fe80::2%3]:1")


def test_addresses_of_ipv4_that_are_written_as_of_ipv6_are_clients_of_their_own() -> None:
    assert client("[::ffff:192.0.2.7]:1") == direct("192.0.2.7") != client("[::ffff:192.0.2.8]:1")


@pytest.mark.parametrize(
    ("xff", "forwarded", "is_from"),
    [
        ([], [], "10.1.1.1"),
        (["192.0.2.7"], [], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7"], [], "192.0.2.7"),
        (["192.0.2.7", "10.2.2.2"], [], "192.0.2.7"),
        (["198.51.100.1,192.0.2.7 ,10.2.2.2,10.3.3.3"], [], "192.0.2.7"),
        (["10.2.2.2"], [], "10.2.2.2"),
        (["192.0.2.7:4711"], [], "192.0.2.7"),
        (["[2001:db8::7]:4711"], [], "2001:db8::7"),
        (["2001:db8::7"], [], "2001:db8::7"),
        (["::ffff:192.0.2.7"], [], "192.0.2.7"),
        (["unknown"], [], "10.1.1.1"),
        (["192.0.2.7, unknown, 10.2.2.2"], [], "10.2.2.2"),
        (["x" * 10_000], [], "10.1.1.1"),
        (["192.0.2.7," * 10_000 + "198.51.100.1"], [], "198.51.100.1"),
        ([], ["for=192.0.2.7;proto=https;by=10.1.1.1"], "192.0.2.7"),
        ([], ['proto=https;For="[2001:db8::7]:4711"'], "2001:db8::7"),
        ([], ["for=198.51.100.1, for=192.0.2.7", "for=10.2.2.2"], "192.0.2.7"),
        ([], ['for="198.51.100.1, for=192.0.2.7'], "192.0.2.7"),
        ([], ["for=_hidden"], "10.1.1.1"),
        ([], ["proto=https"], "10.1.1.1"),
        # A proxy writes one of them, and a client may have sent the other.
        (["192.0.2.7"], ["for=192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7"], ["for=198.51.100.1"], "10.1.1.1"),
    ],
)
def test_a_trusted_proxy_tells_who_its_client_is(xff: list[str], forwarded: list[str], is_from: str) -> None:
    assert client("10.1.1.1:1", xff, forwarded) == direct(is_from)
    assert client("[2001:db8:1::1]:1", xff, forwarded) == (direct("2001:db8:1::1") if is_from == "10.1.1.1" else direct(is_from))


def test_nobody_else_is_believed() -> None:
    assert client("192.0.2.1:1", ["192.0.2.7"], ["for=192.0.2.7"]) == direct("192.0.2.1")


def test_a_header_that_cannot_be_read_hands_the_word_to_no_other() -> None:
    # What Granian makes of "X-Forwarded-For: \xff, 192.0.2.7": it is there, and has no line.
    unread: list[str] = []
    found = Clients(PROXIES).client_of("10.0.0.1:1", Lines({"x-forwarded-for": unread, "forwarded": ["for=192.0.2.9"]}))  # type: ignore[arg-type]
    assert found == direct("10.0.0.1")
    found = Clients(PROXIES).client_of("10.0.0.1:1", Lines({"x-forwarded-for": ["192.0.2.9"], "forwarded": unread}))  # type: ignore[arg-type]
    assert found == direct("10.0.0.1")
    assert Clients(PROXIES).client_of("10.0.0.1:1", Lines({"x-forwarded-for": unread})) == direct("10.0.0.1")  # type: ignore[arg-type]


def test_what_is_kept_of_addresses_is_bounded() -> None:
    clients, headers = Clients(PROXIES), Lines()
    for number in range(30_000):
        headers["x-forwarded-for"] = [f"192.{number >> 16}.{number >> 8 & 255}.{number & 255}"]
        assert clients.client_of("10.1.1.1:1", headers)  # type: ignore[arg-type]
    assert len(clients._known) <= 10_000
