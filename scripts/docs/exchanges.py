"""Requests to an HTTP server, and the answers to them: tests hold them, ``reference.py`` writes them into docs/http.md.

The event ``concert`` has an area ``A`` with free seats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ID: Final = "/v1/reservation/01a2124a-fc96-7000-8855-0ce95bc3ca78"
_ASK: Final = "POST /v1/event/concert/reservation"
_READ: Final = "GET, HEAD, OPTIONS"
_KEY: Final = "idempotency-key: 8e03978e-40d5-43dd-bc93-6894a57f9324"
HTTP1: Final = ("1.1",)
HTTP2: Final = ("2",)
BOTH: Final = ("1.1", "2")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, over some versions of HTTP, and what it is answered with."""

    what: str
    request: str
    # A status and the code of its problem, if it has one; or "reset": the stream is reset.
    answer: str
    by: str = ""
    # Headers of the request, and those of the answer.
    sent: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    body: str | bytes = ""
    # Lines of Host over HTTP/1, :authority over HTTP/2.
    hosts: tuple[str, ...] = ("localhost",)
    authority: str | None = "localhost"
    over: tuple[str, ...] = BOTH
    # On the port of --metrics-port.
    operators: bool = False


def _area(price: str) -> str:
    return f'{{"eventName":"next","areas":[{{"areaId":"A","price":{price},"rowCount":1,"colCount":9}}]}}'


def _seats(count: str, more: str = "") -> str:
    return f'{{"userId":"ann","areaId":"A","type":"RANDOM","numOfSeats":{count}{more}}}'


def _picked(count: str, seats: str) -> str:
    return f'{{"userId":"ann","areaId":"A","type":"SELF_PICK","numOfSeats":{count},"seats":[{seats}]}}'


def _held(seconds: int, seconds_max: int) -> str:
    areas = '[{"areaId":"A","rowCount":1,"colCount":9}]'
    return f'{{"eventName":"next","areas":{areas},"holdSeconds":{seconds},"holdSecondsMax":{seconds_max}}}'


