"""Doors with tokens of each kind, and the headers of those who hold them."""

from __future__ import annotations

from ticketmaster.ticket.access import EventPattern, Scope
from ticketmaster.ticket.tokens import TokenLine, Tokens, digest_of


def token_of(name: str) -> str:
    """The token of this name."""
    return f"tm_{name.encode().hex():0>64}"


def bearing(name: str) -> dict[str, str]:
    """The header of its holder."""
    return {"authorization": f"Bearer {token_of(name)}"}


def line(name: str, *scopes: Scope, events: str | None = None, requests_per_second: int = 0) -> TokenLine:
    """A token's line."""
    pattern = None if events is None else EventPattern(events)
    return TokenLine(name, frozenset(scopes), digest_of(token_of(name)), pattern, requests_per_second)


def scope_tokens(*more: TokenLine, by_id: bool = True) -> Tokens:
    """A token for each scope, called as it is, and others."""
    return Tokens([*(line(scope.value, scope) for scope in Scope), *more], by_id=by_id)
