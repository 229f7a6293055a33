"""A collector for tests: takes OTLP over gRPC and over HTTP on free ports of this machine, and keeps what comes."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

DEADLINE_S = 15.0


class Seen(NamedTuple):
    """A span as a collector has it: ids in hex, attributes by name."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]
    # (trace id, span id) of each.
    links: list[tuple[str, str]]
    start_ns: int
    end_ns: int
    failed: bool


class Collector:
    """Spans and metrics as they came in, over either protocol."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        # By name, of each time that metrics came.
        self.metrics: list[dict[str, Any]] = []
        self.grpc_address = ""
        self.http_address = ""

    def take_traces(self, request: Any) -> None:
        """Keeps the spans of an ExportTraceServiceRequest."""
        for resource in request.resource_spans:
            service = attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(str(service), span) for span in scope.spans]

    def take_metrics(self, request: Any) -> None:
        """Keeps the metrics of an ExportMetricsServiceRequest."""
        scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
        self.metrics.append({metric.name: metric for scope in scopes for metric in scope.metrics})

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Looks until it is so."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"not in {DEADLINE_S} s: {what}; there are {[span.name for span in self.spans]}"
            time.sleep(0.02)

    def trace(self, trace_id: str) -> list[Seen]:
        """The spans of a trace, by their start."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start_ns)


def attributes(found: Any) -> dict[str, str | int]:
    """Attributes of OTLP by name."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


def _seen(service: str, span: Any) -> Seen:
    return Seen(
        service,
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        attributes(span.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - OTLP's name
            collector.take_traces(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
            collector.take_metrics(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    class Http(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                collector.take_traces(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            elif self.path == "/v1/metrics":
                collector.take_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
            self.send_response(200 if self.path in {"/v1/traces", "/v1/metrics"} else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    by_grpc = grpc.server(ThreadPoolExecutor(2))
    untyped: Any = trace_service_pb2_grpc, metrics_service_pb2_grpc
    untyped[0].add_TraceServiceServicer_to_server(Traces(), by_grpc)
    untyped[1].add_MetricsServiceServicer_to_server(Metrics(), by_grpc)
    collector.grpc_address = f"http://127.0.0.1:{by_grpc.add_insecure_port('127.0.0.1:0')}"
    by_grpc.start()
    by_http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    collector.http_address = f"http://127.0.0.1:{by_http.server_address[1]}"
    serving = Thread(target=by_http.serve_forever, daemon=True)
    serving.start()
    try:
        yield collector
    finally:
        by_http.shutdown()
        by_http.server_close()
        serving.join()
        by_grpc.stop(None).wait()
