"""Composition roots: the only place that picks Kafka or embedded, SQLite or memory, real or virtual clock."""

from ticketmaster.imports import without_rich

# Before any module that logs.
with without_rich():
    import structlog  # noqa: F401
