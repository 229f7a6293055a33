"""What makes it doubtful whom a request is for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ticketmaster.ticket import heads, problems


class Hosts(list[str]):
    """Headers of which only Host is asked for."""

    def get(self, name: str) -> str | None:
        raise AssertionError(name)

    def get_all(self, name: str) -> list[str]:
        assert name == "host"
        return self

    def __contains__(self, name: object) -> bool:
        assert name == "host"
        return bool(len(self))


def is_fine(*hosts: str, version: str = "1.1", authority: str | None = None) -> bool:
    """Whether a request is taken; asked twice, for the second time it is known."""
    head = SimpleNamespace(http_version=version, authority=authority)
    first, second = (heads.host_problem(head, Hosts(hosts)) for _ in range(2))
    assert first is second
    assert first in (None, problems.INVALID_HOST)
    return first is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "localhost",
            "LOCALHOST:80",
            "a-b_c.example.",
            "10.0.0.1:8080",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--mnchen-3ya.de",
            "caf%C3%A9",
        ),
        *("a:", ":80", "n" * 253 + ":65535"),
    ],
)
def test_a_host_and_a_port_are_taken_in_every_form(host: str) -> None:
    assert is_fine(host)
    assert is_fine(host, version="1")
    assert is_fine(authority=host, version="2")
    assert is_fine(host, version="2")


@pytest.mark.parametrize(
    "host", ["a b", "a, b", "user@a", "a/b", "http://a", "a?b", "a#b", "a:b", "::1", "[::1", "a%", "a%zz", "a\tb", '"a"', "a\\b", "n" * 300]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    assert not is_fine(host)
    assert not is_fine(host, version="1")
    assert not is_fine(authority=host, version="2")
    assert not is_fine(host, version="2")


def test_http1_has_one_host_and_http10_may_have_none() -> None:
    assert not is_fine()
    assert not is_fine("a", "a")
    assert is_fine(version="1")
    assert not is_fine("a", "a", version="1")


def test_over_http2_a_host_says_what_the_authority_says() -> None:
    assert is_fine("A:80", version="2", authority="a:80")
    assert not is_fine("b", version="2", authority="a")
    assert not is_fine("a", "a", version="2", authority="a")
    assert is_fine(version="2")
    assert not is_fine("a", "a", version="2")


def test_a_host_in_the_target_of_http1_changes_nothing() -> None:
    assert is_fine("a", authority="b")
    assert not is_fine(authority="b")


def test_hosts_that_clients_make_up_take_no_more_memory_than_the_limit() -> None:
    known = heads._known.copy()
    try:
        assert all(is_fine(f"host-{number}") for number in range(2 * heads._KNOWN_MAX))
        assert len(heads._known) == heads._KNOWN_MAX
    finally:
        heads._known.clear()
        heads._known.update(known)
