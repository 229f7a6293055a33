"""Clocks that are set, by an hour forward or back: what is measured is right all the same, and nothing ends too early or never."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import structlog
from aiokafka.record.default_records import DefaultRecordBatch
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.audit.sale import ANSWERS, COMMANDS, DECISIONS, LOG, QUESTIONS, Sale
from tests.support.consuming import read_batches
from ticketmaster.audit.trace import trace
from ticketmaster.bootstrap.measuring import _Ages
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.kafka.batches import NOBODY, Unsent
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import TopicPartition, TopicSpec
from ticketmaster.clock import SteadyClock
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.partition import Lag
from ticketmaster.telemetry.metrics import Family, Histogram, Point
from ticketmaster.telemetry.metrics import Kind as Instrument
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.otel import OtelTracer
from ticketmaster.telemetry.otlp import MetricsPush
from ticketmaster.telemetry.tracing import Kind
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.ids import IdMint
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.wire import topics

BODY = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'
HOUR_S = 3_600.0
PARENT = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
SET = pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])


class Clock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.wall_s = 1_800_000_000.0
        self.passed_s = 1_000.0
        self._random = 0

    def now_ns(self) -> int:
        return int(self.wall_s * 1e9)

    def now_ms(self) -> int:
        return int(self.wall_s * 1e3)

    def elapsed_ns(self) -> int:
        return int(self.passed_s * 1e9)

    def monotonic_s(self) -> float:
        return self.passed_s

    def random_bits(self, count: int) -> int:
        self._random += 1
        return self._random % (1 << count)

    def pass_s(self, seconds: float) -> None:
        """Time goes by."""
        self.wall_s += seconds
        self.passed_s += seconds


class Client:
    """Keeps its answer."""

    status = 0
    body = b""

    def response_bytes(self, status: int, _headers: Headers, body: bytes) -> None:
        self.status, self.body = status, body


class Log:
    """Takes everything, as a log; has nothing, as a table."""

    async def send(self, *_: object) -> dict[TopicPartition, Exception]:
        return {}

    def get(self, _partition: int, _key: bytes) -> None:
        return None


@SET
@pytest.mark.parametrize("when", ["before the POST", "before the decision"])
async def test_how_long_a_decision_took(by_s: float, when: str) -> None:
    clock, observer, client = Clock(), Observer(), Client()
    observer.decision_durations = durations = Histogram((1.0, 10.0))
    gateway = Gateway(Log(), Log(), Catalog(lambda: True), 1, clock, TicketLimits(), observer=observer)  # type: ignore[arg-type]
    handing_over = asyncio.create_task(gateway.hand_over(Pace(0)))
    gateway.post_reservation("show", BODY, Client())
    if when == "before the POST":
        clock.wall_s += by_s
    gateway.post_reservation("show", BODY, client)
    await asyncio.sleep(0.01)
    if when == "before the decision":
        clock.wall_s += by_s
    clock.pass_s(5.0)
    gateway.on_reservations([(client.body, None)])
    await cancel(handing_over)

    assert client.status == 200
    assert durations.counts == [0, 1, 0]
    assert durations.sum == pytest.approx(5.0, abs=0.002)


@SET
def test_a_long_poll_and_ids(by_s: float) -> None:
    async def main() -> None:
        clock, client, loop = Clock(), Client(), asyncio.get_running_loop()
        gateway = Gateway(Log(), Log(), Catalog(lambda: True), 1, clock, TicketLimits(long_poll_ms=10_000))  # type: ignore[arg-type]
        sweeping, began_s = asyncio.create_task(gateway.sweep()), loop.time()
        gateway.get_reservation("00000000-0000-7000-8000-000000000000", client)
        clock.wall_s += by_s
        while not client.status:
            await asyncio.sleep(0.1)
        assert 10.0 <= loop.time() - began_s < 10.5
        await cancel(sweeping)

        mint, ids = IdMint(clock, 1), []
        for _ in range(3):
            ids += [mint.mint()[0] for _ in range(5_000)]
            clock.wall_s += by_s
        assert ids == sorted(set(ids))

    run_virtual(main())


@SET
def test_a_logged_request(by_s: float) -> None:
    clock = Clock()
    with structlog.testing.capture_logs() as lines:
        scope = SimpleNamespace(method="GET", path="/v1/event", client="127.0.0.1:1", http_version="1.1", headers={})
        responder = RequestWatch(clock, logs=True).watch(scope, Client())
        clock.wall_s += by_s
        clock.pass_s(0.25)
        responder.response_bytes(200, [], b"")

    assert [line["http.server.request.duration"] for line in lines] == [0.25]


@SET
@pytest.mark.parametrize("waited_s", [0.0, 3.0])
def test_a_span(by_s: float, waited_s: float) -> None:
    clock, exporter = Clock(), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OtelTracer(provider, 1.0, clock.random_bits, parent_based=True, clock=clock)
    span = tracer.start("a", Kind.SERVER, PARENT, start_ns=clock.now_ns() - int(waited_s * 1e9) if waited_s else None)
    clock.wall_s += by_s
    clock.pass_s(2.0)
    span.end()

    (ended,) = exporter.get_finished_spans()
    assert ended.start_time is not None
    assert ended.end_time is not None
    assert (ended.end_time - ended.start_time) / 1e9 == pytest.approx(2.0 + waited_s)


@SET
def test_the_age_of_what_waits(by_s: float) -> None:
    clock, source = Clock(), TopicPartition("t", 0)
    log, ages = SteadyClock(clock), _Ages(SteadyClock(clock))
    oldest_ms = log.now_ms()
    clock.pass_s(3.0)
    assert ages.age_s(Lag(source, 5, oldest_ms)) == pytest.approx(3.0)
    clock.wall_s += by_s
    clock.pass_s(4.0)
    assert ages.age_s(Lag(source, 5, oldest_ms)) == pytest.approx(7.0)

    # What was written since the clock was set.
    oldest_ms = log.now_ms()
    clock.pass_s(1.0)
    assert ages.age_s(Lag(source, 1, oldest_ms)) == pytest.approx(1.0, abs=0.1)
    assert ages.age_s(Lag(source, 0, None)) == 0.0


class Exporter(MetricExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        self.sent.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Nothing is held."""


