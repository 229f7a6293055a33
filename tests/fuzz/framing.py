"""Where a body ends: lengths and chunks, proper ones and others."""

from __future__ import annotations

from random import Random

from tests.fuzz.messages import Expect, Message


def length(random: Random, message: Message) -> None:
    """A content-length that is missing, wrong or no number."""
    body = message.body = message.body or b'{"eventName":"x"}'
    size = len(body)
    kind = random.randrange(6)
    if kind == 0:
        # What follows is taken for another request.
        message.framing = (
            random.choice([[], [(b"content-length", b"0")], [(b"content-length", b"%d" % random.randrange(size))]]) if size else []
        )
        message.in_sync = False
    elif kind == 1:
        message.framing = [(b"content-length", b"%d" % (size + random.choice([1, 1, 100, 10**6, 2**31, 2**63 - 1])))]
        message.at_least(Expect.ANYTHING)
    elif kind == 2:
        wrong = [
            b"-1",
            b"+%d" % size,
            b"0x%x" % size,
            b"%d,%d" % (size, size),
            b"1_0",
            b"%d.0" % size,
            b"abc",
            b"",
            b"\xd9\xa3",
            b"1 1",
            b"%d" % 2**64,
        ]
        message.framing = [(b"content-length", random.choice(wrong))]
        message.at_least(Expect.ANYTHING)
    elif kind == 3:
        message.framing = [(b"content-length", b"%d" % size), (b"Content-Length", b"%d" % (size + 1))]
        message.at_least(Expect.ANYTHING)
    elif kind == 4:
        message.framing = [(b"content-length", random.choice([b"000%d" % size, b"%05000d" % size, b"  %d  " % size, b"%d" % size]))]
    else:
        message.framing = [(b"content-length", b"%d" % size)] * 2
        message.at_least(Expect.REFUSAL)


def _chunks(random: Random, body: bytes) -> bytes:
    """Proper chunks of random sizes, some with an extension."""
    parts, at = [], 0
    while at < len(body):
        piece = body[at : at + random.choice([1, 2, 7, 64, 1_000, 70_000])]
        parts.append(random.choice([b"%x", b"%X", b"00%x", b"%x;a=b", b'%x;q="v"']) % len(piece) + b"\r\n" + piece + b"\r\n")
        at += len(piece)
    trailers = random.choice([b"", b"", b"x-checksum: 1\r\n", b"content-length: 7\r\n"])
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


_NO_CHUNKS = [
    *(
        b"g\r\nx\r\n0\r\n\r\n",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\nx",
        b"5\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}x\r\n0\r\n\r\n",
    ),
    *(
        b"2\n{}\n0\n\n",
        b"\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n",
        b"2;" + b"x" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
    ),
    *(
        b"0\r\n" + b"x: 1\r\n" * 200 + b"\r\n",
        b"0\r\nx\r\n\r\n",
        b"2\r\n{}\r\n0\r\n",
        b"2\r\n{}\r\n0\r\nx: " + b"y" * 50_000 + b"\r\n\r\n",
        b"\x00\r\n",
    ),
]


def chunked(random: Random, message: Message) -> None:
    """A body in chunks, proper ones and others, beside a content-length or not."""
    message.framing = [(b"transfer-encoding", random.choice([b"chunked", b"chunked", b"Chunked", b"CHUNKED"]))]
    message.body = message.body or b"{}"
    kind = random.randrange(8)
    message.wire_body = _chunks(random, message.body)
    if kind < 2:
        message.wire_body = random.choice(_NO_CHUNKS)
        message.at_least(Expect.ANYTHING)
    elif kind == 2:
        codings = [b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked, chunked", b"", b"\x0bchunked", b"chunked;a=b", b"xchunked"]
        message.framing = [(b"transfer-encoding", random.choice(codings))]
        message.at_least(Expect.ANYTHING)
    elif kind == 3:
        message.framing *= 2
        message.at_least(Expect.ANYTHING)
    elif kind == 4:
        message.framing.insert(
            random.randrange(2), (b"content-length", random.choice([b"0", b"3", b"abc", b"-1", b"99999999999999999999"]))
        )
        message.at_least(Expect.ANYTHING)
    if message.version != b"HTTP/1.1":
        message.at_least(Expect.ANYTHING)
