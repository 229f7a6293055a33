"""Changes of a request before it is sent. A mutation says what the server owes for the request afterwards."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import quote

from tests.fuzz import bodies
from tests.fuzz.framing import chunked, length
from tests.fuzz.messages import KNOWN_ID, Expect, Headers, Message

# Not that of an example in the OpenAPI document, which requests are made up from.
EVENT = "fuzzed"
# To be changed and cancelled: with the one that is sold the sale would end.
OTHER = "other"
AREAS = [f"area {number}" for number in range(10)]
ROWS, COLS = 40, 60

Mutation = Callable[[Random, Message], None]


def aim(random: Random, message: Message) -> None:
    """Sends a request to what exists: the event that is sold, its areas, a reservation of this run. No mutation: it is valid."""
    area = random.choice(AREAS)
    template = message.operation.partition(" ")[2]
    event = OTHER if template == "/v1/event/{eventId}" else EVENT
    known = {"{eventId}": event, "{areaId}": quote(area), "{reservationId}": KNOWN_ID.decode()}
    if "{" not in template:
        return
    for name, value in known.items():
        template = template.replace(name, value)
    message.target = template.encode()
    if message.method == b"POST":
        count = random.choice([1, 1, 2, 2, 3, 4])
        order: dict[str, Any] = {"userId": "ann", "areaId": area, "numOfSeats": count, "type": "RANDOM"}
        if random.random() < 0.3:
            row, col = random.randrange(ROWS), random.randrange(COLS - count)
            order |= {"type": "SELF_PICK", "seats": [{"row": row, "col": col + number} for number in range(count)]}
        message.body = json.dumps(order).encode()


# --- The request line ----------------------------------------------------------------------------------------------------

_METHODS = [
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"HEAD",
    b"BREW",
    b"get",
    b"Post",
    b"GETT",
    b"M-SEARCH",
    b"X" * 2_000,
    b"!#$%&'*+",
]
_NO_METHODS = [b"", b"GE T", b"G\x00T", b"G\xc3\x89T", b"GET\t", b"(GET)", b"\x7f", b"CONNECT", b"X" * 100_000]


def method(random: Random, message: Message) -> None:
    """Another method, or none."""
    if random.random() < 0.8:
        message.method = random.choice([*_METHODS, b"GET", b"POST"])
    else:
        message.method = random.choice(_NO_METHODS)
        message.at_least(Expect.ANYTHING)


_PIECES = [
    *(
        b"",
        b".",
        b"..",
        b"%2e%2e",
        b"%2F",
        b"%2f%2f",
        b"%00",
        b"%ff",
        b"%c0%af",
        b"%ed%a0%80",
        b"%",
        b"%G1",
        b"%f",
        b"%0d%0a",
        b"%25%32%66",
    ),
    *(b";a=b", b"a+b", b"~", b"*", b"area", b"reservation", b"v1", b"event", b"concert", b"%E6%9D%B1", b"n" * 255, b"n" * 256, b"%41" * 86),
    *(b"x" * 60_000, b"a/" * 5_000, b"%23", b"%3F", b"&", b"'", b"$", b"@", b":", b"=", KNOWN_ID, KNOWN_ID.upper(), b"{" + KNOWN_ID + b"}"),
]
_NO_TARGETS = [
    *(b"", b"v1/event", b"/a b", b"/\x00", b"/\x7f", b"/\xff\xfe", b"/\xe6\x9d", b"/a\tb", b"\\", b"/" + b"x" * 70_000, b"http://", b"//"),
    *(b"http://[::1", b"http://local host/", b"://", b"?", b"#", b"ftp:", b"/\xc3\xa9", b"/<>", b'/"', b"/`", b"/{}|^"),
]


def path(random: Random, message: Message) -> None:
    """Segments and their encoding."""
    before, mark, query_string = message.target.partition(b"?")
    segments = before.split(b"/")[1:]
    at = random.randrange(len(segments))
    kind = random.randrange(9)
    if kind == 0:
        del segments[at]
    elif kind == 1:
        segments.insert(at, random.choice(_PIECES))
    elif kind == 2:
        segments[at] = random.choice(_PIECES)
    elif kind == 3:
        segments[at] += random.choice(_PIECES)
    elif kind == 4:
        other = random.randrange(len(segments))
        segments[at], segments[other] = segments[other], segments[at]
    elif kind == 5:
        segments[at] = b"".join(b"%%%02x" % byte for byte in segments[at])
    elif kind == 6:
        segments[at] = segments[at].replace(b"%", b"%25")
    elif kind == 7:
        segments[at] = segments[at].swapcase()
    else:
        segments += [b""] * random.choice([1, 2, 100])
    message.target = b"/" + b"/".join(segments) + mark + query_string
    if len(message.target) > 65_000:
        message.at_least(Expect.REFUSAL)


def target(random: Random, message: Message) -> None:
    """Forms of the request's target that are no plain path."""
    if random.random() < 0.5:
        start = random.choice([b"http://localhost", b"http://localhost:80", b"https://example.org", b"HTTP://LOCALHOST"])
        message.target = random.choice([start + message.target, message.target + b"#fragment"])
    else:
        message.target = random.choice([*_NO_TARGETS, b"*"])
        message.at_least(Expect.ANYTHING)


