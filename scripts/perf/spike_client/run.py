"""The parent process: creates the event, leads the workers, judges their replies."""

from __future__ import annotations

import multiprocessing
import resource
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType

from rich.console import Console

from scripts.perf.spike_client import checks, driver, lives, report, workload
from scripts.perf.spike_client.checks import SoldSeats, Violations
from scripts.perf.spike_client.driver import Progress, Task
from scripts.perf.spike_client.options import BadOptionError, Options
from scripts.perf.spike_client.progress import ProgressView
from scripts.perf.spike_client.replies import Replies
from scripts.perf.spike_client.transport import Api, UnreachableError
from scripts.perf.spike_client.workload import Workload

API_TIMEOUT_S = 30.0
POLL_S = 0.1
# What a worker may need to hand over after the stop.
STOP_TIMEOUT_S = 30.0
FILES_SPARE = 100
# So long before the opening nobody asks any more: the answer might come behind it.
EARLY_S = 0.05
HTTP_CONFLICT = 409


class WorkerDiedError(Exception):
    """A worker ended without handing its replies over: the check would be incomplete."""


@dataclass(slots=True)
class Worker:
    """A worker process and the parent's end of its pipe."""

    task: Task
    process: SpawnProcess
    control: Connection
    progress: Progress = field(default_factory=Progress)
    replies: Replies | None = None


def spike(options: Options, console: Console) -> report.Report:
    """Run a spike. Progress goes to the console.

    Raises `BadOptionError` for what the machine can't do, `UnreachableError` when the server can't be reached or does not
    create the event, `WorkerDiedError` when replies are lost.
    """
    allow_files(options)
    event = f"spike-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
    api = Api(options.url, http2=options.http2, timeout_s=API_TIMEOUT_S)
    # A whole second: from that instant on everything is sold, and nothing before it.
    opening_s = int(time.time()) + 1 + options.opens_in_s if options.opens_in_s else 0
    create(api, options, event, opening_s)
    requests = workload.draw(options)
    shares = [requests.share(number, options.processes) for number in range(options.processes)]
    workers = start(options, event, shares)
    try:
        for worker in workers:
            receive(worker)  # ready
        if options.sleep_s:
            console.print(f"event {event} is created; the spike starts in {options.sleep_s:g} s", highlight=False)
            time.sleep(options.sleep_s)
        early = before_opening(api, event, opening_s) if opening_s else checks.Violations()
        before = driver.cpu_s()
        interrupted = lead(workers, console, options.requests)
        parent_cpu_s = driver.cpu_s() - before
    finally:
        for worker in workers:
            worker.control.close()
            worker.process.join(STOP_TIMEOUT_S if worker.replies else 0)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()
    parts = [worker.replies for worker in workers if worker.replies]
    sold = checks.SoldSeats(options.areas, options.rows, options.cols)
    violations = checks.check_replies(shares, parts, sold, lives.hold_us(options.hold_seconds), interrupted=interrupted)
    violations.extend(early)
    if interrupted:
        comparison = checks.not_compared("interrupted")
    else:
        if options.hold_seconds is not None:
            await_holds(parts, options.hold_seconds, options.await_holds_s, console)
        comparison = compare(api, event, options, shares, parts, sold, violations)
    return report.make(
        options,
        event,
        parts,
        parent_cpu_s=parent_cpu_s,
        seats_sold=sold.total,
        violations=violations,
        comparison=comparison,
        interrupted=interrupted,
    )


def await_holds(parts: list[Replies], hold_seconds: int, await_s: float, console: Console) -> None:
    """Wait until all holds have ended, unless that takes too long."""
    last_s = parts[0].started_s + lives.last_end_us(parts, hold_seconds * 1_000_000) / 1e6
    wait_s = last_s - time.monotonic()
    if 0 < wait_s <= await_s:
        console.print(f"the last hold ends in {wait_s:,.0f} s", highlight=False)
        time.sleep(wait_s)


