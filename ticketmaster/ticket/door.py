"""What a listener asks of a request before anything else of it is looked at.

It is asked in the server's thread, at the head of each request, and neither waits nor raises: the answer is who asks, or the refusal.
"""

from __future__ import annotations

from typing import Final

from ticketmaster.ticket import problems
from ticketmaster.ticket.access import EVERYBODY, RULES, UNDECIDED, Caller, Rule, refusal
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.problems import Answer
from ticketmaster.ticket.routes import INTERNAL, allowed_methods, route_of
from ticketmaster.ticket.tokens import Tokens

_RULES: Final[dict[tuple[str, str], Rule]] = {
    **RULES,
    **{("HEAD", route): rule for (method, route), rule in RULES.items() if method == "GET"},
}


class Door:
    """Of one listener; ``tokens`` may be replaced at any time."""

    def __init__(self, tokens: Tokens | None = None, *, by_id: bool = True, has_peers: bool = True) -> None:
        """Without tokens everybody may do everything. ``by_id``: as of Tokens. ``has_peers``: whether other processes ask here."""
        self.tokens = tokens
        self._has_peers = has_peers
        self._nobody = Caller("", frozenset(), by_id=by_id)

    def admit(self, scope: Head, headers: HeaderLines) -> Caller | Answer:
        """Who asks, or why it is refused."""
        tokens = self.tokens
        if tokens is None:
            return EVERYBODY
        method, path = scope.method, scope.path
        if path.startswith(INTERNAL):
            return EVERYBODY if self._has_peers else problems.NO_SUCH_PATH.response
        rule = _RULES.get((method, route_of(path)))
        if rule is not None and rule.is_open:
            return self._nobody
        authorization = headers.get("authorization")
        caller = self._nobody
        if authorization is not None:
            entry = tokens.find(authorization)
            if entry is None:
                return problems.INVALID_TOKEN.response
            caller = entry.caller
        elif "authorization" in headers:
            return problems.INVALID_TOKEN.response
        if rule is None:
            # What no route takes is answered as ever. A route that nobody has decided on is open to few.
            if method == "OPTIONS" or method not in allowed_methods(path).split(", "):
                return caller
            rule = UNDECIDED
        problem = refusal(caller, rule)
        return caller if problem is None else problem.response
