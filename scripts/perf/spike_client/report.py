"""The figures of a spike, for people and for scripts."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.perf.spike_client.checks import Comparison, Violations
from scripts.perf.spike_client.driver import microseconds
from scripts.perf.spike_client.options import Options
from scripts.perf.spike_client.replies import NOT_DECIDED, End, Outcome, Replies
from scripts.perf.spike_client.verdict import Verdict, changes_unanswered, left_unchecked, verdict
from ticketmaster.printable import printable

PERCENTS = (50, 95, 99)


class Latency(msgspec.Struct):
    """Milliseconds; all 0 without a sample."""

    p50: float
    p95: float
    p99: float
    max: float


class Second(msgspec.Struct):
    """The decisions of one second of a spike."""

    second: int
    decided: int
    p50_ms: float
    p99_ms: float


class Report(msgspec.Struct):
    """One spike in figures; the names are those of `--json`."""

    event: str
    url: str
    env: str
    http: str
    areas: int
    rows: int
    cols: int
    seats_max: int
    requests: int
    clients: int
    processes: int
    in_flight: int
    rate_per_s: float | None
    seed: int
    hold_seconds: int | None
    pay: float
    cancel: float
    interrupted: bool
    reserved: int
    refused: int
    failed: int
    unknown: int
    undecided: int
    unreached: int
    unanswered: int
    paid: int
    cancelled: int
    expired_unpaid: int
    unknown_ends: int
    seats_sold: int
    refused_by_reason: dict[str, int]
    errors: dict[str, int]
    retries: dict[str, int]
    wall_s: float
    http_requests_per_s: float
    reservations_per_s: float
    post_ms: Latency
    decision_ms: Latency
    change_ms: Latency
    seconds: list[Second]
    client_cpu_us_per_reservation: float
    client_cpu_us_per_http_request: float
    violations: list[str]
    violations_total: int
    maps: str
    unchecked: list[str]
    verdict: Verdict


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest of the ordered values that so many percent of them do not exceed (nearest rank); 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0


def latency(samples_us: Iterable[int]) -> Latency:
    """The percentiles of microseconds, in milliseconds."""
    ordered = array("I", sorted(samples_us))
    return Latency(*[percentile(ordered, percent) / 1_000 for percent in (*PERCENTS, 100)])


def seconds(parts: Iterable[Replies]) -> list[Second]:
    """Throughput and latency over time, by the second in which the decision came."""
    samples_us: dict[int, list[int]] = defaultdict(list)
    for part in parts:
        for at_us, took_us in zip(part.decided_at_us, part.decision_us, strict=True):
            if took_us:
                samples_us[at_us // 1_000_000].append(took_us)
    found = []
    for second in range(max(samples_us, default=-1) + 1):
        took = latency(samples_us[second])
        found.append(Second(second, len(samples_us[second]), took.p50, took.p99))
    return found


def make(
    options: Options,
    event: str,
    parts: list[Replies],
    *,
    parent_cpu_s: float,
    seats_sold: int,
    violations: Violations,
    comparison: Comparison,
    interrupted: bool,
) -> Report:
    """Put the workers' figures together. `parent_cpu_s` is what the process spent that leads the workers."""
    outcomes = Counter(Outcome(value) for replies in parts for value in replies.outcomes)
    ends = Counter(End(value) for replies in parts for value in replies.ends)
    decided = outcomes[Outcome.RESERVED] + outcomes[Outcome.REFUSED]
    wall_s = max(replies.ended_s for replies in parts) - min(replies.started_s for replies in parts)
    http_replies = sum(replies.http_replies for replies in parts)
    cpu_us = 1e6 * (parent_cpu_s + sum(replies.cpu_s for replies in parts))
    violations.extend(comparison.violations)
    # Whoever got no decision has waited as long as anybody may: left out, the figures would be best where all fail.
    given_up = array("I", [microseconds(options.timeout_s)]) * sum(outcomes[outcome] for outcome in NOT_DECIDED)
    no_id = given_up[: outcomes[Outcome.FAILED] + outcomes[Outcome.UNKNOWN]]
    reserved, refused = outcomes[Outcome.RESERVED], outcomes[Outcome.REFUSED]
    unchecked = left_unchecked(
        options.requests, reserved, refused, outcomes[Outcome.UNREACHED], comparison.unchecked, interrupted=interrupted
    )
    unchecked += changes_unanswered(ends, interrupted=interrupted)
    return Report(
        event=event,
        url=options.url,
        env=options.env,
        http="2" if options.http2 else "1.1",
        **{name: getattr(options, name) for name in ("areas", "rows", "cols", "seats_max", "requests", "clients", "processes")},
        in_flight=options.in_flight,
        rate_per_s=options.rate_per_s,
        seed=options.seed,
        **{name: getattr(options, name) for name in ("hold_seconds", "pay", "cancel")},
        interrupted=interrupted,
        reserved=reserved,
        refused=refused,
        **{outcome.name.lower(): outcomes[outcome] for outcome in (*NOT_DECIDED, Outcome.UNANSWERED)},
        paid=ends[End.PAID],
        cancelled=ends[End.CANCELLED],
        expired_unpaid=ends[End.EXPIRED],
        unknown_ends=ends[End.UNKNOWN],
        seats_sold=seats_sold,
        refused_by_reason=together(replies.refusals for replies in parts),
        errors=together(replies.errors for replies in parts),
        retries=together(replies.retries for replies in parts),
        wall_s=round(wall_s, 3),
        http_requests_per_s=round(http_replies / wall_s, 1) if wall_s > 0 else 0.0,
        reservations_per_s=round(decided / wall_s, 1) if wall_s > 0 else 0.0,
        post_ms=latency(chain(no_id, *(filter(None, part.post_us) for part in parts))),
        decision_ms=latency(chain(given_up, *(decisions_us(part) for part in parts))),
        change_ms=latency(chain.from_iterable(filter(None, part.changed_us) for part in parts)),
        seconds=seconds(parts),
        client_cpu_us_per_reservation=round(cpu_us / decided, 1) if decided else 0.0,
        client_cpu_us_per_http_request=round(cpu_us / http_replies, 1) if http_replies else 0.0,
        violations=violations.texts,
        violations_total=violations.total,
        maps=comparison.text,
        unchecked=unchecked,
        verdict=verdict(violations.total, unchecked),
    )


