"""A request as the fuzzer holds it: every part of it is bytes that a mutation may change, and it knows which answer it deserves."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

Headers = list[tuple[bytes, bytes]]

# Stands for the id of a reservation that was acknowledged during the run; as long as one.
KNOWN_ID = b"0a11ab1e-0000-7000-8000-00000000cafe"


class Expect(IntEnum):
    """What must come of a request; of several reasons the highest counts."""

    # Proper HTTP: an answer that the OpenAPI document describes.
    ANSWER = 0
    # All there, but no proper HTTP: that, or a refusal by the HTTP layer, or a closed connection; and without the client's doing.
    REFUSAL = 1
    # Broken off, or nobody can tell where it ends: that, or nothing until the client ends the connection.
    ANYTHING = 2


@dataclass(slots=True)
class Message:
    """One request."""

    operation: str
    method: bytes
    target: bytes
    headers: Headers
    body: bytes | None = None
    version: bytes = b"HTTP/1.1"
    # Instead of a content-length that fits, and what is sent as the body then.
    framing: Headers | None = None
    wire_body: bytes | None = None
    expect: Expect = Expect.ANSWER
    # Whether the connection is good for another request afterwards.
    in_sync: bool = True
    mutations: list[str] = field(default_factory=list)

    def at_least(self, expect: Expect) -> None:
        """Lowers what is asked of the server."""
        self.expect = max(self.expect, expect)
        self.in_sync = self.in_sync and expect == Expect.ANSWER

    def framing_headers(self) -> Headers:
        """How the body is delimited."""
        if self.framing is not None:
            return self.framing
        return [] if self.body is None else [(b"content-length", b"%d" % len(self.body))]

    def head(self) -> bytes:
        """Request line and headers."""
        lines = [b"%s %s %s" % (self.method, self.target, self.version)]
        lines += [b"%s: %s" % pair for pair in [*self.headers, *self.framing_headers()]]
        return b"\r\n".join([*lines, b"", b""])

    def sent_body(self) -> bytes:
        """The body as it goes over the connection."""
        return (self.body or b"") if self.wire_body is None else self.wire_body

    def rendered(self) -> bytes:
        """All of it."""
        return self.head() + self.sent_body()

    def is_kept(self) -> bool:
        """Whether the next request may follow on the same connection."""
        return self.expect == Expect.ANSWER and self.in_sync


def with_known_id(data: bytes, reservation_id: bytes) -> bytes:
    """Real bytes instead of the placeholder; the length stays."""
    assert len(reservation_id) == len(KNOWN_ID)
    return data.replace(KNOWN_ID, reservation_id)
