"""OpenTelemetry's environment variables, as far as this program must know them; the rest is the SDK's.

Names, values and defaults are those of OpenTelemetry's specification, but for one: nothing is sent anywhere unless an endpoint or an
exporter is named. What the SDK would quietly replace by a default is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from ticketmaster.config.values import BARE_URL, Entry, Kind, integer, is_harmless, one_of
from ticketmaster.errors import UsageError

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
_DISABLED: Final = "OTEL_SDK_DISABLED"
_TRACES: Final = "OTEL_TRACES_EXPORTER"
_METRICS: Final = "OTEL_METRICS_EXPORTER"
_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_SAMPLER_ARG: Final = "OTEL_TRACES_SAMPLER_ARG"
_INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
_METRICS_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"

_QUEUE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
_BATCH: Final = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_QUEUE_DEFAULT, _BATCH_DEFAULT = 2_048, 512

_PARENT_BASED: Final = "parentbased_"
_ROOT_RATIOS: Final[Mapping[str, float | None]] = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
_BOOLEAN: Final = one_of({"TRUE": True, "FALSE": False}, fold=True)
_PROTOCOLS: Final = one_of({"grpc": "grpc", "http/protobuf": "http/protobuf"})
_SAMPLERS: Final = one_of({f"{prefix}{name}": name for prefix in ("", _PARENT_BASED) for name in _ROOT_RATIOS})


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _pairs(text: str) -> str:
    if any(not re.fullmatch(r"\s*[^=,\s]+\s*=[^,]*", pair) for pair in filter(str.strip, text.split(","))):
        raise ValueError(text)
    return text


def _headers(text: str) -> str:
    # What is not so the SDK would leave out with a line in the log, and gRPC or an HTTP client refuse, either with the value in its words.
    for pair in filter(str.strip, text.split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        name, sent = unquote(name), value if " " in value else unquote(value)
        if not equals or not _HEADER.fullmatch(name) or name.lower().startswith("grpc-") or name.lower().endswith("-bin"):
            raise ValueError(text)
        if not _VALUE.fullmatch(value) or not _SENT.fullmatch(sent):
            raise ValueError(text)
    return text


# Names that both gRPC and HTTP take; values as they may stand in the variable, and as they may be sent.
_HEADER: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_VALUE: Final = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*", re.ASCII)
_SENT: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)
_HEADERS: Final = Kind('name=value, or several with commas between; in values " , ; \\ and what is not ASCII as %XX', _headers, shown=False)
_RATIO: Final = Kind("a number from 0 to 1", _ratio)
_PAIRS: Final = Kind("name=value, or several with commas between", _pairs, shown=False)

# The variables that are looked at here.
VARIABLES: Final = (
    Entry(_ENDPOINT, BARE_URL, "", "where a collector listens; traces are on once it is set"),
    Entry(_TRACES_ENDPOINT, BARE_URL, "", "as above, for traces only"),
    Entry(_METRICS_ENDPOINT, BARE_URL, "", "as above, for metrics only"),
    Entry(_PROTOCOL, _PROTOCOLS, "grpc", "how a collector is spoken to"),
    Entry("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", _PROTOCOLS, "", "as above, for traces only"),
    Entry(_METRICS_PROTOCOL, _PROTOCOLS, "", "as above, for metrics only"),
    Entry("OTEL_EXPORTER_OTLP_HEADERS", _HEADERS, "", "what each request to a collector carries, as a key; never logged"),
    Entry("OTEL_EXPORTER_OTLP_TRACES_HEADERS", _HEADERS, "", "as above, for traces only"),
    Entry("OTEL_EXPORTER_OTLP_METRICS_HEADERS", _HEADERS, "", "as above, for metrics only"),
    Entry("OTEL_EXPORTER_OTLP_TIMEOUT", integer(1), "10", "seconds that a request to a collector may take"),
    Entry(
        _TRACES,
        one_of({name: name for name in ("otlp", "console", "none")}),
        "otlp if an endpoint is set, else none",
        "where traces go; otlp without an endpoint: to port 4317 (4318 by HTTP) of this machine",
    ),
    Entry(_METRICS, one_of({name: name for name in ("otlp", "none")}), "none", "otlp: metrics are sent as well, to where traces would be"),
    Entry(_INTERVAL, integer(1), "60000", "milliseconds between two sendings of metrics"),
    Entry(_SAMPLER, _SAMPLERS, "parentbased_always_on", "which requests are traced"),
    Entry(_SAMPLER_ARG, _RATIO, "1", "of the ratio samplers: how many of all requests are traced"),
    Entry("OTEL_BSP_SCHEDULE_DELAY", integer(1), "5000", "milliseconds that spans wait for company"),
    Entry(_QUEUE, integer(1), f"{_QUEUE_DEFAULT}", "spans that wait at most; more are dropped"),
    Entry(_BATCH, integer(1), f"{_BATCH_DEFAULT}", "spans of a request to a collector"),
    Entry("OTEL_BSP_EXPORT_TIMEOUT", integer(1), "30000", "milliseconds that sending a batch of spans may take"),
    Entry("OTEL_RESOURCE_ATTRIBUTES", _PAIRS, "", "what every span says of its process"),
    Entry(_DISABLED, _BOOLEAN, "false", "`true`: no traces, and no metrics to a collector, whatever else is set"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What of a process goes to a collector."""

    traces: bool
    metrics: bool
    # How many of the requests are traced whose client does not say.
    ratio: float
    # Whether the client's word counts.
    parent_based: bool
    metrics_interval_ms: int
    metrics_protocol: str


def read_telemetry(environment: Mapping[str, str]) -> TelemetrySettings:
    """The settings of an environment. UsageError: a variable holds what it can't."""
    found: dict[str, Any] = {}
    for name, kind, _, _ in VARIABLES:
        # An empty one is one that is not set, says the specification.
        if text := environment.get(name, "").strip():
            try:
                found[name] = kind.parse(text)
            except ValueError:
                but = f", not {text!r}" if kind.shown and is_harmless(text) else ""
                raise UsageError(f"the environment variable {name} must be {kind.expected}{but}") from None
    queue, batch = found.get(_QUEUE, _QUEUE_DEFAULT), found.get(_BATCH, _BATCH_DEFAULT)
    if batch > queue:
        raise UsageError(f"the environment variable {_QUEUE} must be at least {_BATCH}: a batch of {batch} never comes together in {queue}")
    enabled = not found.get(_DISABLED, False)
    sampler = environment.get(_SAMPLER, "").strip() or "parentbased_always_on"
    root = _ROOT_RATIOS[sampler.removeprefix(_PARENT_BASED)]
    ratio = found.get(_SAMPLER_ARG, 1.0) if root is None else root
    return TelemetrySettings(
        traces=enabled and found.get(_TRACES, "otlp" if found.keys() & {_ENDPOINT, _TRACES_ENDPOINT} else "none") != "none",
        metrics=enabled and (found.get(_METRICS) == "otlp" or (_METRICS_ENDPOINT in found and found.get(_METRICS) != "none")),
        ratio=ratio,
        parent_based=sampler.startswith(_PARENT_BASED),
        metrics_interval_ms=found.get(_INTERVAL, 60_000),
        metrics_protocol=found.get(_METRICS_PROTOCOL, found.get(_PROTOCOL, "grpc")),
    )
