"""How a process talks to Kafka: plain data, filled from properties files by :mod:`ticketmaster.config`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthClient:
    """Where SASL OAUTHBEARER gets its tokens: a token endpoint that grants by client credentials (RFC 6749, section 4.4)."""

    token_url: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    # Sent to the broker beside the token, e.g. ("logicalCluster", "lkc-1").
    extensions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """Encryption and authentication; ``protocol`` and ``mechanism`` as Kafka names them."""

    protocol: str = "PLAINTEXT"
    ssl_context: ssl.SSLContext | None = None
    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    oauth: OauthClient | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Limits and intervals of the connections to Kafka."""

    bootstrap_servers: str = "localhost:9092"
    client_id: str = "ticketmaster"
    # Of topics that this program creates; -1: the cluster's default.
    replication_factor: int = -1
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    # None: not compressed.
    compression: str | None = "lz4"
    # "all", "1" or "0"; transactions are always acknowledged by all.
    acks: str = "all"
    linger_ms: int = 0
    batch_bytes_max: int = 900_000
    request_bytes_max: int = 1_048_576
    request_timeout_ms: int = 5_000
    # How long a command waits for Kafka before the client is told 503.
    delivery_timeout_ms: int = 30_000
    transaction_timeout_ms: int = 10_000
    retry_backoff_ms: int = 10
    metadata_max_age_ms: int = 30_000
    session_timeout_ms: int = 6_000
    heartbeat_interval_ms: int = 500
    rebalance_timeout_ms: int = 20_000
    fetch_wait_max_ms: int = 2_000
    fetch_bytes_min: int = 1
    fetch_partition_bytes_max: int = 524_288
    fetch_bytes_max: int = 52_428_800


def compressions() -> tuple[str, ...]:
    """The codecs that are installed, as Kafka names them; "none" first."""
    # Imported here: whoever only holds settings needs no client.
    from ticketmaster.broker.kafka.private import has_codec  # noqa: PLC0415

    return ("none", *(name for name in ("gzip", "snappy", "lz4", "zstd") if has_codec(name)))
