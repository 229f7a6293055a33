"""Reservations of some events only: for a token that is not for all of them, where an id alone is not enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ticketmaster.ticket import problems
from ticketmaster.ticket.access import Caller, Scope, other_event
from ticketmaster.ticket.problems import Headers
from ticketmaster.ticket.responding import Responder, refuse


class _Event(msgspec.Struct):
    """What of a reservation is looked at."""

    event_id: str = msgspec.field(name="eventId")


_event_of: Final = msgspec.json.Decoder(_Event).decode
_NOT_DECIDED: Final = problems.NOT_DECIDED.response[2]


class Within:
    """A responder that lets a reservation through if the caller's token is for its event, or goes on to change it then."""

    __slots__ = ("_caller", "_change", "_responder", "_scopes")

    def __init__(
        self, caller: Caller, scopes: frozenset[Scope], responder: Responder, change: Callable[[Responder], None] | None = None
    ) -> None:
        """``scopes`` are those that it takes; ``change`` answers in place of the reservation."""
        self._caller = caller
        self._scopes = scopes
        self._responder = responder
        self._change = change

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if status == 200 and not self._caller.covers(_event_of(body).event_id):
            refuse(self._responder, other_event(self._scopes))
        elif status == 200 and self._change:
            self._change(self._responder)
        elif self._change and body == _NOT_DECIDED:
            refuse(self._responder, problems.STILL_UNDECIDED)
        else:
            self._responder.response_bytes(status, headers, body)