_QUERIES = [
    *(b"limit=1", b"limit=0", b"limit=-1", b"limit=1001", b"limit=", b"limit", b"limit=1.0", b"limit=1e2", b"limit=%D9%A3", b"limit=0001"),
    *(b"limit=" + b"9" * 5_000, b"limit=1&limit=2", b"limit=%00", b"limit=%ff", b"limit=+1", b"limit=%201", b"LIMIT=1", b"limit[]=1"),
    *(
        b"after=",
        b"after=concert",
        b"after=%ff",
        b"after=%00",
        b"after=" + b"z" * 10_000,
        b"after=%F4%8F%BF%BF",
        b"after=a&after=b",
        b"after=a;limit=0",
    ),
    *(b"&" * 1_000, b"=" * 100, b"a=b&" * 2_000, b"%", b"%%%", b"??", b"a[b][c]=d", b"=&=", b"+", b"limit=5&after=%2B", b"'\"<"),
]


def query(random: Random, message: Message) -> None:
    """What stands behind the question mark."""
    before, _, given = message.target.partition(b"?")
    added = random.choice(_QUERIES)
    message.target = before + b"?" + random.choice([added, given + b"&" + added, added + b"&" + given])
    if b'"' in added:
        message.at_least(Expect.ANYTHING)


def http_version(random: Random, message: Message) -> None:
    """Other versions."""
    if random.random() < 0.5:
        message.version = b"HTTP/1.0"
        message.in_sync = False
        if random.random() < 0.5:
            message.headers.append((b"connection", b"keep-alive"))
    else:
        message.version = random.choice(
            [b"", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b"ICY"]
        )
        message.at_least(Expect.ANYTHING)


# --- Headers -------------------------------------------------------------------------------------------------------------

_ODD_HEADERS: Headers = [
    *((b"if-none-match", value) for value in (b"*", b'""', b"W/", b",,,", b'"' + b"f" * 24 + b'"', b"\xff\xfe", b'"a",' * 2_000)),
    *((b"accept", value) for value in (b"", b"image/png", b"*/*;q=0", b"application/problem+json", b"a" * 8_000)),
    *((b"accept-encoding", b"gzip, br"), (b"range", b"bytes=0-1"), (b"range", b"bytes=9-1"), (b"te", b"trailers"), (b"trailer", b"x")),
    *((b"cookie", b"a=b; " * 500), (b"authorization", b"Basic \xff"), (b"x-forwarded-for", b"::1"), (b"x-http-method-override", b"DELETE")),
    *((b"host", b""), (b"host", b"evil:99999"), (b"date", b"never"), (b"via", b"1.1 a"), (b"max-forwards", b"0"), (b"if-match", b"*")),
    *(
        (b"keep-alive", b"timeout=0"),
        (b"x-" + b"n" * 1_000, b"1"),
        (b"x", b"v" * 60_000),
        (b"x", b"\xe6\x9d\xb1"),
        (b"x", b"\t"),
        (b"!#$%&'*+-.^_`|~", b"1"),
    ),
    *((b"if-modified-since", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"content-encoding", b"gzip"), (b"origin", b"null"), (b"x", b"")),
]
_NO_HEADERS: Headers = [
    *(
        (b"", b"1"),
        (b"a b", b"1"),
        (b"a\x00", b"1"),
        (b"a(", b"1"),
        (b"\xc3\xa9", b"1"),
        (b"x", b"\x00"),
        (b"x", b"\x7f"),
        (b"x", b"a\rb"),
        (b"x", b"a\nb"),
    ),
    *((b"x", b"a\r\n folded"), (b" x", b"1"), (b"host ", b"a"), (b"x" * 70_000, b"1"), (b"x", b"v" * 500_000), (b"x", b"a\r\n\r\n")),
]


