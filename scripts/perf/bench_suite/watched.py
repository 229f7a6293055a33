"""What it costs to be looked at: a sale in one process without anything, with metrics, with traces of none, some and all requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from scripts.kafka.clusters import free_ports
from scripts.perf.bench_suite.figures import Kind, Notebook
from scripts.perf.bench_suite.load import HOST, Say, areas, sell
from scripts.perf.bench_suite.processes import serving


class _Way(NamedTuple):
    name: str
    metrics: bool = False
    # How many requests are traced; None: tracing is off.
    ratio: float | None = None


_BARE = _Way("without metrics and traces")
_WAYS = (
    _Way("with metrics", metrics=True),
    _Way("with traces, none drawn", ratio=0),
    _Way("with traces of 1 request in 100", ratio=0.01),
    _Way("with traces of all requests", ratio=1),
    _Way("with metrics, and traces of 1 request in 100", metrics=True, ratio=0.01),
)
KINDS: tuple[Kind, ...] = (
    Kind("standalone, watched: CPU per reservation without metrics and traces", "µs"),
    *(Kind(f"standalone, watched: CPU {way.name} / without", "×") for way in _WAYS),
)


@contextmanager
def _collector() -> Iterator[str]:
    """The address of a collector that takes everything and keeps nothing."""

    class Sink(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    sink = ThreadingHTTPServer((HOST, 0), Sink)
    job = Thread(target=sink.serve_forever, daemon=True)
    job.start()
    try:
        yield f"http://{HOST}:{sink.server_address[1]}"
    finally:
        sink.shutdown()
        sink.server_close()
        job.join()


def measure(folder: Path, runs: int, requests: int, notes: Notebook, say: Say) -> None:
    """Each run sells in every way, one after the other: what changes on the machine meanwhile meets them all."""
    folder.mkdir(parents=True)
    with _collector() as collector:
        for run in range(1, runs + 1):
            costs_us = {}
            for number, way in enumerate((_BARE, *_WAYS)):
                say(f"watched, run {run} of {runs}: {way.name}")
                costs_us[way] = _cost_us(folder / f"{run}-{number}", way, collector, requests)
            notes.note(KINDS[0].name, costs_us[_BARE])
            for way, kind in zip(_WAYS, KINDS[1:], strict=True):
                notes.note(kind.name, costs_us[way] / costs_us[_BARE])


def _cost_us(directory: Path, way: _Way, collector: str, requests: int) -> float:
    options = ["--metrics-port", str(free_ports(1)[0])] if way.metrics else []
    with serving(directory, *options, env={} if way.ratio is None else _traced(way.ratio, collector)) as server:
        cost_us = sell(server, "-n", str(requests), *areas(100)).cpu_us["standalone"]
        server.stop()
    return cost_us


def _traced(ratio: float, collector: str) -> Mapping[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        # Room for all: a span that is dropped costs nothing.
        "OTEL_BSP_MAX_QUEUE_SIZE": "1000000",
    }
