"""The gateway's description of itself: OpenAPI, and a page to read it, which ``scripts/docs/render.py`` makes of it."""

from __future__ import annotations

from importlib import resources

import ticketmaster


def _load(name: str) -> bytes:
    source = resources.files("ticketmaster.ticket").joinpath(name)
    return source.read_bytes().replace(b"{version}", ticketmaster.__version__.encode())


OPENAPI_JSON = _load("openapi.json")
DOCS_HTML = _load("docs.html")
