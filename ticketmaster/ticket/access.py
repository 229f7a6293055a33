"""Who may do what: scopes, the rules of all routes, and the decision on one request.

There is one table, :data:`RULES`. A route that is not in it is an organiser's alone, until somebody decides otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ticketmaster.ticket import problems
from ticketmaster.ticket.problems import Problem


class Scope(Enum):
    """What a token is for."""

    ORGANISER = "organiser"
    BOX_OFFICE = "box_office"
    SELLER = "seller"
    READER = "reader"


SCOPES: Final = {scope.value: scope for scope in Scope}
READING: Final = frozenset(Scope)
"""Scopes that may read events, and reservations by their ids."""
ORGANISING: Final = frozenset({Scope.ORGANISER})
"""Those that may announce, change and cancel events."""
SELLING: Final = frozenset({Scope.BOX_OFFICE, Scope.SELLER})
"""Those that may reserve, pay and extend."""
CANCELLING: Final = SELLING | ORGANISING
"""Those that may cancel a reservation."""
REFUNDING: Final = frozenset({Scope.ORGANISER, Scope.BOX_OFFICE})
"""Those that may cancel one that is paid, and list the reservations of an event."""


class EventPattern:
    """Which events a token is for: their names, in which ``*`` stands for any characters, none included."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        """As it stands in a file of tokens: percent-encoded as in a path. ValueError: it is not."""
        self.text = text
        self._parts = tuple(unquote_to_bytes(part).decode() for part in text.split("*"))

    @property
    def shown(self) -> str:
        """As people write it."""
        return "*".join(self._parts)

    def matches(self, event_id: str) -> bool:
        """Whether an event is one of them; takes time in proportion to its name, whatever the pattern is."""
        first, *rest = self._parts
        if not rest:
            return event_id == first
        last = rest.pop()
        at, end = len(first), len(event_id) - len(last)
        if end < at or not event_id.startswith(first) or not event_id.endswith(last):
            return False
        for part in rest:
            found = event_id.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def pattern_of(events: str) -> EventPattern:
    """Of a pattern as people write it."""
    return EventPattern(quote(events, safe="*"))


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The client of a request, as its token describes it."""

    name: str
    scopes: frozenset[Scope]
    # None: all events.
    events: EventPattern | None = None
    # Whether to know a reservation's id is right enough to read, pay, extend and cancel it.
    by_id: bool = True
    is_box_office: bool = field(init=False)
    """Sells past limits and windows: only ever by a token that says so, for without tokens rules hold for everybody."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_box_office", Scope.BOX_OFFICE in self.scopes and bool(self.name))

    @property
    def may_refund(self) -> bool:
        """Whether it may cancel what is paid."""
        return not REFUNDING.isdisjoint(self.scopes)

    def covers(self, event_id: str) -> bool:
        """Whether its token is for this event."""
        return self.events is None or self.events.matches(event_id)

    @property
    def needs_event(self) -> bool:
        """Whether a reservation's event must be looked at before it may use the id."""
        return self.events is not None and not self.by_id


EVERYBODY: Final = Caller("", READING)
"""The client of any request, where no token is needed."""


class Rule(NamedTuple):
    """A route takes a token with one of these scopes."""

    scopes: frozenset[Scope]
    # A client that knows the id needs no token, unless that is switched off.
    by_id: bool = False
    # Nobody needs a token.
    is_open: bool = False


_ANY_SCOPE: Final = Rule(READING)
_OPEN: Final = Rule(READING, is_open=True)
PROBE: Final = Rule(READING, is_open=True)
"""Asked by orchestrators and proxies, each second: neither a token nor a limit is of use."""
_BY_ID: Final = Rule(SELLING, by_id=True)
UNDECIDED: Final = Rule(ORGANISING)
"""The rule of a route that is not in the table."""

_EVENT: Final = "/v1/event/{eventId}"
_RESERVATIONS: Final = "/v1/event/{eventId}/reservation"
_RESERVATION: Final = "/v1/reservation/{reservationId}"
RULES: Final[dict[tuple[str, str], Rule]] = {
    ("POST", "/v1/event"): Rule(ORGANISING),
    ("GET", "/v1/event"): _ANY_SCOPE,
    ("GET", _EVENT): _ANY_SCOPE,
    ("PATCH", _EVENT): Rule(ORGANISING),
    ("DELETE", _EVENT): Rule(ORGANISING),
    ("GET", "/v1/event/{eventId}/area/{areaId}"): _ANY_SCOPE,
    ("POST", _RESERVATIONS): Rule(SELLING),
    ("GET", _RESERVATIONS): Rule(REFUNDING),
    ("GET", _RESERVATION): Rule(READING, by_id=True),
    # With refund=true it takes one of REFUNDING, whoever knows the id.
    ("DELETE", _RESERVATION): Rule(CANCELLING, by_id=True),
    ("POST", f"{_RESERVATION}/payment"): _BY_ID,
    ("POST", f"{_RESERVATION}/extension"): _BY_ID,
    **{("GET", path): PROBE for path in ("/v1/health_check", "/v1/health_check/live", "/v1/health_check/ready")},
    **{("GET", path): _OPEN for path in ("/openapi.json", "/docs", "/")},
}
"""By method and route, as OpenAPI has it. HEAD is GET's."""


def refusal(caller: Caller, rule: Rule) -> Problem | None:
    """Why this caller may not use a route of this rule, if it may not."""
    if rule.is_open or (rule.by_id and caller.by_id) or not rule.scopes.isdisjoint(caller.scopes):
        return None
    return _NEEDS[rule.scopes] if caller.scopes else problems.TOKEN_NEEDED


def missing_scope(scopes: frozenset[Scope]) -> Problem:
    """403: the token has none of these."""
    return Problem(403, "missing_scope", f"This takes a token with the scope {_names(scopes, ' or ')}.", _challenge(scopes))


def other_event(scopes: frozenset[Scope]) -> Problem:
    """403: the token has one of these, or none, but is for other events."""
    return Problem(403, "other_event", f"This takes a token with the scope {_names(scopes, ' or ')} for this event.", _challenge(scopes))


def _challenge(scopes: frozenset[Scope]) -> tuple[tuple[str, str], ...]:
    return (("www-authenticate", f'Bearer realm="ticketmaster", error="insufficient_scope", scope="{_names(scopes, " ")}"'),)


def _names(scopes: frozenset[Scope], between: str) -> str:
    return between.join(scope.value for scope in Scope if scope in scopes)


_NEEDS: Final = {rule.scopes: missing_scope(rule.scopes) for rule in (*RULES.values(), UNDECIDED)}
NO_REFUND: Final = missing_scope(REFUNDING)
