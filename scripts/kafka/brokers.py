"""How a broker is configured, and how to see that it serves."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HOST = "127.0.0.1"
PROBE_TIMEOUT_S = 1.0
METADATA, METADATA_VERSION = 3, 1
ANSWER_BYTES_MAX = 1 << 20

# The log's level is WARN; its output is what the program writes, so that it stands in one file with what Java says itself.
LOG4J = """\
appender.output.type = Console
appender.output.name = output
appender.output.layout.type = PatternLayout
appender.output.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.output.ref = output
"""


class Ports(NamedTuple):
    """Where a node's clients and the other nodes' controllers connect to."""

    broker: int
    controller: int


def properties(node: int, ports: Mapping[int, Ports]) -> str:
    """The server.properties of one node, to run in its own folder: `ports` holds every node of the cluster, by its id."""
    own = ports[node]
    many = len(ports) > 1
    replicas = len(ports)
    settings = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{other}@{HOST}:{at.controller}" for other, at in ports.items()),
        "listeners": f"PLAINTEXT://{HOST}:{own.broker},CONTROLLER://{HOST}:{own.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{own.broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # The node runs in its own folder, which may have any name.
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": 2 if many else 1,
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": 2 if many else 1,
        "group.initial.rebalance.delay.ms": 0,
        "controlled.shutdown.enable": "true",
        # A crashed broker's partitions move, and it may come back, only after this time.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 4_000,
        # The cleaner starts soon and on little, so that compaction can be seen.
        "log.cleaner.backoff.ms": 500,
        "log.cleaner.min.cleanable.ratio": 0.01,
        "log.cleaner.dedupe.buffer.size": 4 << 20,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def java_options(brokers: int) -> Sequence[str]:
    """The serial collector starts fastest, and has no threads that compete for few cores."""
    return "-Xmx1g" if brokers == 1 else "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=log4j2.properties"


def answering(port: int) -> frozenset[int]:
    """The ids of the brokers that the broker of this port knows to serve: none while it does not serve itself."""
    request = struct.pack(">hhihi", METADATA, METADATA_VERSION, 0, -1, 0)
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as connection, connection.makefile("rb") as answer:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", answer.read(4))
            return brokers_in(answer.read(min(size, ANSWER_BYTES_MAX)))
    except (OSError, struct.error):
        return frozenset()


def brokers_in(answer: bytes) -> frozenset[int]:
    """The broker ids of an answer to a request for metadata, version 1: the request's number, a list of id, host, port and rack."""
    _, count = struct.unpack_from(">ii", answer)
    at = 8
    ids = set()
    for _ in range(count):
        broker, host_bytes = struct.unpack_from(">ih", answer, at)
        (rack_bytes,) = struct.unpack_from(">h", answer, at + 6 + host_bytes + 4)
        at += 6 + host_bytes + 4 + 2 + max(rack_bytes, 0)
        ids.add(broker)
    return frozenset(ids)
