"""Kafka's property keys, and what each of them means here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ticketmaster.broker.kafka.settings import KafkaSettings, compressions
from ticketmaster.config.keys import (
    ACKS,
    ACKS_KIND,
    ALSO_WITH_PREFIX,
    COMPRESSION,
    CREDENTIALS_SOURCES,
    FIXED,
    KAFKA_KEYS,
    PLACES,
    PROCESS,
    PRODUCER,
    REGISTRY_PREFIX,
    STREAM_KEYS,
    Key,
)
from ticketmaster.config.properties import Property
from ticketmaster.config.security import kafka_security, sasl_credentials, ssl_context
from ticketmaster.config.values import URL, Values, one_of
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.urls import without_credentials
from ticketmaster.wire.registry_settings import RegistrySettings

# Of Java's idempotent producer.
_IDEMPOTENT_IN_FLIGHT_MAX: Final = 5
_ACKS_1_NOTE: Final = "a command that was acknowledged is lost if a broker dies before it is replicated; leave it out, or set all"


def read_kafka(values: Values, notes: list[str]) -> KafkaSettings:
    """Everything about the connections to Kafka."""
    settings = replace(KafkaSettings(security=kafka_security(values)), **_filled(values, KAFKA_KEYS))
    compression = _lookup(values, COMPRESSION)
    if compression:
        kind = one_of({name: None if name == "none" else name for name in compressions()})
        settings = replace(settings, compression=values.get(compression, kind))
    acks = _lookup(values, ACKS)
    if acks:
        settings = replace(settings, acks=values.get(acks, ACKS_KIND) or "all")
        if settings.acks != "all":
            notes.append(f"{values.place(acks)}: {acks}: {_ACKS_1_NOTE}")
    _check_idempotence(values, settings.acks)
    if settings.heartbeat_interval_ms * 2 > settings.session_timeout_ms:
        wrong = _lookup(values, "heartbeat.interval.ms") or _lookup(values, "session.timeout.ms")
        assert wrong is not None, "the defaults fit each other"
        raise values.error(
            wrong, f"of a session of {settings.session_timeout_ms} ms, a heartbeat of {settings.heartbeat_interval_ms} ms is more than half"
        )
    return settings


def read_streams(values: Values) -> StreamSettings:
    """Everything about the engine."""
    for name, (allowed, promise, _) in FIXED.items():
        key = _lookup(values, name)
        if key and (values.text(key) or "").lower() not in allowed:
            raise values.error(key, f"must be {allowed[0]}: {promise}")
    return replace(StreamSettings(), **_filled(values, STREAM_KEYS))


def _check_idempotence(values: Values, acks: str) -> None:
    """Whoever asks for idempotence in so many words is refused what Java's producer refuses beside it."""
    asked = _lookup(values, "enable.idempotence")
    if not asked or (values.text(asked) or "").lower() != "true":
        return
    retries, in_flight = (next(iter(_there(values, name)), "") for name in ("retries", "max.in.flight.requests.per.connection"))
    beside = (
        (next(iter(_there(values, ACKS)), ""), acks == "all", "all"),
        (retries, values.number(retries) != 0, "more than 0, or left out"),
        (in_flight, (values.number(in_flight) or 1) <= _IDEMPOTENT_IN_FLIGHT_MAX, "5 at most, or left out"),
    )
    for key, fits, must in beside:
        if key and not fits:
            raise values.error(key, f"must be {must}, for enable.idempotence is true")


def read_registry(values: Values, notes: list[str]) -> RegistrySettings:
    """Everything about the schema registry."""
    settings, key = RegistrySettings(), "schema.registry.url"
    url = settings.url
    if values.has(key):
        first, *more = [part.strip() for part in (values.text(key) or "").split(",")]
        if more:
            notes.append(f"{values.place(key)}: {key}: only the first of {1 + len(more)} addresses is used")
        try:
            url = URL.parse(first)
        except ValueError:
            raise values.error(key, f"must be {URL.expected}") from None
        if "?" in url or "#" in url:
            raise values.error(key, "must end with its path, without ? and #; in a password these are written %3F and %23")
    url, username, password = _credentials(values, url)
    context = ssl_context(values, REGISTRY_PREFIX) if url.startswith("https:") else None
    return replace(settings, url=url, username=username, password=password, ssl_context=context)


def _credentials(values: Values, url: str) -> tuple[str, str, str]:
    """(the URL without credentials, user name, password)."""
    source_key, user_key = (_lookup(values, f"basic.auth.{name}") for name in ("credentials.source", "user.info"))
    source = values.get(source_key, CREDENTIALS_SOURCES) if source_key else None
    url, username, password = without_credentials(url)
    if source == "SASL_INHERIT":
        assert source_key is not None
        if not values.has("sasl.jaas.config"):
            raise values.error(source_key, "SASL_INHERIT needs sasl.jaas.config as well")
        username, password = sasl_credentials(values, None)
    elif source == "USER_INFO":
        assert source_key is not None
        if user_key is None:
            raise values.error(source_key, "USER_INFO needs basic.auth.user.info=<user>:<password> as well")
        username, colon, password = (values.raw(user_key) or "").strip().partition(":")
        if not colon:
            raise values.error(user_key, "must be a user name and a password with a colon between")
    elif user_key and source is None:
        raise values.error(user_key, "is not used without basic.auth.credentials.source=USER_INFO")
    return url, username, password


def _filled(values: Values, keys: tuple[Key, ...]) -> dict[str, Any]:
    filled = {}
    for key in keys:
        found = _lookup(values, key.name)
        if found:
            filled[key.field] = values.get(found, key.kind)
    return filled


def _lookup(values: Values, name: str) -> str | None:
    """The key under which a value stands: the first prefix wins, then the plain name."""
    there = _there(values, name)
    for key in there:
        # What a longer name overrides has its meaning all the same.
        values.raw(key)
    return there[0] if there else None


def _there(values: Values, name: str) -> list[str]:
    """The keys of a file that set this one, the one that counts first."""
    prefixes = PLACES.get(name, PRODUCER).prefixes
    candidates = [*(f"{prefix}{name}" for prefix in prefixes), name, *([REGISTRY_PREFIX + name] if name in ALSO_WITH_PREFIX else [])]
    return [key for key in candidates if values.has(key)]


def merged(config: Mapping[str, Property], stream: Mapping[str, Property], producer: Mapping[str, Property]) -> dict[str, Property]:
    """The properties in force: ``-sc`` overrides ``-c``, and ``-pc`` both: for the process what is the process's, else for the producer."""
    (prefix,) = PRODUCER.prefixes
    mine: dict[str, Property] = {}
    # A key with its prefix wins over the plain one of the same file, whichever comes first there.
    for key in sorted(producer, key=lambda key: key.startswith(prefix)):
        name = key.removeprefix(prefix)
        mine[name if PLACES.get(name) is PROCESS else prefix + name] = producer[key]
    return {**config, **stream, **mine}
