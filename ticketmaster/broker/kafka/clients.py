"""What all clients of aiokafka have in common: the arguments they take, and how they end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ticketmaster.broker.kafka.oauth import token_provider
from ticketmaster.broker.kafka.settings import KafkaSettings

# Ends a client in its own time.
Discard = Callable[[Awaitable[None]], None]


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments that producers, consumers and the admin client of aiokafka have in common."""
    security = settings.security
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": settings.client_id,
        "request_timeout_ms": settings.request_timeout_ms,
        "retry_backoff_ms": settings.retry_backoff_ms,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        "security_protocol": security.protocol,
        "ssl_context": security.ssl_context,
    }
    if security.mechanism:
        arguments["sasl_mechanism"] = security.mechanism
        if security.oauth:
            arguments["sasl_oauth_token_provider"] = token_provider(security.oauth, settings.request_timeout_ms)
        else:
            arguments["sasl_plain_username"] = security.username
            arguments["sasl_plain_password"] = security.password
    return arguments


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What aiokafka complains of meanwhile: why a broker or token was refused stands in its log only, not in what it raises."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, handler = logging.getLogger("aiokafka"), Handler(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
