"""HTTP/2 by single bytes: the preface, and then frames that break the protocol."""

from __future__ import annotations

from random import Random

from h2.config import H2Configuration
from h2.connection import H2Connection

from tests.fuzz.messages import Headers, Message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
_HEAD_BYTES_MAX = 10_000
_END_STREAM, _END_HEADERS, _PADDED = 1, 4, 8


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame; ``length`` if it lies."""
    size = (len(payload) if length is None else length) & 0xFFFFFF
    return size.to_bytes(3, "big") + bytes([kind & 0xFF, flags & 0xFF]) + (stream & 0xFFFFFFFF).to_bytes(4, "big") + payload


def configuration() -> H2Configuration:
    """A client that sends what it is told, right or wrong."""
    return H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False)


def headers_of(message: Message) -> Headers:
    """A request's headers as HTTP/2 has them."""
    own = [(name.lower(), value.strip()) for name, value in message.headers if name.lower() != b"host"]
    pseudo = [(b":method", message.method), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", message.target)]
    return [*pseudo, *own]


def _proper(message: Message) -> bytes:
    """The whole request, as one stream of a new connection."""
    connection = H2Connection(configuration())
    connection.initiate_connection()
    connection.send_headers(1, headers_of(message), end_stream=not message.body)
    if message.body:
        connection.send_data(1, message.body[:16_384], end_stream=True)
    return connection.data_to_send()


def _rude_headers(random: Random, message: Message) -> bytes:
    """Headers that HTTP/2 forbids."""
    given = headers_of(message)
    kind = random.randrange(7)
    if kind == 0:
        del given[random.randrange(4)]
    elif kind == 1:
        given.append(given[random.randrange(4)])
    elif kind == 2:
        given.append(random.choice([(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"te", b"gzip"), (b"Upper", b"1")]))
    elif kind == 3:
        given.append((b"content-length", random.choice([b"1", b"-1", b"abc", b"+2", b"1_0", b"99999999999999999999", b"", b"\xd9\xa3"])))
    elif kind == 4:
        given[3] = (b":path", random.choice([b"", b"*", b"no slash", b"/\x00", b"/\xff", b"/a b", b"/" + b"x" * 70_000, b"http://x/"]))
    elif kind == 5:
        given[random.choice([0, 1, 2])] = random.choice(
            [(b":method", b""), (b":scheme", b""), (b":authority", b"\x00"), (b":unknown", b"1")]
        )
    else:
        given += [(b"x-%d" % number, b"v" * 100) for number in range(random.choice([200, 900]))]
    connection = H2Connection(configuration())
    connection.initiate_connection()
    connection.send_headers(1, given, end_stream=not message.body)
    if message.body:
        connection.send_data(1, message.body[:16_384], end_stream=True)
    return connection.data_to_send()


def _odd_frame(random: Random) -> bytes:
    """One frame that is wrong by itself or in its place."""
    stream = random.choice([0, 1, 1, 2, 3, 7, 2**31 - 1, 2**32 - 1])
    noise = random.randbytes(random.choice([0, 1, 4, 5, 8, 9, 40]))
    return random.choice(
        [
            frame(random.randrange(256), random.randrange(256), stream, noise),
            frame(DATA, _END_STREAM, stream, noise),
            frame(DATA, _PADDED, stream, b"\xff" + noise),
            frame(HEADERS, _END_HEADERS | _END_STREAM, stream, noise),
            frame(HEADERS, _END_STREAM, stream, b"\x82\x86\x84") + frame(CONTINUATION, 0, stream, b"") * random.choice([1, 10, 2_000]),
            frame(PRIORITY, 0, stream, (stream & 0x7FFFFFFF).to_bytes(4, "big") + b"\x00"),
            frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big")),
            frame(SETTINGS, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
            frame(SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x00"),
            frame(SETTINGS, 0, 0, b"\x00\x01\x00\x00\x00\x00") * random.choice([1, 500]),
            frame(SETTINGS, 1, 0, noise),
            frame(PUSH_PROMISE, _END_HEADERS, stream, b"\x00\x00\x00\x02\x82"),
            frame(PING, 0, 0, b"12345678") * random.choice([1, 500]),
            frame(PING, 0, stream, noise),
            frame(GOAWAY, 0, 0, b"\x00" * 8 + noise),
            frame(WINDOW_UPDATE, 0, stream, b"\x00\x00\x00\x00"),
            frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff") * 2,
            frame(CONTINUATION, _END_HEADERS, stream, noise),
            frame(DATA, 0, stream, noise, length=random.choice([2**14 + 1, 2**24 - 1, 5])),
        ]
    )


def _rapid_resets(random: Random) -> bytes:
    """Streams that are opened and broken off at once."""
    head = b"\x82\x86\x84\x41\x09localhost"
    streams = range(1, 2 * random.choice([10, 100, 1_000]), 2)
    return b"".join(
        frame(HEADERS, _END_HEADERS | _END_STREAM, one, head) + frame(RST_STREAM, 0, one, b"\x00\x00\x00\x08") for one in streams
    )


def broken_frames(random: Random, message: Message) -> bytes:
    """A connection's bytes."""
    if len(message.head()) > _HEAD_BYTES_MAX:
        # HPACK in Python takes a minute for half a megabyte, and nobody else gets on meanwhile.
        message.headers, message.target = [], b"/v1/event"
    kind = random.randrange(6)
    start = PREFACE + frame(SETTINGS, 0, 0)
    if kind == 0:
        return _rude_headers(random, message)
    if kind == 1:
        return _proper(message) + b"".join(_odd_frame(random) for _ in range(random.randrange(1, 4)))
    if kind == 2:
        return random.choice([start, PREFACE]) + b"".join(_odd_frame(random) for _ in range(random.randrange(1, 6)))
    if kind == 3:
        return start + _rapid_resets(random)
    data = bytearray(_proper(message))
    if kind == 4:
        for _ in range(random.choice([1, 3, 10])):
            data[random.randrange(len(PREFACE), len(data))] ^= 1 << random.randrange(8)
        return bytes(data)
    at = random.randrange(len(data))
    return bytes(data[:at]) + random.randbytes(random.choice([1, 9, 100])) + bytes(data[at:])
