"""Kafka's property keys, and what each of them means here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ticketmaster.broker.kafka.settings import KafkaSettings, compressions
from ticketmaster.config.keys import CREDENTIALS_SOURCES, KAFKA_SECURITY, REGISTRY
from ticketmaster.config.properties import Property
from ticketmaster.config.security import kafka_security, sasl_credentials, ssl_context
from ticketmaster.config.values import SERVERS, URL, WORD, Kind, Values, integer, one_of
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.wire.schema_registry import RegistrySettings

PRODUCER: Final = ("producer.",)
CONSUMER: Final = ("main.consumer.", "consumer.")
ADMIN: Final = ("topic.",)


class Key(NamedTuple):
    """A key: what it may hold, which field it fills, where, and the prefixes under which it is looked for before its plain name."""

    name: str
    kind: Kind[Any]
    field: str
    meaning: str
    prefixes: tuple[str, ...] = ()


KAFKA_KEYS: Final = (
    Key("bootstrap.servers", SERVERS, "bootstrap_servers", "where the brokers are"),
    Key("client.id", WORD, "client_id", "the name of this program in the brokers' logs"),
    Key("request.timeout.ms", integer(100), "request_timeout_ms", "how long a request to a broker may take"),
    Key("retry.backoff.ms", integer(1), "retry_backoff_ms", "how long a failed request waits before it is repeated"),
    Key("metadata.max.age.ms", integer(100), "metadata_max_age_ms", "how often the leaders of partitions are asked for"),
    Key("replication.factor", integer(-1, 100), "replication_factor", "replicas of the topics that `topics create` makes", ADMIN),
    Key("linger.ms", integer(), "linger_ms", "how long a command waits for others to travel with", PRODUCER),
    Key("batch.size", integer(1), "batch_bytes_max", "bytes of a batch of records", PRODUCER),
    Key("max.request.size", integer(1), "request_bytes_max", "bytes of a request to a broker", PRODUCER),
    Key("delivery.timeout.ms", integer(100), "delivery_timeout_ms", "how long a command may wait for Kafka before it is refused", PRODUCER),
    Key("transaction.timeout.ms", integer(1_000), "transaction_timeout_ms", "how long a transaction may take", PRODUCER),
    Key("session.timeout.ms", integer(1_000), "session_timeout_ms", "how long a process may be silent before others take over", CONSUMER),
    Key("heartbeat.interval.ms", integer(100), "heartbeat_interval_ms", "how often a process says that it lives", CONSUMER),
    Key("max.poll.interval.ms", integer(1_000), "rebalance_timeout_ms", "how long a rebalance waits for a process", CONSUMER),
    Key("fetch.min.bytes", integer(1), "fetch_bytes_min", "bytes that a broker gathers before it answers", CONSUMER),
    Key("fetch.max.wait.ms", integer(), "fetch_wait_max_ms", "how long it gathers at most", CONSUMER),
    Key("fetch.max.bytes", integer(1_024), "fetch_bytes_max", "bytes of an answer", CONSUMER),
    Key("max.partition.fetch.bytes", integer(1_024), "fetch_partition_bytes_max", "bytes of a partition in an answer", CONSUMER),
)
STREAM_KEYS: Final = (
    Key(
        "commit.interval.ms",
        integer(1, 1_000),
        "commit_interval_max_ms",
        "how long commands, and the records of a transaction, may gather under load",
    ),
)
COMPRESSION: Final = "compression.type"
ACKS: Final = "acks"
ACKS_KIND: Final = one_of({"all": "all", "-1": "all", "1": "1"})
# Keys that may hold one thing only, because anything else would break a promise: the value, and the promise.
FIXED: Final = {
    "processing.guarantee": (
        ("exactly_once_v2", "exactly_once_beta", "exactly_once"),
        "every command is worked off exactly once",
        (),
    ),
    "isolation.level": (("read_committed",), "only committed records are read", CONSUMER),
    "enable.idempotence": (("true",), "no retry writes a command twice", PRODUCER),
    "enable.auto.commit": (("false",), "offsets are committed with the records they stand for", CONSUMER),
}

# Keys of Kafka's clients and of Kafka Streams that have no meaning here, and what has.
WITHOUT_MEANING: Final = {
    "application.id": "the application ids are fixed: ticket-service, reservation-service, event-service",
    "application.server": "other processes reach this one at --hostname and --port",
    "auto.offset.reset": "a group that never committed reads from the start",
    "auto.register.schemas": "schemas are registered when a role starts",
    "avro.remove.java.properties": "only Java's serializers know it",
    "buffer.memory": "see --commands-in-flight-max",
    "cache.max.bytes.buffering": "state is written behind by number of records",
    "compression.lz4.level": "the library's level is used",
    "connections.max.idle.ms": "the library's default is used",
    "default.deserialization.exception.handler": "what can't be read goes to <topic>.dlq",
    "default.key.serde": "keys are strings",
    "default.production.exception.handler": "a failed transaction is repeated",
    "default.value.serde": "values are Avro",
    "deserialization.exception.handler": "what can't be read goes to <topic>.dlq",
    "group.id": "the groups are fixed: ticket-service, reservation-service, event-service",
    "group.instance.id": "membership is dynamic, and sticky by what a process has state of",
    "key.deserializer": "keys are strings",
    "key.serializer": "keys are strings",
    "key.subject.name.strategy": "keys have no schema",
    "max.in.flight.requests.per.connection": "batches of a partition go one after the other",
    "max.poll.records": "whole batches are read",
    "metric.reporters": "only Java's clients know it",
    "metrics.recording.level": "only Java's clients know it",
    "num.standby.replicas": "state is restored from the local store or the changelog",
    "num.stream.threads": "see --workers",
    "partitioner.class": "the partition is Kafka's default one",
    "producer.id": "only Java's clients know it",
    "reconnect.backoff.max.ms": "the library's default is used",
    "reconnect.backoff.ms": "retry.backoff.ms is used",
    "request.max.bytes": "see max.request.size",
    "retries": "requests are repeated until their time-out",
    "rocksdb.config.setter": "state is in SQLite",
    "schema.registry.basic.auth.credentials.source": "basic.auth.credentials.source is used",
    "specific.avro.reader": "only Java's deserializers know it",
    "state.cleanup.delay.ms": "state stays until its directory is deleted",
    "state.dir": "see --state-dir",
    "statestore.cache.max.bytes": "state is written behind by number of records",
    "topology.optimization": "there is no topology to optimize",
    "use.latest.version": "the schemas of this release are used",
    "value.deserializer": "values are Avro",
    "value.serializer": "values are Avro",
    "value.subject.name.strategy": "subjects are <topic>-value",
}
_PREFIXES: Final = ("main.consumer.", "restore.consumer.", "global.consumer.", "consumer.", "producer.", "admin.", "topic.")
_ACKS_1_NOTE: Final = "a command that was acknowledged is lost if a broker dies before it is replicated; leave it out, or set all"


def read_kafka(values: Values, notes: list[str]) -> KafkaSettings:
    """Everything about the connections to Kafka."""
    settings = replace(KafkaSettings(security=kafka_security(values)), **_filled(values, KAFKA_KEYS))
    compression = _lookup(values, COMPRESSION, PRODUCER)
    if compression:
        kind = one_of({name: None if name == "none" else name for name in compressions()})
        settings = replace(settings, compression=values.get(compression, kind))
    acks = _lookup(values, ACKS, PRODUCER)
    if acks:
        settings = replace(settings, acks=values.get(acks, ACKS_KIND) or "all")
        if settings.acks != "all":
            notes.append(f"{values.place(acks)}: {acks}: {_ACKS_1_NOTE}")
    if settings.heartbeat_interval_ms * 2 > settings.session_timeout_ms:
        wrong = _lookup(values, "heartbeat.interval.ms", CONSUMER) or _lookup(values, "session.timeout.ms", CONSUMER)
        assert wrong is not None, "the defaults fit each other"
        raise values.error(
            wrong, f"of a session of {settings.session_timeout_ms} ms, a heartbeat of {settings.heartbeat_interval_ms} ms is more than half"
        )
    return settings


def read_streams(values: Values) -> StreamSettings:
    """Everything about the engine."""
    for name, (allowed, promise, prefixes) in FIXED.items():
        key = _lookup(values, name, prefixes)
        if key and (values.text(key) or "").lower() not in allowed:
            raise values.error(key, f"must be {allowed[0]}: {promise}")
    return replace(StreamSettings(), **_filled(values, STREAM_KEYS))


def read_registry(values: Values, notes: list[str]) -> RegistrySettings:
    """Everything about the schema registry."""
    key = "schema.registry.url"
    text = values.text(key)
    if text is None:
        return RegistrySettings()
    first, *more = [part.strip() for part in text.split(",")]
    if more:
        notes.append(f"{values.place(key)}: {key}: only the first of {1 + len(more)} addresses is used")
    try:
        url = URL.parse(first)
    except ValueError:
        raise values.error(key, f"must be {URL.expected}") from None
    source = values.get("basic.auth.credentials.source", CREDENTIALS_SOURCES) or "URL"
    url, username, password = _credentials(values, url, source)
    secure = url.startswith("https:")
    return RegistrySettings(
        url=url, username=username, password=password, ssl_context=ssl_context(values, "schema.registry.") if secure else None
    )


def _credentials(values: Values, url: str, source: str) -> tuple[str, str, str]:
    """(the URL without credentials, user name, password)."""
    scheme, _, rest = url.partition("://")
    before, at, host = rest.rpartition("@")
    username, _, password = before.partition(":")
    if at:
        url = f"{scheme}://{host}"
    if source == "SASL_INHERIT":
        if not values.has("sasl.jaas.config"):
            raise values.error("basic.auth.credentials.source", "SASL_INHERIT needs sasl.jaas.config as well")
        username, password = sasl_credentials(values, None)
    elif source == "USER_INFO":
        key = next((key for key in ("basic.auth.user.info", "schema.registry.basic.auth.user.info") if values.has(key)), None)
        if key is None:
            raise values.error("basic.auth.credentials.source", "USER_INFO needs basic.auth.user.info=<user>:<password> as well")
        username, colon, password = (values.raw(key) or "").strip().partition(":")
        if not colon:
            raise values.error(key, "must be a user name and a password with a colon between")
    return url, username, password


def _filled(values: Values, keys: tuple[Key, ...]) -> dict[str, Any]:
    filled = {}
    for key in keys:
        found = _lookup(values, key.name, key.prefixes)
        if found:
            filled[key.field] = values.get(found, key.kind)
    return filled


def _lookup(values: Values, name: str, prefixes: tuple[str, ...]) -> str | None:
    """The key under which a value stands: the first prefix wins, then the plain name."""
    candidates = [f"{prefix}{name}" for prefix in prefixes] + [name]
    there = [key for key in candidates if values.has(key)]
    for key in there:
        # What a longer name overrides has its meaning all the same.
        values.raw(key)
    return there[0] if there else None


def note_of(found: Property) -> str:
    """Why a key changes nothing here, and what does."""
    name = found.key
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    simple, read_by_hand = (*KAFKA_KEYS, *STREAM_KEYS), (*KAFKA_SECURITY, *REGISTRY)
    known = [COMPRESSION, ACKS, *FIXED, *(key.name for key in simple), *(entry.name for entry in read_by_hand)]
    if name in WITHOUT_MEANING:
        reason = WITHOUT_MEANING[name]
    elif name in known:
        reason = "nothing that is set makes use of it" if name == found.key else f"it has no meaning with this prefix; set {name}"
    else:
        close = difflib.get_close_matches(name, [*known, *WITHOUT_MEANING], n=1, cutoff=0.8)
        reason = f"there is no such key; did you mean {close[0]}?" if close else "there is no such key"
    return f"{found.place}: {found.key} is ignored: {reason}"


def unsupported(values: Values) -> list[str]:
    """A note for each key that changed nothing."""
    return [note_of(found) for found in values.not_asked()]


def merged(config: Mapping[str, Property], stream: Mapping[str, Property], producer: Mapping[str, Property]) -> dict[str, Property]:
    """The properties in force: ``-sc`` overrides ``-c``; those of ``-pc`` are the producer's, and override both there."""
    mine = {key if key.startswith(PRODUCER[0]) else PRODUCER[0] + key: found for key, found in producer.items()}
    return {**config, **stream, **mine}