@SET
def test_numbers_that_are_sent_to_a_collector_begin_before_they_are_read(by_s: float) -> None:
    clock, exporter = Clock(), Exporter()
    family = Family("n_total", Instrument.COUNTER, "numbers", "1", (), [Point({}, 1.0)])
    push = MetricsPush(exporter, Resource({}), lambda: [family], clock)
    clock.pass_s(60.0)
    clock.wall_s += by_s
    for _ in range(2):
        clock.pass_s(5.0)
        data = push._data()
        point = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
        assert point.start_time_unix_nano < point.time_unix_nano == clock.now_ns()


@SET
async def test_the_times_of_records_in_the_embedded_log(by_s: float) -> None:
    clock, source = Clock(), TopicPartition("t", 0)
    broker = EmbeddedBroker(MemoryStorage(), clock)
    await broker.start()
    await broker.create_topics([TopicSpec("t", 1)])
    began_ms = clock.now_ms()
    for _ in range(10):
        clock.pass_s(30.0)
        await broker.producer().send({source: [(b"k", b"v")]})
        clock.wall_s += by_s
    times_s = [(batch.timestamp_ms - began_ms) / 1_000 for batch in await read_batches(broker, source)]
    now_s = (broker.now_ms() - began_ms) / 1_000
    await broker.close()

    assert times_s == pytest.approx([30.0 * number for number in range(1, 11)], abs=3.0)
    assert now_s == times_s[-1]


@SET
def test_the_times_of_records_that_are_sent_to_kafka(by_s: float) -> None:
    clock = Clock()
    broker = KafkaBroker(KafkaSettings(compression=None), clock)
    began_ms = clock.now_ms()
    clock.wall_s += by_s
    clock.pass_s(100.0)
    for producer in (broker.producer(), broker.transactional_producer("task")):
        unsent = Unsent(TopicPartition("t", 0), [(b"k", b"v")], {})
        batch = DefaultRecordBatch(producer._encoder.encoded(unsent, NOBODY, 0).data)  # type: ignore[union-attr]
        assert batch.max_timestamp - began_ms == pytest.approx(100_000, abs=1_000)

    # What the time is for the log does not depend on this host's clock at all.
    assert broker.now_ms() - began_ms == 100_000


@SET
async def test_the_steps_of_a_trace_are_in_the_order_in_which_they_happened(by_s: float) -> None:
    clock, key, reservation_id = Clock(), b"r1", "r1"
    broker = EmbeddedBroker(MemoryStorage(), clock)
    await broker.start()
    await broker.create_topics([TopicSpec(topic.name, 1, topic.compacted) for topic in topics.ALL_TOPICS])
    logs = Sale().logs
    found = {topic: [pair for pair in logs[TopicPartition(topic, 0)] if pair[0] == key] for topic in (COMMANDS, LOG, ANSWERS, DECISIONS)}
    question = logs[TopicPartition(QUESTIONS, 0)][0]
    processing, decided = found[LOG]
    way = [(COMMANDS, found[COMMANDS][0]), (LOG, processing), (QUESTIONS, question), (ANSWERS, found[ANSWERS][0])]
    for topic, pair in [*way, (LOG, decided), (DECISIONS, found[DECISIONS][0])]:
        await broker.producer().send({TopicPartition(topic, 0): [pair]})
        clock.wall_s += by_s
    steps = (await trace(broker, 1, reservation_id, lambda _: None)).steps
    await broker.close()

    assert [step.at.topic for step in steps[:4]] == [COMMANDS, LOG, QUESTIONS, ANSWERS]
    assert {step.at.topic for step in steps[4:]} == {LOG, DECISIONS}
