"""How the schema registry is run, and how to see that it serves."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path

from scripts.kafka.brokers import HOST, PROBE_TIMEOUT_S

# Confluent's interface, the one that clients of the registry speak.
PATH = "/apis/ccompat/v7"
RUNNER = "apicurio-registry-app-*-runner.jar"


def url(port: int) -> str:
    """What clients are configured with."""
    return f"http://{HOST}:{port}{PATH}"


def command(java: str, options: Sequence[str], kit: Path, port: int) -> Sequence[str]:
    """Runs in a folder of its own, where its database is: the schemas must live as long as the records that name them."""
    (runner,) = kit.glob(RUNNER)
    settings = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        "quarkus.log.level": "WARN",
        "quarkus.datasource.jdbc.url": "jdbc:h2:file:./registry",
        "quarkus.datasource.jdbc.initial-size": 1,
        "quarkus.datasource.jdbc.min-size": 1,
    }
    return java, "-Xmx256m", "-XX:+UseSerialGC", *options, *(f"-D{key}={value}" for key, value in settings.items()), "-jar", str(runner)


def answers(port: int) -> bool:
    """Whether it lists its subjects."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", f"{PATH}/subjects")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
