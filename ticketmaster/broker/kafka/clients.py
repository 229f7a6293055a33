"""What all clients of aiokafka have in common: the arguments they take, and how they end."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from ticketmaster.broker.kafka.oauth import TokenRefused, token_provider
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.errors import Retriable, UsageError

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
def answering(what: str) -> Iterator[None]:
    """Asks the cluster about something. Retriable: it does not answer. UsageError: it refuses."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as cause:
        text = f"Kafka does not tell about {what}: {cause!r}"
        if isinstance(cause, KafkaError) and not cause.retriable:
            raise UsageError(f"{text}; may this user ask for it (docs/security.md)?") from cause
        raise Retriable(text) from cause


class Complaint(NamedTuple):
    """What aiokafka has logged: in words, and the error behind it."""

    text: str
    cause: object

    @property
    def is_refusal(self) -> bool:
        """Whether somebody was there and let us not in: waiting mends nothing."""
        unmendable = isinstance(self.cause, KafkaError) and not self.cause.retriable
        return unmendable or isinstance(self.cause, TokenRefused | ssl.SSLCertVerificationError)


@contextmanager
def complaints() -> Iterator[list[Complaint]]:
    """What aiokafka complains of meanwhile: why a broker or token was refused stands in its log only, not in what it raises.

    The log of the process has none of it: whoever asks tells.
    """
    told: list[Complaint] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cause = record.args[-1] if isinstance(record.args, tuple) and record.args else None
            # An end of a connection says nothing but its type.
            told.append(Complaint(f"{record.getMessage()}{'' if str(cause) else repr(cause)}", cause))

    logger, handler = logging.getLogger("aiokafka"), Handler(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield told
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