def compare(
    api: Api, event: str, options: Options, shares: list[Workload], parts: list[Replies], sold: SoldSeats, violations: Violations
) -> checks.Comparison:
    """The server's maps against what is left of the sale."""
    settle_s = options.release_s if options.gives_back else checks.SETTLE_S
    left = checks.InTheEnd(sold, checks.unknown_seats(shares, parts, options.areas), set())
    if options.gives_back:
        # Reading the maps of many areas takes its time, too.
        from_us = int((time.monotonic() - parts[0].started_s) * 1e6)
        until_us = from_us + int((settle_s + API_TIMEOUT_S) * 1e6)
        left = checks.in_the_end(shares, parts, sold, lives.hold_us(options.hold_seconds), from_us, until_us)
    comparison = checks.compare_maps(api, event, left.held, left.unknown, settle_s=settle_s)
    # Maps that are wrong themselves show nothing.
    if not comparison.violations.total:
        free_runs = {area: run for area, run in comparison.free_runs.items() if area not in left.given_back}
        checks.check_refusals(shares, parts, free_runs, violations)
    return comparison


def allow_files(options: Options) -> None:
    """Allow as many open sockets as HTTP/1.1 needs, here and in the workers, which inherit it."""
    needed = (options.clients if options.http2 else options.in_flight) + FILES_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and needed > soft:
        if hard != resource.RLIM_INFINITY and needed > hard:
            raise BadOptionError(f"--in-flight {options.in_flight} needs {needed} open files, the limit is {hard} (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def before_opening(api: Api, event: str, opening_s: int) -> checks.Violations:
    """Ask for seats until the sale opens, by this machine's clock, and return at that instant: what was sold before it."""
    violations = checks.Violations()
    body = workload.reservation_template(event) % (0, 1)
    while (left_s := opening_s - time.time()) > EARLY_S:
        status, answer = api.post(f"/v1/event/{event}/reservation", body)
        if status != HTTP_CONFLICT or b'"sale_not_open"' not in answer:
            text = " ".join(answer.decode(errors="replace").split())
            violations.add(f"{left_s:.3f} s before the sale opens a request was answered with HTTP {status} {text[:200]}")
        time.sleep(min(POLL_S, max(0.0, opening_s - EARLY_S - time.time())))
    time.sleep(max(0.0, opening_s - time.time()))
    return violations


def create(api: Api, options: Options, event: str, opening_s: int = 0) -> None:
    """Create the event, or raise `UnreachableError`."""
    try:
        status, body = api.post("/v1/event", workload.event_body(options, event, opening_s))
    except UnreachableError as error:
        raise UnreachableError(f"{options.url} can't be reached: {error}") from error
    if status != 200:
        text = " ".join(body.decode(errors="replace").split())
        raise UnreachableError(f"{options.url} does not create an event: HTTP {status} {text[:300]}")


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Children that start in here ignore Ctrl-C from their first instruction on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(options: Options, event: str, shares: list[Workload]) -> list[Worker]:
    """Start a worker process for each share."""
    context: SpawnContext = multiprocessing.get_context("spawn")
    workers = []
    with without_interrupts():
        for number, share in enumerate(shares):
            control, theirs = context.Pipe()
            task = Task(options, event, number, len(shares), share)
            process = context.Process(target=driver.work, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()
            workers.append(Worker(task, process, control))
    return workers


def receive(worker: Worker) -> None:
    """Take the worker's next message."""
    try:
        message = worker.control.recv()
    except (EOFError, ConnectionError) as error:
        raise WorkerDiedError(f"worker {worker.task.worker} died; its replies are lost") from error
    if isinstance(message, Replies):
        worker.replies = message
    else:
        worker.progress = message


def lead(workers: list[Worker], console: Console, requests: int) -> bool:
    """Let the workers go and wait for their replies. The first Ctrl-C asks them for what they have. Whether that happened."""
    interrupts = 0

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    stopped_s = None
    try:
        start_s = time.monotonic()
        for worker in workers:
            worker.control.send(start_s)
        with ProgressView(console, requests) as view:
            while missing := {worker.control: worker for worker in workers if worker.replies is None}:
                for control in wait(list(missing), POLL_S):
                    assert isinstance(control, Connection)
                    receive(missing[control])
                view.update([worker.progress for worker in workers])
                if interrupts and stopped_s is None:
                    stopped_s = time.monotonic()
                    for worker in missing.values():
                        stop(worker)
                if stopped_s is not None and time.monotonic() - stopped_s > STOP_TIMEOUT_S:
                    raise WorkerDiedError("a worker does not stop")
    finally:
        signal.signal(signal.SIGINT, before)
    return interrupts > 0


def stop(worker: Worker) -> None:
    """Ask a worker for what it has, unless it is just handing it over."""
    try:
        worker.control.send(None)
    except ConnectionError:
        return
