"""How a schema registry is reached: apart from its client, which is slow to import, and not part of every process."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Where the registry is, and how it is spoken to. ``url`` is shown in errors and logs: it has no credentials."""

    url: str = "http://localhost:8081"
    username: str = ""
    password: str = field(default="", repr=False)
    ssl_context: ssl.SSLContext | None = None
    request_timeout_ms: int = 5_000