def decisions_us(part: Replies) -> Iterator[int]:
    """How long each decision took."""
    decided = (Outcome.RESERVED, Outcome.REFUSED)
    return (us for us, outcome in zip(part.decision_us, part.outcomes, strict=True) if outcome in decided)


def together(counters: Iterable[Counter[str]]) -> dict[str, int]:
    """One count for all workers, the largest first."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total.most_common())


def show(report: Report, console: Console) -> None:
    """Print the report for people."""
    console.print(
        f"[bold]Spike[/] on {report.url} over HTTP/{report.http}, env {report.env}, seed {report.seed}: "
        f"{report.areas} areas of {report.rows} x {report.cols} seats, clients {report.clients}, processes {report.processes}, "
        f"{report.in_flight:,} in flight" + (f", {report.rate_per_s:,g}/s" if report.rate_per_s else ""),
        highlight=False,
    )
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="cyan")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("reserved", f"{report.reserved:,}", f"{report.seats_sold:,} of {report.areas * report.rows * report.cols:,} seats sold")
    if report.pay or report.cancel:
        unpaid = f"{report.expired_unpaid:,} came too late" if report.expired_unpaid else ""
        table.add_row("paid", f"{report.paid:,}", unpaid)
        table.add_row("cancelled", f"{report.cancelled:,}")
    table.add_row("refused", f"{report.refused:,}")
    _counts(table, report.refused_by_reason)
    if report.unanswered:
        table.add_row("unanswered", f"{report.unanswered:,}", "not sent, or interrupted")
    kinds = {
        "may have been taken": report.unknown,
        "with an id and no decision": report.undecided,
        "with an id, not reached": report.unreached,
    }
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    table.add_row("failed", f"{report.failed + sum(kinds.values()):,}", told)
    _counts(table, report.errors)
    table.add_row("retried", f"{sum(report.retries.values()):,}")
    _counts(table, report.retries)
    table.add_row("wall", f"{report.wall_s:,.2f} s")
    table.add_row("HTTP requests", f"{report.http_requests_per_s:,.0f}/s")
    table.add_row("reservations", f"{report.reservations_per_s:,.0f}/s")
    waits = [("POST", report.post_ms), ("POST → decision", report.decision_ms)]
    if report.pay or report.cancel:
        waits.append(("payment, DELETE", report.change_ms))
    for name, figures in waits:
        table.add_row(name, f"{figures.p50:,.1f} ms", f"p95 {figures.p95:,.1f}  p99 {figures.p99:,.1f}  max {figures.max:,.1f}")
    table.add_row(
        "client CPU",
        f"{report.client_cpu_us_per_reservation:,.1f} µs",
        f"a reservation, {report.client_cpu_us_per_http_request:,.1f} µs an HTTP request",
    )
    table.add_row("maps", "", Text(printable(report.maps)))
    console.print(table, highlight=False)
    for text in report.violations:
        console.print(Text(printable(text), style="red"))
    if report.violations_total > len(report.violations):
        console.print(f"[red]… and {report.violations_total - len(report.violations):,} more[/]")
    if report.verdict is Verdict.SOUND:
        console.print("[green]✓ sound: no seat was sold twice, every id is distinct and decided, the maps agree[/]")
    elif report.verdict is Verdict.WRONG:
        console.print(f"[bold red]✗ wrong: {report.violations_total:,} violations[/]")
    else:
        console.print(Text(printable(f"? not checked: {'; '.join(report.unchecked)}"), style="yellow"))


def _counts(table: Table, counts: dict[str, int]) -> None:
    for text, count in counts.items():
        table.add_row("", f"{count:,}", Text(printable(text)))
