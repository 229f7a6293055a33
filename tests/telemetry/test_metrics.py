"""Counts are told by role and labels, as Prometheus reads them, of one process or of several."""

from __future__ import annotations

import math

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ticketmaster.telemetry import metrics
from ticketmaster.telemetry.counting import CountingObserver
from ticketmaster.telemetry.metrics import INSTRUMENTS, Family, Histogram, Kind, Metrics, merged
from ticketmaster.telemetry.observer import DeadLetter
from ticketmaster.telemetry.prometheus import exposition, process_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(families: list[Family]) -> Samples:
    """What a scrape of these families reads, by name and labels."""
    found = text_string_to_metric_families(exposition(families).decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in found for one in family.samples}


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_each_value_in_the_first_bucket_that_holds_it(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 10.0))
    for value in values:
        histogram.observe(value)

    below = [sum(value <= bound for value in values) for bound in (0.5, 1.0, 10.0)]
    assert [sum(histogram.counts[: at + 1]) for at in range(3)] == below
    assert sum(histogram.counts) == len(values)
    # Since Python 3.12 `sum` makes up for what each addition rounds off; a counter adds as it comes.
    assert histogram.sum == pytest.approx(math.fsum(values))


def test_a_value_may_be_counted_many_times_at_once() -> None:
    once, often = Histogram((1.0,)), Histogram((1.0,))
    for _ in range(5):
        once.observe(0.25)
    often.observe(0.25, 5)
    assert (often.counts, often.sum) == (once.counts, once.sum)


def test_prometheus_reads_what_was_counted() -> None:
    numbers = Metrics()
    numbers.add(metrics.DECISIONS, 3, "reservation", "failed", 'a "reason"\nof two lines')
    numbers.watch_number(metrics.WAITING, "ticket", lambda: 7)
    durations = numbers.histogram(metrics.DECISION_DURATION, "ticket")
    durations.observe(0.02, 2)
    durations.observe(60)

    read = samples(numbers.families())

    name = "ticketmaster_decision_duration_seconds"
    assert read["ticketmaster_decisions_total", labelled(outcome="failed", reason='a "reason"\nof two lines', role="reservation")] == 3
    assert read["ticketmaster_waiting_requests", labelled(role="ticket")] == 7
    assert read[f"{name}_bucket", labelled(le="0.01", role="ticket")] == 0
    assert read[f"{name}_bucket", labelled(le="0.025", role="ticket")] == 2
    assert read[f"{name}_bucket", labelled(le="+Inf", role="ticket")] == read[f"{name}_count", labelled(role="ticket")] == 3
    assert read[f"{name}_sum", labelled(role="ticket")] == 60.04


def test_a_process_tells_its_cpu_memory_and_files() -> None:
    read = samples(process_families("event"))
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
        assert read[name, labelled(role="event")] > 0


def test_the_numbers_of_several_processes_are_told_side_by_side() -> None:
    def of(count: int) -> list[Family]:
        numbers = Metrics()
        numbers.add(metrics.REBALANCES, count, "event")
        return numbers.families()

    read = samples(merged([("0", of(1)), ("1", of(2)), ("2", [])]))

    name = "ticketmaster_rebalances_total"
    assert read == {(name, labelled(role="event", worker="0")): 1, (name, labelled(role="event", worker="1")): 2}


def test_every_instrument_says_what_it_is() -> None:
    assert len({instrument.name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)
    for instrument in INSTRUMENTS:
        assert instrument.meaning.endswith(".")
        assert instrument.name.endswith("_total") == (instrument.kind is Kind.COUNTER)
        assert instrument.name.endswith("_seconds") == (instrument.unit == "s")
        assert bool(instrument.bounds) == (instrument.kind is Kind.HISTOGRAM)


def test_what_happens_to_tasks_is_counted_for_the_role_they_belong_to() -> None:
    numbers = Metrics()
    observer = CountingObserver(numbers, "standalone")
    with structlog.testing.capture_logs():
        observer.partitions_assigned("event-service", [0, 1], 1)
        observer.task_restoring("event-service-0", 10, 0.25)
        observer.task_restored("event-service-1", 40)
        observer.task_migrated("event-service-0", "fenced")
        observer.task_restarted("reservation-service-3", "a time-out")
        observer.reading_failed("state.event.area_status", "no leader")
        observer.dead_letters("event-service-0", [DeadLetter("command.event.reserve_seat", 0, 5, "rubbish")])
        observer.transaction_committed("reservation-service", {"a": 4, "b": 6}, {"": 3, "FILTERED": 1}, 0.004, {"paid": 2})
        observer.records_applied("ticket-service", "c", 9)

    read = samples(numbers.families())

    assert read["ticketmaster_rebalances_total", labelled(role="event")] == 1
    assert read["ticketmaster_restoration_ratio", labelled(role="event", task="event-service-0")] == 0.25
    assert read["ticketmaster_restoration_ratio", labelled(role="event", task="event-service-1")] == 1
    assert read["ticketmaster_restored_records_total", labelled(role="event")] == 40
    assert read["ticketmaster_tasks_fenced_total", labelled(role="event")] == 1
    assert read["ticketmaster_tasks_restarted_total", labelled(role="reservation")] == 1
    assert read["ticketmaster_reads_failed_total", labelled(role="standalone")] == 1
    assert read["ticketmaster_dead_letters_total", labelled(role="event", topic="command.event.reserve_seat")] == 1
    assert read["ticketmaster_decisions_total", labelled(outcome="success", reason="", role="reservation")] == 3
    assert read["ticketmaster_decisions_total", labelled(outcome="failed", reason="FILTERED", role="reservation")] == 1
    assert read["ticketmaster_changes_total", labelled(change="paid", role="reservation")] == 2
    assert read["ticketmaster_records_total", labelled(role="reservation", topic="b")] == 6
    assert read["ticketmaster_records_total", labelled(role="ticket", topic="c")] == 9
    assert read["ticketmaster_transaction_records_sum", labelled(role="reservation")] == 10
    assert read["ticketmaster_transaction_duration_seconds_bucket", labelled(le="0.005", role="reservation")] == 1


def test_a_task_that_went_elsewhere_is_not_told_of_any_more() -> None:
    numbers = Metrics()
    observer = CountingObserver(numbers, "event")
    with structlog.testing.capture_logs():
        for task in ("event-service-0", "event-service-10", "ticket-service-0"):
            observer.task_restored(task, 0)
        observer.partitions_assigned("event-service", [10], 2)

    tasks = [dict(labels)["task"] for name, labels in samples(numbers.families()) if name == "ticketmaster_restoration_ratio"]
    assert sorted(tasks) == ["event-service-10", "ticket-service-0"]
