"""A collector that accepts and is silent holds nobody up, and its key stands nowhere."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.util.re import parse_env_headers

from ticketmaster.config.telemetry import read_telemetry
from ticketmaster.errors import UsageError
from ticketmaster.telemetry.ending import in_background
from ticketmaster.telemetry.otel import _names_service

ROOT = Path(__file__).resolve().parents[2]
# One may take 3 s; the rest is Python's, on a machine that does other things as well.
END_S_MAX = 6.0

PROCESS = """
import asyncio, os, time
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.clock import SystemClock
from ticketmaster.config.telemetry import read_telemetry
async def run():
    async with Measuring("event-service", SystemClock(), read_telemetry(os.environ), scraped=False) as measuring:
        with measuring.observer.tracer.start_request("x", None, None): pass
        await asyncio.sleep(0.5)
        print(time.monotonic(), flush=True)
asyncio.run(run())
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a collector that accepts connections, and nothing else."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_process_ends_in_time_though_its_collector_is_silent(silent: int, protocol: str) -> None:
    environment = {
        "PATH": "",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent}",
        "OTEL_METRICS_EXPORTER": "otlp",
        # So that a request is under way when it ends.
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    done = subprocess.run([sys.executable, "-c", PROCESS], cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=60, check=True)

    assert time.monotonic() - float(done.stdout) < END_S_MAX


async def test_what_hangs_in_the_background_is_left_there() -> None:
    started_s = time.monotonic()

    assert not await in_background(lambda: time.sleep(2), "hanging", 0.1)
    assert time.monotonic() - started_s < 1
    assert await in_background(lambda: None, "quick", 5)


async def test_what_fails_in_the_background_is_logged_and_waited_for_no_longer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Commands that other tests have run in this process have set it up to write to streams that are gone.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])

    def fail() -> None:
        raise OSError("no way")

    with caplog.at_level(logging.ERROR):
        assert await in_background(fail, "sending", 5)
        await asyncio.sleep(0)
    assert "sending failed" in caplog.text


# --- Variables -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "authorization=Bearer s3cr\u00e9t",
        "authorization=s3cret\u0130",
        "authorization=a\ts3cret",
        "au(th=s3cret",
        'authorization=Bearer "s3cret"',
        "authorization=s3cret;x",
        "authorization=s3cret\\x",
        "authorization=s3cret%0Ax",
        "authorization=s3cret%C3%A9",
        "authorization=s3cret%7F",
        "key!=s3cret",
        "key-bin=s3cret",
        "grpc-key=s3cret",
        "key%20=s3cret",
        "s3cret",
        "=s3cret",
        "a=b,s3cret",
    ],
)
@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_"])
def test_a_header_that_would_not_be_sent_is_refused_and_not_told(text: str, signal: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_telemetry({f"OTEL_EXPORTER_OTLP_{signal}HEADERS": text})

    for told in (str(raised.value), repr(raised.value), repr(raised.value.__cause__)):
        assert "s3cr" not in told


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("authorization=Bearer s3cret", {"authorization": "Bearer s3cret"}),
        ("Authorization=Bearer%20s3cret%2C", {"authorization": "Bearer s3cret,"}),
        (" a = b , c=d==,", {"a": "b", "c": "d=="}),
        ("x-key=", {"x-key": ""}),
        ("", {}),
    ],
)
def test_a_header_that_is_taken_is_sent(text: str, sent: dict[str, str]) -> None:
    read_telemetry({"OTEL_EXPORTER_OTLP_HEADERS": text})

    assert parse_env_headers(text, liberal=True) == sent


@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_"])
def test_an_endpoint_with_a_password_is_refused_and_not_told(signal: str) -> None:
    with pytest.raises(UsageError, match="without user name and password") as raised:
        read_telemetry({f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": "http://ann:s3cret@collector:4317"})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ("service.namespace=shop", False),
        ("a.service.name=shop", False),
        ("x=service.name", False),
        ("service.name.x=service.name", False),
        ("service.name=", False),
        ("service.name=shop", True),
        ("a=b, service.name = shop", True),
        ("", False),
    ],
)
def test_only_the_key_names_the_service(attributes: str, *, named: bool) -> None:
    assert _names_service({"OTEL_RESOURCE_ATTRIBUTES": attributes}) is named
    assert _names_service({"OTEL_RESOURCE_ATTRIBUTES": attributes, "OTEL_SERVICE_NAME": "shop"})
