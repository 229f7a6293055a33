"""The gateway's description of itself: OpenAPI, and a page to read it."""

from __future__ import annotations

OPENAPI_JSON = b"{}"
DOCS_HTML = b"<!doctype html><title>docs</title>"