def headers(random: Random, message: Message) -> None:
    """Headers missing, repeated, odd, or none at all."""
    kind = random.randrange(6)
    given = message.headers
    if kind == 0 and given:
        del given[random.randrange(len(given))]
    elif kind == 1 and given:
        given += [random.choice(given)] * random.choice([1, 2, 50, 200])
    elif kind == 2:
        given += [(b"x-%d" % number, b"1") for number in range(random.choice([10, 80, 500]))]
    elif kind == 3:
        given.append(random.choice(_NO_HEADERS))
        message.at_least(Expect.ANYTHING)
    else:
        given += random.choices(_ODD_HEADERS, k=random.choice([1, 1, 3]))
    # The HTTP layer takes 100 at most.
    if len(given) + len(message.framing_headers()) > 98:
        message.at_least(Expect.REFUSAL)


_TYPES = [
    b"",
    b"text/plain",
    b"application/xml",
    b"application/json; charset=utf-16",
    b"multipart/form-data; boundary=x",
    b"\xff",
    b"a",
    b"*/*",
    b"/",
]


def content_type(random: Random, message: Message) -> None:
    """The body's type says something else than the body."""
    message.headers = [pair for pair in message.headers if pair[0].lower() != b"content-type"]
    message.headers += [(b"content-type", random.choice(_TYPES))] * random.choice([1, 1, 2])
    if message.body is not None and random.random() < 0.2:
        message.headers.append((b"content-encoding", b"gzip"))
        message.body = gzip.compress(message.body, 1, mtime=0)


def expectation(random: Random, message: Message) -> None:
    """Expect: 100-continue, or something that nobody can fulfil."""
    message.headers.append((b"expect", random.choice([b"100-continue", b"100-continue", b"100-Continue", b"200-ok", b"", b"a" * 1_000])))


_UPGRADES: list[Headers] = [
    [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")],
    [(b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAAQAoAAAAAIAAAAA")],
    [(b"upgrade", b"TLS/1.0, HTTP/1.1")],
    [(b"upgrade", b"")],
]


def upgrade(random: Random, message: Message) -> None:
    """Asks for another protocol: the answer is that of the one that is spoken."""
    message.headers += random.choice(_UPGRADES)
    if random.random() < 0.8:
        message.headers.append((b"connection", random.choice([b"upgrade", b"Upgrade, HTTP2-Settings", b"close", b"keep-alive, Upgrade"])))
    message.in_sync = False


# --- The body ------------------------------------------------------------------------------------------------------------


def _on_body(change: Callable[[Random, bytes], bytes]) -> Mutation:
    def changed(random: Random, message: Message) -> None:
        message.body = change(random, message.body or b"")

    changed.__doc__ = change.__doc__
    return changed


def large_body(random: Random, message: Message) -> None:
    """Around the limit of a body, and far beyond it."""
    body = message.body or b"{}"
    size = 65_536 + random.choice([-1, 0, 1, 100, 70_000, 300_000])
    message.body = random.choice([body.ljust(size), b"[" * size, b'"' + b"x" * size, body[:-1] + b',"x":"' + b"y" * size + b'"}'])


CONTENT: dict[str, tuple[int, Mutation]] = {
    "method": (4, method),
    "path": (10, path),
    "target": (3, target),
    "query": (5, query),
    "version": (2, http_version),
    "headers": (8, headers),
    "content type": (3, content_type),
    "expect": (2, expectation),
    "upgrade": (2, upgrade),
    "length": (5, length),
    "chunked": (6, chunked),
    "body: json": (26, _on_body(bodies.json_nodes)),
    "body: flipped": (6, _on_body(bodies.flipped)),
    "body: truncated": (4, _on_body(bodies.truncated)),
    "body: spliced": (5, _on_body(bodies.spliced)),
    "body: encoded": (4, _on_body(bodies.encoded)),
    "body: large": (1, large_body),
}
_NAMES = list(CONTENT)
_WEIGHTS = [weight for weight, _ in CONTENT.values()]
# These change what another one has set: they go last.
_LAST = ("length", "chunked")


def mutate(random: Random, message: Message, count: int) -> None:
    """Applies ``count`` mutations, none twice."""
    chosen = set(random.choices(_NAMES, _WEIGHTS, k=count))
    if set(_LAST) <= chosen:
        chosen.remove("length")
    for name in sorted(chosen, key=lambda one: (one in _LAST, _NAMES.index(one))):
        # A body that nobody reads is of little use: most of these go to a request that has one.
        if name.startswith("body") and message.body is None and random.random() < 0.9:
            continue
        CONTENT[name][1](random, message)
        message.mutations.append(name)
    _note_what_http_makes_of_it(message)


def _note_what_http_makes_of_it(message: Message) -> None:
    if len(message.headers) > 95 or len(message.target) > 65_000 or len(message.head()) > 200_000:
        message.at_least(Expect.REFUSAL)
    if re.search(rb"[\x00-\x20\x7f-\xff]", message.target):
        message.at_least(Expect.ANYTHING)
