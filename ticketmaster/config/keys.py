"""Every property key that is known: where it is read and under which prefixes, what it may hold, and what it means.

There is one table, :data:`PLACES`. What is not in it changes nothing, and :mod:`ticketmaster.config.unused` says so.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ticketmaster.config.security import HOSTNAME_CHECK, MECHANISM, PROTOCOL, STORE_TYPE, TLS_VERSIONS
from ticketmaster.config.values import BARE_URL, SECRET, SERVERS, TEXT, URL, WORD, Entry, Kind, integer, one_of


class Where(NamedTuple):
    """Who reads a key, and the prefixes under which it is looked for before its plain name; the first that is there wins."""

    reader: str
    prefixes: tuple[str, ...] = ()


# All clients of a process connect alike, so these have no prefix; in -pc they hold for the whole process, too.
PROCESS: Final = Where("the process")
PRODUCER: Final = Where("the producer", ("producer.",))
CONSUMER: Final = Where("the consumer", ("main.consumer.", "consumer."))
TOPICS: Final = Where("`topics create`", ("topic.",))
ENGINE: Final = Where("the engine")

# What a Java client's file may have in front of a key.
CLIENT_PREFIXES: Final = ("main.consumer.", "restore.consumer.", "global.consumer.", "consumer.", "producer.", "admin.", "topic.")


def _replicas(text: str) -> int:
    number = int(text)
    if number != -1 and not 1 <= number <= _REPLICAS_MAX:
        raise ValueError(text)
    return number


_REPLICAS_MAX: Final = 100
_REPLICAS: Final = Kind(f"an integer from 1 to {_REPLICAS_MAX}, or -1 for the cluster's default", _replicas)
CREDENTIALS_SOURCES: Final = one_of({name: name for name in ("URL", "USER_INFO", "SASL_INHERIT")}, fold=True)
_FILE: Final = Kind("a PEM file", str, shown=False)


class Key(NamedTuple):
    """A key that fills a field: what it may hold, the field, what it means, and where it is read."""

    name: str
    kind: Kind[Any]
    field: str
    meaning: str
    where: Where = PROCESS


KAFKA_KEYS: Final = (
    Key("bootstrap.servers", SERVERS, "bootstrap_servers", "where the brokers are"),
    Key("client.id", WORD, "client_id", "the name of this program in the brokers' logs"),
    Key("request.timeout.ms", integer(100), "request_timeout_ms", "how long a request to a broker may take"),
    Key("retry.backoff.ms", integer(1), "retry_backoff_ms", "how long a failed request waits before it is repeated"),
    Key("metadata.max.age.ms", integer(100), "metadata_max_age_ms", "how often the leaders of partitions are asked for"),
    Key(
        "replication.factor",
        _REPLICAS,
        "replication_factor",
        "replicas of topics that `topics create` makes without --replication-factor",
        TOPICS,
    ),
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
        ENGINE,
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
        ENGINE,
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
    "sasl.kerberos.kinit.cmd": "GSSAPI is not supported",
    "sasl.kerberos.min.time.before.relogin": "GSSAPI is not supported",
    "sasl.kerberos.service.name": "GSSAPI is not supported",
    "sasl.kerberos.ticket.renew.jitter": "GSSAPI is not supported",
    "sasl.kerberos.ticket.renew.window.factor": "GSSAPI is not supported",
    "sasl.login.callback.handler.class": "tokens are fetched by client credentials",
    "sasl.login.connect.timeout.ms": "request.timeout.ms is used",
    "sasl.login.read.timeout.ms": "request.timeout.ms is used",
    "sasl.login.refresh.buffer.seconds": "a token is fetched anew after four fifths of its life",
    "sasl.login.refresh.min.period.seconds": "a token is fetched anew after four fifths of its life",
    "sasl.login.refresh.window.factor": "a token is fetched anew after four fifths of its life",
    "sasl.login.refresh.window.jitter": "a token is fetched anew after four fifths of its life",
    "sasl.login.retry.backoff.max.ms": "retry.backoff.ms is used",
    "sasl.login.retry.backoff.ms": "retry.backoff.ms is used",
    "sasl.oauthbearer.clock.skew.seconds": "tokens are judged by the brokers",
    "sasl.oauthbearer.header.urlencode": "client id and secret are sent as RFC 7617 has it",
    "sasl.oauthbearer.scope.claim.name": "tokens are judged by the brokers",
    "sasl.oauthbearer.sub.claim.name": "tokens are judged by the brokers",
    "security.providers": "only Java's clients know it",
    "specific.avro.reader": "only Java's deserializers know it",
    "ssl.keymanager.algorithm": "only Java's clients know it",
    "ssl.protocol": "see ssl.enabled.protocols",
    "ssl.provider": "only Java's clients know it",
    "ssl.secure.random.implementation": "only Java's clients know it",
    "ssl.trustmanager.algorithm": "only Java's clients know it",
    "state.cleanup.delay.ms": "state stays until its directory is deleted",
    "state.dir": "see --state-dir",
    "statestore.cache.max.bytes": "state is written behind by number of records",
    "topology.optimization": "there is no topology to optimize",
    "use.latest.version": "the schemas of this release are used",
    "value.deserializer": "values are Avro",
    "value.serializer": "values are Avro",
    "value.subject.name.strategy": "subjects are <topic>-value",
}
# Each is there twice: of the brokers, and with the prefix `schema.registry.` of the registry.
SSL: Final = (
    Entry("ssl.truststore.location", _FILE, "the system's authorities", "certificates of the authorities that are trusted"),
    Entry("ssl.truststore.certificates", TEXT, "", "the same, as PEM text instead of a file"),
    Entry("ssl.truststore.type", STORE_TYPE, "PEM", "JKS and PKCS12 are refused, with the command that converts them"),
    Entry("ssl.keystore.location", _FILE, "", "our own certificate and its private key, where the other side asks for one"),
    Entry("ssl.keystore.key", SECRET, "", "the private key as PEM text instead of a file"),
    Entry("ssl.keystore.certificate.chain", TEXT, "", "the certificate that belongs to it"),
    Entry("ssl.keystore.type", STORE_TYPE, "PEM", "as of the trust store"),
    Entry("ssl.key.password", SECRET, "", "opens an encrypted private key"),
    Entry("ssl.endpoint.identification.algorithm", HOSTNAME_CHECK, "HTTPS", "empty: any host name is accepted in a certificate"),
    Entry("ssl.enabled.protocols", TLS_VERSIONS, "Python's own", "versions of TLS"),
)
KAFKA_SECURITY: Final = (
    Entry("security.protocol", PROTOCOL, "PLAINTEXT", "encryption and authentication of the brokers"),
    Entry("sasl.mechanism", MECHANISM, "", "how we prove who we are; needed by SASL_PLAINTEXT and SASL_SSL"),
    Entry("sasl.jaas.config", SECRET, "", "user name and password, or clientId, clientSecret, scope and extension_*, as for Java"),
    Entry("sasl.oauthbearer.token.endpoint.url", BARE_URL, "", "where OAUTHBEARER gets its tokens by client credentials"),
    Entry("sasl.oauthbearer.client.credentials.client.id", WORD, "clientId of sasl.jaas.config", "who asks there"),
    Entry("sasl.oauthbearer.client.credentials.client.secret", SECRET, "clientSecret of sasl.jaas.config", "its secret"),
    Entry("sasl.oauthbearer.scope", TEXT, "scope of sasl.jaas.config", "what is asked for there"),
    *SSL,
)
REGISTRY_PREFIX: Final = "schema.registry."
# Confluent's clients take these with the registry's prefix as well, which wins.
ALSO_WITH_PREFIX: Final = {"basic.auth.credentials.source": CREDENTIALS_SOURCES, "basic.auth.user.info": SECRET}
REGISTRY: Final = (
    Entry("schema.registry.url", URL, "http://localhost:8081", "base of the registry's Confluent interface; of several the first is used"),
    Entry("basic.auth.credentials.source", CREDENTIALS_SOURCES, "URL", "where user name and password for the registry stand"),
    Entry("basic.auth.user.info", SECRET, "", "with USER_INFO: user:password"),
    *(Entry(REGISTRY_PREFIX + name, kind, "", f"the same as {name}") for name, kind in ALSO_WITH_PREFIX.items()),
    *(entry._replace(name=REGISTRY_PREFIX + entry.name) for entry in SSL),
)

# Keys of Kafka's about security that can't be honoured, of brokers and of the registry: they are refused.
NOT_SUPPORTED: Final = {
    "ssl.truststore.password": "PEM has none; leave it out",
    "ssl.keystore.password": "PEM has none; leave it out, and let ssl.key.password open the key",
    "ssl.cipher.suites": "it can't be chosen; choose versions of TLS by ssl.enabled.protocols",
    "ssl.engine.factory.class": "it is a class of Java's; give certificates as PEM",
    "sasl.client.callback.handler.class": "it is a class of Java's; give credentials in sasl.jaas.config",
    "sasl.login.class": "it is a class of Java's; give credentials in sasl.jaas.config",
    "bearer.auth.token": "a registry is told a user and a password only",
    "bearer.auth.credentials.source": "a registry is told a user and a password only",
}

# Each key by its plain name. One that is not here, or stands under another prefix or in another file, changes nothing.
PLACES: Final[dict[str, Where]] = {
    **{key.name: key.where for key in (*KAFKA_KEYS, *STREAM_KEYS)},
    **dict.fromkeys((COMPRESSION, ACKS), PRODUCER),
    **{name: where for name, (_, _, where) in FIXED.items()},
    **dict.fromkeys((entry.name for entry in (*KAFKA_SECURITY, *REGISTRY)), PROCESS),
}
# Whom we talk to, how that is kept from others, and who we are: whoever sets one of these relies on it, so none is ever passed over.
SECURITY: Final = frozenset({"bootstrap.servers", *(entry.name for entry in (*KAFKA_SECURITY, *REGISTRY))})
