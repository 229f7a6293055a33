"""What a listener asks of a request before anything else of it is looked at.

It is asked in the server's thread, at the head of each request, and neither waits nor raises: the answer is who asks, or the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ticketmaster.clock import Clock, SystemClock
from ticketmaster.ticket import problems
from ticketmaster.ticket.access import EVERYBODY, PROBE, RULES, UNDECIDED, Caller, Rule, refusal
from ticketmaster.ticket.clients import Clients, Network
from ticketmaster.ticket.cors import CrossOrigin
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.peersecret import is_peer
from ticketmaster.ticket.problems import Answer
from ticketmaster.ticket.rates import Rates
from ticketmaster.ticket.routes import INTERNAL, allowed_methods, route_of
from ticketmaster.ticket.tokens import Entry, Tokens

_RULES: Final[dict[tuple[str, str], Rule]] = {
    **RULES,
    **{("HEAD", route): rule for (method, route), rule in RULES.items() if method == "GET"},
}
# The caller of a request whose token is not in force.
_IMPOSTOR: Final = Caller("", frozenset(), by_id=False)
_TOKENS_KEPT_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How much each client may ask that has no token; ``proxies`` are trusted to tell who their clients are."""

    requests_per_second: int
    clients_max: int = 100_000
    proxies: tuple[Network, ...] = ()


class Door:
    """Of one listener; ``tokens`` and ``secrets`` may be replaced at any time."""

    def __init__(
        self,
        tokens: Tokens | None = None,
        *,
        by_id: bool = True,
        has_peers: bool = True,
        only_peers: bool = False,
        secrets: Sequence[bytes] = (),
        limits: ClientLimits | None = None,
        cors: CrossOrigin | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Without tokens everybody may do everything. ``by_id``: as of Tokens.

        ``has_peers``, ``only_peers``: whether other processes ask here, and nobody else; by one of these secrets, if there are some.
        """
        self.tokens = tokens
        self.cors = cors
        self.secrets = secrets
        self._has_peers = has_peers
        self._only_peers = only_peers
        self._nobody = Caller("", frozenset(), by_id=by_id)
        self._now_s = (clock or SystemClock()).monotonic_s
        self._limits = limits
        self._clients = Clients(limits.proxies if limits else ())
        self._client_rates = Rates(limits.clients_max if limits else 0)
        self._token_rates = Rates(_TOKENS_KEPT_MAX)

    def admit(self, head: Head, path: str, headers: HeaderLines) -> Caller | Answer:
        """The caller of a request for a path, or the answer that refuses it."""
        method = head.method
        if path.startswith(INTERNAL):
            return EVERYBODY if self._is_peer(headers) else problems.NO_SUCH_PATH.response
        if self._only_peers:
            return problems.NO_SUCH_PATH.response
        rule = _RULES.get((method, route_of(path)))
        if rule is PROBE:
            return self._nobody
        caller, entry = EVERYBODY, None
        if (tokens := self.tokens) is not None:
            caller, authorization = self._nobody, headers.get("authorization")
            # One whose value is not ASCII is there, and has no value.
            if authorization is not None or "authorization" in headers:
                entry = tokens.find(authorization or "")
                caller = entry.caller if entry is not None else _IMPOSTOR
        if not self._is_within_rate(entry, head, headers):
            return problems.RATE_LIMITED.response
        if rule is None:
            # A path without a route gets its usual answer. A route that is not in the table is open to few.
            is_route = method != "OPTIONS" and method in allowed_methods(path).split(", ")
            rule = UNDECIDED if is_route else PROBE
        if rule.is_open:
            return self._nobody if caller is _IMPOSTOR else caller
        if caller is _IMPOSTOR:
            return problems.INVALID_TOKEN.response
        problem = refusal(caller, rule)
        return caller if problem is None else problem.response

    def _is_peer(self, headers: HeaderLines) -> bool:
        if self.secrets:
            return is_peer(headers, self.secrets)
        return self._has_peers

    def _is_within_rate(self, entry: Entry | None, head: Head, headers: HeaderLines) -> bool:
        """A token that is in force counts for itself, wherever it comes from; all else counts for the client's address."""
        if entry is not None:
            per_second = entry.requests_per_second
            return not per_second or self._token_rates.allow(entry.digest, per_second, self._now_s())
        limits = self._limits
        if limits is None:
            return True
        return self._client_rates.allow(self._clients.client_of(head.client, headers), limits.requests_per_second, self._now_s())
