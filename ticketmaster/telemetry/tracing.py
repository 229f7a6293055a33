"""The tracing port: spans around what is done for one traced request, wherever it goes. The base classes trace nothing.

Most requests are not traced, and cost nothing here: a record of theirs has no headers, and nobody asks for a span. The context travels in
record headers as the W3C has it (``traceparent``, ``tracestate``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Self

from ticketmaster.broker.port import Headers

NO_HEADERS: Final[Headers] = []


class Kind(Enum):
    """What a span stands for, in OpenTelemetry's words."""

    SERVER = "server"
    CONSUMER = "consumer"
    PRODUCER = "producer"
    INTERNAL = "internal"


class Span:
    """Something that takes time. This one is not traced."""

    headers: Headers = NO_HEADERS
    """What a record carries that comes of it."""
    trace_id: str = ""

    def set(self, attributes: Mapping[str, str | int]) -> None:
        """Says more about it."""

    def end(self, error: str = "") -> None:
        """It is over; ``error`` says why it failed. Ends once: later calls change nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, _: object) -> None:
        self.end(str(failure) or type(failure).__name__ if failure else "")


NOT_TRACED: Final = Span()


class Tracer:
    """Starts spans. None of its methods raises."""

    enabled: bool = False
    """Whether anything is ever traced."""

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Headers,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[Headers] = (),
        start_ns: int | None = None,
    ) -> Span:
        """A span whose parent is what these headers say; :data:`NOT_TRACED` if they say nothing, or that nothing shall be traced.

        ``links`` are the headers of other spans that it serves as well. It starts now, or at ``start_ns`` since 1970.
        """
        return NOT_TRACED

    def start_root(self, name: str, kind: Kind, attributes: Mapping[str, str | int] | None = None) -> Span:
        """A span of something rare that nobody has asked for, of a trace of its own."""
        return NOT_TRACED

    def wants(self, traceparent: str | None) -> bool:
        """Whether a request is to be traced: as its client says, or drawn by lot."""
        return False

    def start_request(self, name: str, traceparent: str | None, tracestate: str | None) -> Span:
        """The span of a request that is wanted; a child of its client's, if there is one."""
        return NOT_TRACED


NO_TRACER: Final = Tracer()
