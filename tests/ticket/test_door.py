"""What a door lets in, one request after the other, and what is limited."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.support.doors import bearing, line, scope_tokens
from ticketmaster.clock import SystemClock
from ticketmaster.ticket.access import EVERYBODY, Caller, Scope
from ticketmaster.ticket.door import ClientLimits, Door

RESERVATION = "/v1/reservation/01a2124a-fc96-7000-8855-0ce95bc3ca78"


class StandingClock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


class Headers(dict[str, str]):
    """Each of them once."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


def ask(door: Door, path: str = RESERVATION, method: str = "GET", client: str = "192.0.2.7:1", **headers: str) -> str:
    """What becomes of a request: "in", or the code of its problem."""
    head: Any = SimpleNamespace(method=method, client=client)
    found = door.admit(head, path, Headers(headers))
    if isinstance(found, Caller):
        return "in"
    return str(msgspec.json.decode(found[2])["code"])


@pytest.fixture
def clock() -> StandingClock:
    """Moved by the test."""
    return StandingClock()


def test_a_client_without_a_token_has_its_pace_and_one_with_a_token_has_the_tokens(clock: StandingClock) -> None:
    tokens = scope_tokens(line("till", Scope.SELLER, requests_per_second=3))
    door = Door(tokens, limits=ClientLimits(2), clock=clock)
    assert [ask(door) for _ in range(3)] == ["in", "in", "rate_limited"]
    assert [ask(door, **bearing("till")) for _ in range(4)] == ["in"] * 3 + ["rate_limited"]
    assert ask(door, client="192.0.2.8:1") == "in"
    assert [ask(door, **bearing("seller")) for _ in range(100)] == ["in"] * 100
    clock.now_s += 1
    assert ask(door) == ask(door, **bearing("till")) == "in"


def test_wrong_tokens_are_counted_for_the_address_and_cost_no_holder_of_a_token_anything(clock: StandingClock) -> None:
    door = Door(scope_tokens(), limits=ClientLimits(2), clock=clock)
    assert [ask(door, authorization=f"Bearer {number}") for number in range(4)] == ["invalid_token"] * 2 + ["rate_limited"] * 2
    assert ask(door, **bearing("seller")) == "in"


def test_probes_and_peers_are_not_counted_and_preflights_are(clock: StandingClock) -> None:
    door = Door(limits=ClientLimits(1), clock=clock)
    assert [ask(door, "/v1/health_check/ready") for _ in range(5)] == ["in"] * 5
    assert [ask(door, "/internal/v1/reservation/7") for _ in range(5)] == ["in"] * 5
    assert [ask(door, method="OPTIONS") for _ in range(2)] == ["in", "rate_limited"]
    assert ask(door, "/docs") == ask(door, "/v2") == "rate_limited"


def test_a_limit_without_tokens_leaves_everybody_all_rights(clock: StandingClock) -> None:
    head: Any = SimpleNamespace(method="POST", client="192.0.2.7:1")
    assert Door(limits=ClientLimits(1), clock=clock).admit(head, "/v1/event", Headers()) is EVERYBODY


def test_a_proxy_that_is_trusted_tells_whose_pace_it_is(clock: StandingClock) -> None:
    from ipaddress import ip_network  # noqa: PLC0415 - of this test only

    door = Door(limits=ClientLimits(1, proxies=(ip_network("10.0.0.0/8"),)), clock=clock)
    for address in ("192.0.2.7", "192.0.2.8"):
        asked = [ask(door, client="10.0.0.1:1", **{"x-forwarded-for": address}) for _ in range(2)]
        assert asked == ["in", "rate_limited"]


def test_a_route_without_a_rule_is_an_organisers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ticketmaster.ticket import door as module  # noqa: PLC0415 - of this test only

    monkeypatch.delitem(module._RULES, ("GET", "/v1/event"))
    door = Door(scope_tokens())
    assert ask(door, "/v1/event") == "token_needed"
    assert ask(door, "/v1/event", **bearing("reader")) == "missing_scope"
    assert ask(door, "/v1/event", **bearing("organiser")) == "in"
