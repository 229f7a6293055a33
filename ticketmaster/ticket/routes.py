"""From method and path to the gateway. A handler answers through the responder; a Problem it raises is answered for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qs

from ticketmaster.domain.life import Change, Kind
from ticketmaster.ticket import problems
from ticketmaster.ticket.access import CANCELLING, EVERYBODY, NO_REFUND, ORGANISING, READING, REFUNDING, SELLING, Caller, other_event
from ticketmaster.ticket.bodies import Page, read_extension, read_payment
from ticketmaster.ticket.changing import CHANGE_END
from ticketmaster.ticket.documents import DOCS_HTML, OPENAPI_JSON
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.idempotency import COMMAND_END, HEADER, key_of
from ticketmaster.ticket.ids import canonical_id
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.listing import LIST_END, Lists, wanted
from ticketmaster.ticket.organising import CANCEL, read_patch, revision_of
from ticketmaster.ticket.problems import Answer, Problem
from ticketmaster.ticket.renderings import Rendered
from ticketmaster.ticket.responding import Responder, refuse
from ticketmaster.ticket.within import Within

_EVENT = "/v1/event"
_EVENT_PREFIX = "/v1/event/"
_RESERVATION_PREFIX = "/v1/reservation/"
_RESERVATION_SUFFIX = "/reservation"
_PAYMENT_END = "/payment"
_EXTENSION_END = "/extension"
_AREA = "/area/"
HEALTH = "/v1/health_check"
LIVE = f"{HEALTH}/live"
READY = f"{HEALTH}/ready"
HEALTH_PATHS = (HEALTH, LIVE, READY)
# What one process asks another: answered from its own table, never passed on.
INTERNAL = "/internal/"
PEER_PREFIX = f"{INTERNAL}v1/reservation/"
# HEAD is a GET whose answer leaves its body out.
READ_METHODS = "GET, HEAD, OPTIONS"
POST_METHODS = "OPTIONS, POST"
EVENT_METHODS = f"DELETE, {READ_METHODS}, PATCH"
# What Granian decodes to where a path is no UTF-8, so that nothing may be called so.
UNDECODABLE = "\ufffd"

_PLAIN_PATHS = frozenset({_EVENT, *HEALTH_PATHS, "/openapi.json", "/docs", "/"})
# By how a path ends; the last one is all the rest.
_RESERVATION_ROUTES = tuple((end, f"{_RESERVATION_PREFIX}{{reservationId}}{end}") for end in (_PAYMENT_END, _EXTENSION_END, ""))
_PEER_ROUTES = tuple((end, f"{PEER_PREFIX}{{reservationId}}{end}") for end in (CHANGE_END, COMMAND_END, LIST_END, ""))

Target = Callable[[bytes, Responder], None]
_Default = TypeVar("_Default", str, None)
_Taker = Callable[[bytes, bytes, Responder, Caller], None]


class Request(NamedTuple):
    """What a GET is answered from. The path is decoded: a name may hold any character."""

    path: str
    query: str
    if_none_match: str
    caller: Caller = EVERYBODY


class RouteTable(Protocol):
    """Who answers which path."""

    body_bytes_max: int

    def get(self, path: str, responder: Responder, caller: Caller) -> bool:
        """Answers the hot GET; False: it is another path, for :meth:`get_other`."""

    def get_other(self, request: Request, responder: Responder) -> None:
        """Answers every GET but the hot one."""

    def allowed_methods(self, path: str) -> str:
        """The methods that a path takes, as the Allow header has them; empty for an unknown path."""

    def target(self, method: str, path: str, head: Head, headers: HeaderLines, caller: Caller) -> Target | Answer | None:
        """Who takes the body of a POST, PATCH or DELETE, or its answer where its head is enough for that; None: the path takes none."""


class Routes:
    """The HTTP surface: what each path takes, and who answers."""

    def __init__(
        self,
        gateway: Gateway,
        ready: Callable[[], bool],
        limits: TicketLimits,
        is_open: Callable[[], bool] | None = None,
        lists: Lists | None = None,
        *,
        has_peers: bool = True,
    ) -> None:
        """``ready``: whether it serves all its partitions; ``is_open``: whether it is to get requests, None: as ``ready``.

        ``lists``: who lists reservations, None: nobody does. ``has_peers``: whether other processes ask this one.
        """
        self._gateway = gateway
        self._ready = ready
        self._is_open = is_open or ready
        self._limits = limits
        self.body_bytes_max = limits.request_body_bytes_max
        # Who takes the body of a POST about a reservation, by how its path ends: of clients, and of other processes.
        self._of_clients: dict[str, _Taker] = {_PAYMENT_END: self._pay, _EXTENSION_END: self._extend}
        self._of_peers: dict[str, _Taker] = {
            CHANGE_END: lambda key, body, responder, _caller: gateway.changes.take_for_peer(key, body, responder),
            COMMAND_END: lambda key, body, responder, _caller: gateway.post_keyed_for_peer(key, body, responder),
        }
        self._lists = lists
        # What a peer sends is taken as it is, box office and all: without peers it is nobody's.
        self._id_prefixes = (_RESERVATION_PREFIX, PEER_PREFIX) if has_peers else (_RESERVATION_PREFIX,)
        if not has_peers:
            self._of_peers.clear()
        elif lists:
            self._of_peers[LIST_END] = lambda key, body, responder, _caller: lists.take_for_peer(key, body, responder)

    def get(self, path: str, responder: Responder, caller: Caller) -> bool:
        """Answers the hot GET, a reservation by its id; False: it is another path, for :meth:`get_other`."""
        if path.startswith(_RESERVATION_PREFIX):
            ask, given = self._gateway.get_reservation, path[len(_RESERVATION_PREFIX) :]
        elif path.startswith(self._id_prefixes):
            ask, given = self._ask_for_peer, path[len(PEER_PREFIX) :]
        else:
            return False
        reservation_id = canonical_id(given)
        if reservation_id is None:
            return False
        ask(reservation_id, Within(caller, READING, responder) if caller.needs_event else responder)
        return True

    def _ask_for_peer(self, reservation_id: str, responder: Responder) -> None:
        self._gateway.get_for_peer(reservation_id.encode(), responder)

    def allowed_methods(self, path: str) -> str:
        """The methods that a path takes, as the Allow header has them; empty for an unknown path."""
        return allowed_methods(path, lists=self._lists is not None)

    def target(self, method: str, path: str, head: Head, headers: HeaderLines, caller: Caller) -> Target | Answer | None:
        """Who takes the body of a POST, PATCH or DELETE, or its answer where its head is enough for that; None: the path takes none."""
        if method != "POST" and _takes_changes(path):
            return self._event_target(method, path, headers, caller)
        if method == "DELETE":
            return self._delete_target(path, head.query_string, caller)
        if method == "PATCH":
            return None
        if _takes_reservations(path):
            event_id = path[len(_EVENT_PREFIX) : -len(_RESERVATION_SUFFIX)]
            if not caller.covers(event_id):
                return other_event(SELLING).response
            box_office = caller.is_box_office
            if HEADER not in headers:
                return lambda body, responder: self._gateway.post_reservation(event_id, body, responder, box_office=box_office)
            key = key_of(headers)
            return lambda body, responder: self._gateway.post_keyed(event_id, key, body, responder, box_office=box_office)
        if path == _EVENT:
            return lambda body, responder: self._gateway.post_event(body, responder, caller)
        return self._change_target(path, caller)

    def _event_target(self, method: str, path: str, headers: HeaderLines, caller: Caller) -> Target | Answer:
        """Who takes the body of a PATCH or DELETE of an event. Problem: it asks for no revision that can be."""
        event_id, revision = path[len(_EVENT_PREFIX) :], revision_of(headers)
        if not caller.covers(event_id):
            return other_event(ORGANISING).response
        change, limits = self._gateway.change_event, self._limits.event
        if method == "DELETE":
            return lambda _body, responder: change(event_id, CANCEL, revision, responder)
        return lambda body, responder: change(event_id, read_patch(body, limits), revision, responder)

    def _change_target(self, path: str, caller: Caller) -> Target | Answer | None:
        """Who takes the body of a POST about a reservation."""
        prefix = PEER_PREFIX if path.startswith(PEER_PREFIX) else _RESERVATION_PREFIX
        given, slash, end = path.removeprefix(prefix).rpartition("/")
        takers = self._of_peers if prefix == PEER_PREFIX else self._of_clients
        take = takers.get(slash + end)
        if not path.startswith(prefix) or take is None or "/" in given:
            return None
        reservation_id = canonical_id(given)
        if reservation_id is None:
            return problems.NOT_A_RESERVATION_ID.response
        key = reservation_id.encode()
        return lambda body, responder: take(key, body, responder, caller)

    def _change(self, key: bytes, change: Change, responder: Responder, caller: Caller) -> None:
        if caller.events and (caller.needs_event or change.refund):
            # An event's name is no part of an id: the reservation is read first, wherever it is.
            scopes = REFUNDING if change.refund else CANCELLING if change.kind is Kind.CANCEL else SELLING
            within = Within(caller, scopes, responder, lambda responder: self._gateway.change(key, change, responder))
            self._gateway.get_reservation(key.decode(), within)
        else:
            self._gateway.change(key, change, responder)

    def _pay(self, key: bytes, body: bytes, responder: Responder, caller: Caller) -> None:
        reference = read_payment(body, self._limits.payment_reference_bytes_max)
        self._change(key, Change(b"", Kind.PAY, reference), responder, caller)

    def _extend(self, key: bytes, body: bytes, responder: Responder, caller: Caller) -> None:
        seconds = read_extension(body, self._limits.event.hold_seconds_max)
        self._change(key, Change(b"", Kind.EXTEND, seconds=seconds), responder, caller)

    def _delete_target(self, path: str, query: str, caller: Caller) -> Target | Answer | None:
        given = path.removeprefix(_RESERVATION_PREFIX)
        if given == path or "/" in given:
            return None
        reservation_id = canonical_id(given)
        if reservation_id is None:
            return problems.NOT_A_RESERVATION_ID.response
        refund = _last(query, "refund", "false")
        if refund not in ("true", "false"):
            return problems.INVALID_REFUND.response
        if refund == "true" and not caller.may_refund:
            return (NO_REFUND if caller.scopes else problems.TOKEN_NEEDED).response
        key, change = reservation_id.encode(), Change(b"", Kind.CANCEL, refund=refund == "true")
        return lambda _body, responder: self._change(key, change, responder, caller)

    def get_other(self, request: Request, responder: Responder) -> None:
        """Answers every GET but the hot one."""
        path = request.path
        if path in HEALTH_PATHS:
            healthy = self._is_open if path == READY else self._ready
            answer_health(path, responder, healthy=healthy() and not self._gateway.draining)
        elif (path == _EVENT or path.startswith(_EVENT_PREFIX)) and not self._gateway.catalog.is_whole:
            refuse(responder, problems.NOT_SERVING)
        elif path == _EVENT:
            page = _page(request.query, self._limits.listed_events_max)._replace(events=request.caller.events)
            _respond_cacheable(request, responder, self._gateway.catalog.list_events(page))
        elif path.startswith(_EVENT_PREFIX):
            self._get_event(request, responder)
        elif path == "/openapi.json":
            responder.response_bytes(200, [("content-type", "application/json")], OPENAPI_JSON)
        elif path in ("/docs", "/"):
            responder.response_bytes(200, [("content-type", "text/html; charset=utf-8")], DOCS_HTML)
        elif path.startswith(self._id_prefixes):
            reservation_id = path.removeprefix(_RESERVATION_PREFIX).removeprefix(PEER_PREFIX)
            allowed = allowed_methods(path)
            if allowed == POST_METHODS:
                refuse(responder, problems.wrong_method(allowed))
            else:
                refuse(responder, problems.NO_SUCH_PATH if "/" in reservation_id else problems.NOT_A_RESERVATION_ID)
        else:
            refuse(responder, problems.NO_SUCH_PATH)

    def _get_event(self, request: Request, responder: Responder) -> None:
        catalog = self._gateway.catalog
        rest = request.path[len(_EVENT_PREFIX) :]
        covers = request.caller.covers
        found: Rendered | None = catalog.event(rest) if covers(rest) else None
        # A name may hold "/area/", too: every place in reach where the event's name can end.
        behind = self._limits.event.name_bytes_max + len(_AREA)
        at = rest.find(_AREA, 0, behind)
        while found is None and at >= 0:
            found = catalog.seat_map(rest[:at], rest[at + len(_AREA) :]) if covers(rest[:at]) else None
            at = rest.find(_AREA, at + 1, behind)
        if found is not None:
            _respond_cacheable(request, responder, found)
        elif self._lists and _takes_reservations(request.path):
            self._list(self._lists, rest.removesuffix(_RESERVATION_SUFFIX), request, responder)
        elif rest.endswith(_RESERVATION_SUFFIX):
            refuse(responder, problems.wrong_method(allowed_methods(request.path)))
        elif not covers(rest.partition(_AREA)[0]):
            refuse(responder, other_event(READING))
        else:
            refuse(responder, problems.NO_SUCH_AREA if _AREA in rest else problems.NO_SUCH_EVENT)

    def _list(self, lists: Lists, event_id: str, request: Request, responder: Responder) -> None:
        query = request.query
        page = _page(query, self._limits.listed_reservations_max)
        asked = wanted(event_id, page, _last(query, "user", None), _last(query, "state", None), self._limits)
        if not request.caller.covers(event_id):
            refuse(responder, other_event(REFUNDING))
        elif self._gateway.catalog.event(event_id) is None:
            refuse(responder, problems.NO_SUCH_EVENT)
        else:
            lists.take(asked, responder)


def answer_health(path: str, responder: Responder, *, healthy: bool) -> None:
    """200 or 503, for probes; whoever answers at all is alive."""
    if healthy or path == LIVE:
        responder.response_bytes(200, [("content-type", "text/plain"), ("cache-control", "no-store")], b"")
    else:
        refuse(responder, problems.NOT_SERVING)


def _takes_reservations(path: str) -> bool:
    # "/v1/event/reservation" is the event of that name.
    return path.endswith(_RESERVATION_SUFFIX) and path.startswith(_EVENT_PREFIX) and len(path) >= len(_EVENT_PREFIX + _RESERVATION_SUFFIX)


def _takes_changes(path: str) -> bool:
    # What has "/area/" in it is an area's path, though an event may be called so.
    return path.startswith(_EVENT_PREFIX) and len(path) > len(_EVENT_PREFIX) and not _takes_reservations(path) and _AREA not in path


def allowed_methods(path: str, *, lists: bool = False) -> str:
    """The methods that a path takes, as the Allow header has them; empty for an unknown path. ``lists``: reservations are listed."""
    if path == _EVENT:
        return f"{READ_METHODS}, POST"
    if path.startswith(_EVENT_PREFIX) and len(path) > len(_EVENT_PREFIX):
        if _takes_reservations(path):
            return f"{READ_METHODS}, POST" if lists else POST_METHODS
        return EVENT_METHODS if _takes_changes(path) else READ_METHODS
    if path.startswith(_RESERVATION_PREFIX):
        given, slash, end = path[len(_RESERVATION_PREFIX) :].rpartition("/")
        if not slash:
            return f"DELETE, {READ_METHODS}"
        return POST_METHODS if slash + end in (_PAYMENT_END, _EXTENSION_END) and "/" not in given else ""
    return READ_METHODS if path in _PLAIN_PATHS else ""


def route_of(path: str) -> str:
    """The path without what differs from request to request, as OpenAPI has it; "other" for one that is none of ours."""
    if path.startswith(_RESERVATION_PREFIX):
        return _route_of_end(path, _RESERVATION_ROUTES)
    if path.startswith(_EVENT_PREFIX):
        if _takes_reservations(path):
            return "/v1/event/{eventId}/reservation"
        return "/v1/event/{eventId}/area/{areaId}" if _AREA in path[len(_EVENT_PREFIX) :] else "/v1/event/{eventId}"
    if path.startswith(PEER_PREFIX):
        return _route_of_end(path, _PEER_ROUTES)
    return path if path in _PLAIN_PATHS else "other"


def _route_of_end(path: str, routes: tuple[tuple[str, str], ...]) -> str:
    # Asked for each request where somebody counts or limits them: a loop over constants, whose hashes are known.
    for end, route in routes:
        if path.endswith(end):
            return route
    return "other"


def _last(query: str, name: str, default: _Default) -> str | _Default:
    """The last value of a parameter. Problem: it is no text."""
    try:
        given = parse_qs(query, keep_blank_values=True, errors="strict").get(name)
    except UnicodeDecodeError as cause:
        raise problems.invalid_encoding() from cause
    return given[-1] if given else default


def _page(query: str, limit_max: int) -> Page:
    limit, after = _last(query, "limit", str(limit_max)), _last(query, "after", "")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= limit_max):
        raise Problem(400, "invalid_limit", f"limit is a number from 1 to {limit_max}.")
    return Page(int(limit), after)


def _respond_cacheable(request: Request, responder: Responder, document: Rendered) -> None:
    body, tag = document
    headers = [("content-type", "application/json"), ("etag", tag), ("cache-control", "no-cache")]
    known = {candidate.strip().removeprefix("W/") for candidate in request.if_none_match.split(",")}
    if tag in known or "*" in known:
        responder.response_bytes(304, headers[1:], b"")
    else:
        responder.response_bytes(200, headers, body)