_HOSTS: Final = (
    Exchange("one Host", "GET /v1/health_check", "200", "RFC 9112, 3.2", over=HTTP1),
    Exchange("no Host", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=(), over=HTTP1),
    Exchange("no Host", _ASK, "400 invalid_host", "RFC 9112, 3.2", hosts=(), body=_seats("1"), over=HTTP1),
    Exchange("two Hosts", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("a", "b"), over=HTTP1),
    Exchange("the same twice", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("a", "a"), over=HTTP1),
    Exchange("a Host that is none", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("a, b",), over=HTTP1),
    Exchange("a Host with a user", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("user@a",), over=HTTP1),
    Exchange("a Host with a path", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("a/b",), over=HTTP1),
    Exchange("an empty Host", "GET /v1/health_check", "200", "RFC 9112, 3.3: may be taken", hosts=("",), over=HTTP1),
    Exchange("host and port", "GET /v1/health_check", "200", "RFC 3986, 3.2", hosts=("[::1]:8080",), over=HTTP1),
    Exchange("HTTP/1.0 without Host", "GET /v1/health_check", "200", "RFC 9112, 3.2", hosts=(), over=("1.0",)),
    Exchange("HTTP/1.0 with two", "GET /v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=("a", "b"), over=("1.0",)),
    Exchange("a host in the target", "GET http://elsewhere/v1/health_check", "200", "RFC 9112, 3.2.2", over=HTTP1),
    Exchange("the same without Host", "GET http://elsewhere/v1/health_check", "400 invalid_host", "RFC 9112, 3.2", hosts=(), over=HTTP1),
    Exchange(":authority", "GET /v1/health_check", "200", "RFC 9113, 8.3.1", hosts=(), over=HTTP2),
    Exchange("Host instead", "GET /v1/health_check", "200", "RFC 9113, 8.3.1", authority=None, over=HTTP2),
    Exchange("both, equal", "GET /v1/health_check", "200", "RFC 9113, 8.3.1", over=HTTP2),
    Exchange("both, different", "GET /v1/health_check", "400 invalid_host", "RFC 9113, 8.3.1", hosts=("other",), over=HTTP2),
    Exchange(
        "neither, as HAProxy asks", "GET /v1/health_check", "200", "RFC 9113, 8.3.1: should be sent", hosts=(), authority=None, over=HTTP2
    ),
    Exchange("an empty :authority", "GET /v1/health_check", "reset", "RFC 9113, 8.3.1", hosts=(), authority="", over=HTTP2),
)

_METHODS: Final = (
    Exchange("HEAD as GET", "HEAD /v1/health_check", "200", "RFC 9110, 9.3.2", told=("content-length: 0",)),
    Exchange("its length and tag", "HEAD /v1/event/concert", "200", "RFC 9110, 9.3.2", told=("content-length: *", "etag: *")),
    Exchange("unchanged", "HEAD /v1/event/concert", "304", "RFC 9110, 13.1.2", sent=("if-none-match: *",), told=("etag: *",)),
    Exchange("in the second of two lines", "GET /v1/event", "304", "RFC 9110, 5.3", sent=('if-none-match: "x"', "if-none-match: *")),
    Exchange("of what is not there", "HEAD /v1/event/nowhere", "404", "RFC 9110, 9.3.2", told=("content-length: *",)),
    Exchange("of a reservation: a long poll", f"HEAD {_ID}", "503", "RFC 9110, 9.3.2", told=("retry-after: 0",)),
    Exchange("of what is only posted to", "HEAD /v1/event/concert/reservation", "405", "RFC 9110, 15.5.6", told=("allow: OPTIONS, POST",)),
    Exchange("OPTIONS", "OPTIONS /v1/event", "204", "RFC 9110, 9.3.7", told=(f"allow: {_READ}, POST",)),
    Exchange("of a reservation", f"OPTIONS {_ID}", "204", "RFC 9110, 9.3.7", told=(f"allow: DELETE, {_READ}",)),
    Exchange("of a payment", f"OPTIONS {_ID}/payment", "204", "RFC 9110, 9.3.7", told=("allow: OPTIONS, POST",)),
    Exchange("of all", "OPTIONS *", "204", "RFC 9110, 9.3.7", told=(f"allow: DELETE, {_READ}, PATCH, POST",)),
    Exchange("of no path", "OPTIONS /v2", "404 no_such_path", "RFC 9110, 9.3.7"),
    Exchange("another method", "PUT /v1/event/concert", "405 wrong_method", "RFC 9110, 15.5.6", told=(f"allow: DELETE, {_READ}, PATCH",)),
    Exchange("one nobody knows", "BREW /v1/event", "405 wrong_method", "RFC 9110, 15.5.6", told=(f"allow: {_READ}, POST",)),
    Exchange("TRACE", "TRACE /v1/event", "405 wrong_method", "RFC 9110, 9.3.8", told=(f"allow: {_READ}, POST",)),
    Exchange("CONNECT", "CONNECT localhost:80", "404 no_such_path", "RFC 9110, 9.3.6", over=HTTP1),
    Exchange("for operators", "HEAD /v1/health_check/ready", "200", "RFC 9110, 9.3.2", told=("content-length: 0",), operators=True),
    Exchange("for operators", "HEAD /metrics", "200", "RFC 9110, 9.3.2", told=("content-length: *",), operators=True),
    Exchange("for operators", "OPTIONS /metrics", "204", "RFC 9110, 9.3.7", told=(f"allow: {_READ}",), operators=True),
    Exchange("for operators", "POST /metrics", "405 wrong_method", "RFC 9110, 15.5.6", told=(f"allow: {_READ}",), operators=True),
    Exchange("for operators", "POST /v1/event", "404 no_such_path", "", body="{}", operators=True),
    Exchange("for operators", "GET /metrics", "400 invalid_host", "RFC 9112, 3.2", hosts=(), over=HTTP1, operators=True),
)

_TARGETS: Final = (
    Exchange("no UTF-8", "GET /v1/event/%FF", "400 invalid_encoding", "RFC 3629"),
    Exchange("no UTF-8", "POST /v1/event/%FF/reservation", "400 invalid_encoding", "RFC 3629", body=_seats("1")),
    Exchange("no UTF-8", "GET /v1/event/concert/area/%FF", "400 invalid_encoding", "RFC 3629"),
    Exchange("no UTF-8", "GET /v1/reservation/%FF", "400 invalid_encoding", "RFC 3629"),
    Exchange("no UTF-8", "GET /v1/event?after=%FF", "400 invalid_encoding", "RFC 3629"),
    Exchange("no UTF-8", "GET /%FF", "400 invalid_encoding", "RFC 3629"),
    Exchange("overlong", "GET /v1/event/%C0%AF", "400 invalid_encoding", "RFC 3629, 3"),
    Exchange("half a surrogate pair", "GET /v1/event/%ED%A0%80", "400 invalid_encoding", "RFC 3629, 3"),
    Exchange("cut off", "GET /v1/event/%E6%9D", "400 invalid_encoding", "RFC 3629, 3"),
    Exchange("U+FFFD itself", "GET /v1/event/%EF%BF%BD", "400 invalid_encoding", "names hold none"),
    Exchange("a NUL is a character", "GET /v1/event/%00", "404 no_such_event"),
    Exchange("so is a slash", "GET /v1/event/a%2Fb", "404 no_such_event"),
    Exchange("a % without digits is itself", "GET /v1/event/100%", "404 no_such_event", "as browsers do"),
    Exchange("a letter in percent-encoding", "GET /v1/%65vent/concert", "200", "RFC 3986, 6.2.2.2"),
    Exchange("dots are names", "GET /v1/event/../event", "404 no_such_event", "nothing is resolved"),
    Exchange("two slashes", "GET //v1/event", "404 no_such_path", "nothing is merged", over=HTTP1),
    Exchange("an empty name", "POST /v1/event//reservation", "400 empty_name", body=_seats("1")),
    Exchange("no UUID", "GET /v1/reservation/7", "404 no_such_reservation"),
    Exchange("no UUID", "POST /v1/reservation/7/payment", "404 no_such_reservation", body='{"reference":"7"}'),
    Exchange("no UUID", "DELETE /v1/reservation/7", "404 no_such_reservation"),
    Exchange("neither true nor false", f"DELETE {_ID}?refund=yes", "400 invalid_refund"),
    Exchange("the last of two", "GET /v1/event?limit=0&limit=1", "200"),
    Exchange("an unknown parameter", "GET /v1/event?colour=red", "200"),
)

_KEYS: Final = (
    Exchange("one", _ASK, "200", "", sent=(_KEY,), body=_seats("1")),
    Exchange("for the same again", _ASK, "200", "", sent=(_KEY,), body=_seats("1")),
    Exchange("quotes are a part of it", _ASK, "200", "", sent=('idempotency-key: "8e03978e"',), body=_seats("1")),
    Exchange("two", _ASK, "400 invalid_idempotency_key", "", sent=(_KEY, "idempotency-key: 7"), body=_seats("1")),
    Exchange("the same twice", _ASK, "400 invalid_idempotency_key", "", sent=(_KEY, _KEY), body=_seats("1")),
    Exchange("not ASCII", _ASK, "400 invalid_idempotency_key", "", sent=("idempotency-key: é",), body=_seats("1")),
    Exchange("with a space", _ASK, "400 invalid_idempotency_key", "", sent=("idempotency-key: a b",), body=_seats("1")),
    Exchange("empty", _ASK, "400 invalid_idempotency_key", "", sent=("idempotency-key: ",), body=_seats("1")),
    Exchange("not looked at elsewhere", "GET /v1/event/concert", "200", "", sent=(_KEY, _KEY)),
)

_BODIES: Final = (
    Exchange("a reference that is none", f"POST {_ID}/payment", "400 invalid_field", "", body='{"reference":7}'),
    Exchange("an empty one", f"POST {_ID}/payment", "400 invalid_reference", "", body='{"reference":""}'),
    Exchange("a payment without a body", f"POST {_ID}/payment", "400 malformed_json"),
    Exchange("seconds below 1", f"POST {_ID}/extension", "400 invalid_extension", "", body='{"seconds":0}'),
    Exchange("more than a week", f"POST {_ID}/extension", "400 invalid_extension", "", body='{"seconds":604801}'),
    Exchange("a hold that is longer than it may be", "POST /v1/event", "400 invalid_hold", "", body=_held(60, 59)),
    Exchange("an integer", _ASK, "200", "JSON Schema, 6.1.1", body=_seats("1")),
    Exchange("1.0 is one", _ASK, "200", "JSON Schema, 6.1.1", body=_seats("1.0")),
    Exchange("so is 10e-1", _ASK, "200", "JSON Schema, 6.1.1", body=_seats("10e-1")),
    Exchange("2.5 is none", _ASK, "400 invalid_field", "JSON Schema, 6.1.1", body=_seats("2.5")),
    Exchange("nor is a text", _ASK, "400 invalid_field", "JSON Schema, 6.1.1", body=_seats('"2"')),
    Exchange("too large", _ASK, "400 invalid_field", "32 bits", body=_seats("1e999999999")),
    Exchange("NaN is no JSON", _ASK, "400 malformed_json", "RFC 8259, 6", body=_seats("NaN")),
    Exchange("a price that is written 0.0", "POST /v1/event", "200", body=_area("0.0")),
    Exchange("a price below 0", "POST /v1/event", "400 invalid_price", body=_area("-500")),
    Exchange("counts that agree", _ASK, "200", body=_picked("1", '{"row":0,"col":0}')),
    Exchange("counts that do not", _ASK, "400 seat_count_mismatch", body=_picked("5", '{"row":0,"col":0}')),
    Exchange("no seat: the area refuses it", _ASK, "200", body=_picked("1", "")),
    Exchange("a field twice: the last", _ASK, "200", "RFC 8259, 4", body=_seats("9999", ',"numOfSeats":1')),
    Exchange("an unknown field", _ASK, "200", body=_seats("1", ',"colour":"red"')),
    Exchange("a byte order mark", _ASK, "400 malformed_json", "RFC 8259, 8.1", body="\ufeff" + _seats("1")),
    Exchange("UTF-16", _ASK, "400 malformed_json", "RFC 8259, 8.1", body=_seats("1").encode("utf-16-le")),
    Exchange("another Content-Type", _ASK, "200", "not looked at", sent=("content-type: text/plain",), body=_seats("1")),
    Exchange("no body", "POST /v1/event", "400 malformed_json"),
    Exchange("a body of a GET", "GET /v1/event/concert", "200", "RFC 9110, 9.3.1: ignored", body="{}"),
)

_TAKEN: Final = _seats("1")
_CHUNKED: Final = f"{len(_TAKEN):x}\r\n{_TAKEN}\r\n0\r\n\r\n"
_CLOSES: Final = ("connection: close",)

_FRAMES: Final = (
    Exchange("chunks", _ASK, "200", "RFC 9112, 7.1", sent=("transfer-encoding: chunked",), body=_CHUNKED, over=HTTP1),
    Exchange("it asks first", _ASK, "200", "RFC 9110, 10.1.1", sent=("expect: 100-continue",), body=_TAKEN, over=HTTP1),
    Exchange(
        "chunks and a length: the chunks",
        _ASK,
        "200",
        "RFC 9112, 6.1: closes",
        sent=("content-length: 2", "transfer-encoding: chunked"),
        told=_CLOSES,
        body=_CHUNKED,
        over=HTTP1,
    ),
    Exchange(
        "chunks of a GET",
        "GET /v1/event/concert",
        "200",
        "RFC 9110, 9.3.1: ignored",
        sent=("transfer-encoding: chunked",),
        body="2\r\n{}\r\n0\r\n\r\n",
        over=HTTP1,
    ),
    Exchange("an expectation of another kind", _ASK, "200", "RFC 9110, 10.1.1: ignored", sent=("expect: x",), body=_TAKEN, over=HTTP1),
    Exchange("a coding that is not the last", _ASK, "400", "RFC 9112, 6.1", sent=("transfer-encoding: gzip",), told=_CLOSES, over=HTTP1),
    Exchange(
        "chunks over HTTP/1.0",
        _ASK,
        "400",
        "RFC 9112, 6.1",
        sent=("transfer-encoding: chunked",),
        told=_CLOSES,
        body=_CHUNKED,
        over=("1.0",),
    ),
    Exchange("the same length twice", _ASK, "200", "RFC 9110, 8.6", sent=(f"content-length: {len(_TAKEN)}",) * 2, body=_TAKEN, over=HTTP1),
    Exchange("two lengths", _ASK, "400", "RFC 9112, 6.3", sent=("content-length: 1", "content-length: 2"), told=_CLOSES, over=HTTP1),
    Exchange("a length with a sign", _ASK, "400", "RFC 9110, 8.6", sent=("content-length: +5",), told=_CLOSES, over=HTTP1),
    Exchange("space before a colon", "GET /v1/event", "400", "RFC 9112, 5.1", sent=("x : 1",), told=_CLOSES, over=HTTP1),
    Exchange("a folded header", "GET /v1/event", "400", "RFC 9112, 5.2", sent=("x: 1\r\n 2",), told=_CLOSES, over=HTTP1),
    Exchange("a NUL in a header", "GET /v1/event", "400", "RFC 9110, 5.5", sent=("x: \0",), told=_CLOSES, over=HTTP1),
    Exchange("a space in the target", "GET /v1/event/a b", "400", "RFC 9112, 3", told=_CLOSES, over=HTTP1),
    Exchange("two spaces", "GET  /v1/event", "400", "RFC 9112, 3", told=_CLOSES, over=HTTP1),
    Exchange("another version", "GET /v1/event", "400", "RFC 9112, 2.3", told=_CLOSES, over=("1.2",)),
    Exchange(
        "an Upgrade to h2c", "GET /v1/event", "200", "RFC 9113, 3.1: ignored", sent=("connection: upgrade", "upgrade: h2c"), over=HTTP1
    ),
    Exchange("a header of connections", "GET /v1/event", "reset", "RFC 9113, 8.2.2", sent=("connection: close",), hosts=(), over=HTTP2),
    Exchange("chunks", _ASK, "reset", "RFC 9113, 8.2.2", sent=("transfer-encoding: chunked",), hosts=(), over=HTTP2),
    Exchange("a length without a body", _ASK, "reset", "RFC 9113, 8.1.1", sent=("content-length: 3",), hosts=(), over=HTTP2),
)

EXCHANGES: Final = {
    "Host": _HOSTS,
    "Methods": _METHODS,
    "Paths and queries": _TARGETS,
    "Idempotency-Key": _KEYS,
    "Bodies": _BODIES,
    "Framing": _FRAMES,
}
