"""Where and how the gateway listens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Port 0 is any free one."""

    address: str = "127.0.0.1"
    port: int = 8080
    io_threads: int = 1
    http2_streams_max: int = 20_000
    http2_headers_bytes_max: int = 64 << 10
    header_read_timeout_ms: int = 30_000
    connections_max: int = 10_000
    # Without a coroutine per request, by names of Granian that are not public; False: by its documented interface alone.
    notes: bool = True
