"""Where and how the gateway listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """Files in PEM: the certificate with those that lead to its authority, and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Port 0 is any free one."""

    address: str = "127.0.0.1"
    port: int = 8080
    io_threads: int = 1
    http2_streams_max: int = 20_000
    http2_headers_bytes_max: int = 64 << 10
    # Until all of a request is there; for bytes that a client does not take.
    request_ms: int = 30_000
    # Longer than the usual proxies keep an idle connection: 60 s (nginx, AWS), 600 s (Google).
    idle_ms: int = 620_000
    # No request waits longer for its answer.
    answer_ms: int = 45_000
    # At the end: requests are still taken on for so long, and each answer closes its connection.
    lame_duck_ms: int = 500
    connections_max: int = 10_000
    # Without a coroutine per request, by names of Granian that are not public; False: by its documented interface alone.
    notes: bool = True
    # None: without TLS.
    tls: Certificate | None = None
