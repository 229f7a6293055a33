"""Files of tokens, and which token a header holds."""

from __future__ import annotations

import pytest

from tests.support.doors import bearing, line, scope_tokens, token_of
from ticketmaster.clock import SystemClock
from ticketmaster.ticket import tokens as tokens_module
from ticketmaster.ticket.access import Scope
from ticketmaster.ticket.tokens import BrokenLine, TokenLine, Tokens, digest_of, new_token, read_lines

ONE = digest_of(token_of("one")).hex()
TWO = digest_of(token_of("two")).hex()


def test_a_line_says_who_what_and_how_much() -> None:
    content = (
        f"\ufeff# tills\r\n\none  seller,box_office  {ONE.upper()}\r\ntwo reader {TWO} requests_per_second=20 event=caf%C3%A9*".encode()
    )

    (first, one), (second, two) = read_lines(content)

    assert (first, second) == (3, 4)
    assert one == TokenLine("one", frozenset({Scope.SELLER, Scope.BOX_OFFICE}), bytes.fromhex(ONE))
    assert two.requests_per_second == 20
    assert two.events
    assert two.events.matches("café 3")
    assert [token.text for token in (one, two)] == [
        f"one box_office,seller {ONE}",
        f"two reader {TWO} event=caf%C3%A9* requests_per_second=20",
    ]
    assert read_lines(b"") == []


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        (f"one seller {ONE}\ntwo seller", 2, "a line has a name, scopes and the SHA-256"),
        (f"one! seller {ONE}", 1, "a name has 1 to 64"),
        (f"{'x' * 65} seller {ONE}", 1, "a name has 1 to 64"),
        (f"one sellers {ONE}", 1, "the scopes are organiser, box_office, seller, reader"),
        (f"one seller, {ONE}", 1, "the scopes are"),
        (f"\n\none seller {ONE[1:]}", 3, "no SHA-256"),
        (f"one seller {token_of('one')}", 1, "no SHA-256"),
        (f"one {token_of('one')} {ONE}", 1, "the scopes are"),
        (f"one seller {ONE} concert", 1, "event=PATTERN and requests_per_second=N"),
        (f"one seller {ONE} event=", 1, "event=PATTERN and requests_per_second=N"),
        (f"one seller {ONE} event=a event=b", 1, "each once"),
        (f"one seller {ONE} event=%FF", 1, "not UTF-8 in percent-encoding"),
        (f"one seller {ONE} requests_per_second=0", 1, "from 1 to 1,000,000"),
        (f"one seller {ONE} requests_per_second=1000001", 1, "from 1 to 1,000,000"),
        (f"one seller {ONE} requests_per_second=1.5", 1, "from 1 to 1,000,000"),
        (f"one seller {ONE} requests_per_second=\u0663", 1, "from 1 to 1,000,000"),
        (f"one seller {ONE}\none reader {TWO}", 2, "line 1 has the same name"),
        (f"one seller {ONE}\n# \ntwo reader {ONE}", 3, "line 1 has the same token"),
    ],
)
def test_a_broken_line_is_told_by_its_number_and_shows_nothing_of_it(text: str, number: int, reason: str) -> None:
    with pytest.raises(BrokenLine, match=r".") as broken:
        read_lines(text.encode())

    assert broken.value.line == number
    assert reason in str(broken.value)
    assert token_of("one") not in str(broken.value)


def test_a_line_that_is_no_text_is_broken() -> None:
    with pytest.raises(BrokenLine, match="not UTF-8") as broken:
        read_lines(b"# one\n\xff")
    assert broken.value.line == 2


def test_a_token_is_long_random_and_known_by_its_beginning() -> None:
    one, two = new_token(SystemClock()), new_token(SystemClock())

    assert one != two
    assert one.startswith("tm_")
    assert len(one) == len(two) == 67


def test_a_token_is_found_by_the_header_that_holds_it() -> None:
    tokens = scope_tokens(line("till", Scope.SELLER, requests_per_second=3))
    entry = tokens.find(bearing("till")["authorization"])
    assert entry
    assert (entry.caller.name, entry.requests_per_second) == ("till", 3)
    for given in ("Bearer", "Bearer ", f"Bearer {digest_of(token_of('till')).hex()}", token_of("till"), f"Bearer {token_of('till')}0"):
        assert tokens.find(given) is None


def test_tokens_that_were_found_are_found_again_and_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_FOUND_MAX", 3)
    lines = [line(f"till-{number}", Scope.SELLER) for number in range(10)]
    tokens = Tokens(lines, by_id=True)
    for _ in range(2):
        for number in range(10):
            for scheme in ("Bearer", "bearer"):
                entry = tokens.find(f"{scheme} {token_of(f'till-{number}')}")
                assert entry
                assert entry.caller.name == f"till-{number}"
        assert tokens.find(f"Bearer {token_of('nobody')}") is None
    assert len(tokens._found) <= 3
    # The next file has other tokens.
    assert Tokens(lines[1:], by_id=True).find(bearing("till-0")["authorization"]) is None
