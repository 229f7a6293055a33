"""One worker process: POST, then long-poll at once, for its share of the workload."""

from __future__ import annotations

import cProfile
import heapq
import resource
import selectors
import signal
import time
from collections import Counter, deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec
import pycurl

from scripts.perf.spike_client import lives
from scripts.perf.spike_client import replies as columns
from scripts.perf.spike_client.options import Options
from scripts.perf.spike_client.replies import Decision, End, Outcome, Replies
from scripts.perf.spike_client.transport import Client, Kind, Transfer, error_name
from scripts.perf.spike_client.workload import PAYMENT, Fate, Workload, reservation_template

PROGRESS_INTERVAL_S = 0.2
# The codes of a 503 that say that nothing was written. After any other the command may have been taken: another POST would be a second one.
NOT_TAKEN = frozenset({"not_serving", "shutting_down"})
# What stands between the client and the server may say these for a server that took the command.
GATEWAY_ERRORS = frozenset({502, 503, 504})
# For a retry where the server names no time: long enough not to be a busy loop.
RETRY_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker of `workers` is to do; `workload` is its share."""

    options: Options
    event: str
    worker: int
    workers: int
    workload: Workload

    def part(self, total: int) -> int:
        """Its part of a number that the workers share."""
        return total * (self.worker + 1) // self.workers - total * self.worker // self.workers


class Progress(NamedTuple):
    """How far a worker is: requests by outcome, and retries."""

    reserved: int = 0
    refused: int = 0
    failed: int = 0
    retries: int = 0


class Problem(msgspec.Struct):
    """The part of an RFC 9457 problem document that is read."""

    title: str = ""
    code: str = ""


class Flight:
    """A request between its first POST and its end.

    `started_s` is when its wait began, for a decision or a change; `fate` is that of its seats, once it has them.
    """

    __slots__ = ("client", "fate", "number", "reservation_id", "started_s")

    def __init__(self, number: int, client: Client, started_s: float) -> None:
        self.number = number
        self.client = client
        self.started_s = started_s
        self.reservation_id = ""
        self.fate = Fate.LEAVE


class Driver:
    """Sends the share of a task and keeps the replies. `control` carries the stop from the parent and the progress to it."""

    def __init__(self, task: Task, control: Connection) -> None:
        options = task.options
        self.replies = columns.empty(len(task.workload))
        self._task = task
        self._options = options
        self._control = control
        self._template = reservation_template(task.event)
        self._decode = msgspec.json.Decoder(Decision).decode
        self._selector = selectors.DefaultSelector()
        self._selector.register(control.fileno(), selectors.EVENT_READ)
        clients, in_flight = task.part(options.clients), task.part(options.in_flight)
        connections = 1 if options.http2 else -(-in_flight // clients)
        self._clients = [
            Client(options.url, task.event, self._selector, http2=options.http2, connections=connections, timeout_s=options.timeout_s)
            for _ in range(clients)
        ]
        # One entry a request that may be in flight, so that no client gets more than its connections can take.
        self._slots = deque(self._clients[slot % clients] for slot in range(in_flight))
        self._in_flight_max = in_flight
        self._next = 0
        self._retries: list[tuple[float, int, Flight]] = []
        self._retries_made = 0
        self._counts: Counter[Outcome] = Counter()
        self._progress_s = 0.0

    def run(self, start_s: float) -> Replies:
        """Send everything, wait for everything. Ends early, with what there is, when the parent says so or is gone."""
        before = cpu_s()
        self.replies.started_s = start_s
        while (self._next < len(self._task.workload) or len(self._slots) < self._in_flight_max) and not self._turn():
            pass
        self.replies.ended_s = time.monotonic()
        self.replies.cpu_s = cpu_s() - before
        for client in self._clients:
            client.close()
        self._selector.close()
        return self.replies

    def _turn(self) -> bool:
        """Send what is due, wait, take what came. Whether to stop early."""
        now_s = time.monotonic()
        self._send_due(now_s)
        if now_s >= self._progress_s:
            self._report(now_s)
        for key, events in self._selector.select(max(0.0, self._wake_s() - now_s)):
            if key.data is None:
                return True  # the parent sends nothing but the stop; its end is readable too
            key.data.on_socket(key.fd, events)
            self._take(key.data)
        now_s = time.monotonic()
        for client in self._clients:
            if client.due_s is not None and client.due_s <= now_s:
                client.on_timer()
                self._take(client)
        return False

    def _wake_s(self) -> float:
        """When there is something to do though no socket is ready."""
        wake_s = min([self._progress_s, *[client.due_s for client in self._clients if client.due_s is not None]])
        if self._retries:
            wake_s = min(wake_s, self._retries[0][0])
        if self._slots and self._next < len(self._task.workload):
            wake_s = min(wake_s, self._intended_s(self._next))
        return wake_s

    def _intended_s(self, number: int) -> float:
        """When a request is to leave: at once in a closed loop, else by the common schedule of all workers."""
        rate_per_s = self._options.rate_per_s
        if rate_per_s is None:
            return 0.0
        return self.replies.started_s + (self._task.worker + self._task.workers * number) / rate_per_s

    def _send_due(self, now_s: float) -> None:
        while self._retries and self._retries[0][0] <= now_s:
            flight = heapq.heappop(self._retries)[2]
            if flight.fate is not Fate.LEAVE:
                self._change(flight)
            elif flight.reservation_id:
                flight.client.get(flight, flight.reservation_id)
            else:
                self._post(flight)
        open_loop = self._options.rate_per_s is not None
        while self._slots and self._next < len(self._task.workload):
            intended_s = self._intended_s(self._next)
            if intended_s > now_s:
                break
            flight = Flight(self._next, self._slots.popleft(), intended_s if open_loop else time.monotonic())
            self._next += 1
            self._post(flight)

    def _post(self, flight: Flight) -> None:
        workload = self._task.workload
        flight.client.post(flight, self._template % (workload.areas[flight.number], workload.seats[flight.number]))

    def _take(self, client: Client) -> None:
        for transfer, code in client.completed():
            if not code:
                self.replies.http_replies += 1
            else:
                self.replies.transport_errors += 1
            if transfer.kind is Kind.POST:
                self._posted(transfer.exchange, transfer, code)
            elif transfer.kind is Kind.CHANGE:
                self._changed(transfer.exchange, transfer, code)
            else:
                self._polled(transfer.exchange, transfer, code)

    def _posted(self, flight: Flight, transfer: Transfer, code: int) -> None:
        body = transfer.take_body()
        if code == pycurl.E_COULDNT_CONNECT:
            # The only transport error after which the request surely never left.
            self._again(flight, f"POST: {error_name(code)}", RETRY_PAUSE_S)
        elif code:
            self._end(flight, Outcome.UNKNOWN, f"POST: {error_name(code)}")
        elif (status := transfer.status()) == 200:
            self._identified(flight, body)
        elif status == 429 or (status == 503 and problem(body).code in NOT_TAKEN):
            self._again(flight, f"POST: HTTP {status}", transfer.retry_after_s())
        else:
            if status not in GATEWAY_ERRORS:
                self.replies.fault(f"POST answered {status_name(status, body)}, which no valid request gets")
            self._end(flight, Outcome.UNKNOWN, f"POST: {status_name(status, body)}")

    def _identified(self, flight: Flight, body: bytes) -> None:
        text = body.decode("ascii", "replace")
        value = columns.id_bytes(text)
        if value is None:
            self.replies.fault(f"POST answered 200 with {text[:60]!r}, which is no reservation id")
            self._end(flight, Outcome.UNKNOWN, "POST: no reservation id")
            return
        number = flight.number
        self.replies.post_us[number] = microseconds(time.monotonic() - flight.started_s)
        self.replies.ids[columns.ID_BYTES * number : columns.ID_BYTES * (number + 1)] = value
        self.replies.outcomes[number] = Outcome.UNDECIDED
        flight.reservation_id = text
        flight.client.get(flight, text)

    def _polled(self, flight: Flight, transfer: Transfer, code: int) -> None:
        body = transfer.take_body()
        # An id was handed out, so it has to be decided in the end: whatever may be temporary is tried again.
        if code:
            self._again(flight, f"GET: {error_name(code)}", RETRY_PAUSE_S, in_the_end=Outcome.UNREACHED)
        elif (status := transfer.status()) == 200:
            self._decided(flight, body)
        elif status == 429 or status >= 500:
            self._again(flight, f"GET: HTTP {status}", transfer.retry_after_s(), in_the_end=Outcome.UNDECIDED)
        else:
            self._end(flight, Outcome.UNDECIDED, f"GET: {status_name(status, body)}")

    def _decided(self, flight: Flight, body: bytes) -> None:
        number, replies, workload = flight.number, self.replies, self._task.workload
        area, asked = str(workload.areas[number]), workload.seats[number]
        try:
            decision = self._decode(body)
        except msgspec.MsgspecError as error:
            replies.fault(f"reservation {flight.reservation_id}: malformed reply: {error}")
            self._end(flight, Outcome.UNDECIDED, "GET: malformed reply")
            return
        now_s = time.monotonic()
        replies.decision_us[number] = microseconds(now_s - flight.started_s)
        replies.decided_at_us[number] = int((now_s - replies.started_s) * 1e6)
        if (decision.reservationId, decision.eventId, decision.areaId, decision.numOfSeats, decision.type) != (
            flight.reservation_id, self._task.event, area, asked, "RANDOM",
        ):  # fmt: skip
            replies.fault(f"reservation {flight.reservation_id} came back as another one: {body.decode(errors='replace')[:300]}")
        if decision.state == "RESERVED":
            self._reserved(flight, decision, asked)
        elif decision.state == "FAILED":
            replies.refuse(general(decision.failedReason, self._task.event, area))
            self._end(flight, Outcome.REFUSED)
        else:
            self._end(flight, Outcome.UNDECIDED, f"GET: state {decision.state[:20]}")

    def _reserved(self, flight: Flight, decision: Decision, asked: int) -> None:
        seats, options = decision.seats, self._options
        if (
            len(seats) == asked
            and 0 <= seats[0].row < options.rows
            and 0 <= seats[0].col <= options.cols - asked
            and columns.adjacent(seats)
        ):
            self.replies.first_rows[flight.number] = seats[0].row
            self.replies.first_cols[flight.number] = seats[0].col
        else:
            got = [(seat.row, seat.col) for seat in seats]
            self.replies.odd_seats[flight.number] = got
            self.replies.fault(f"reservation {flight.reservation_id} asked for {asked} adjacent seats of its area and got {got[:20]}")
        flight.fate = self._task.workload.fate(flight.number)
        if flight.fate is Fate.LEAVE:
            self._end(flight, Outcome.RESERVED)
            return
        self.replies.outcomes[flight.number] = Outcome.RESERVED
        self.replies.ends[flight.number] = End.UNKNOWN
        flight.started_s = time.monotonic()
        self._change(flight)

    def _change(self, flight: Flight) -> None:
        if flight.fate is Fate.PAY:
            flight.client.pay(flight, flight.reservation_id, PAYMENT)
        else:
            flight.client.cancel(flight, flight.reservation_id)

    def _changed(self, flight: Flight, transfer: Transfer, code: int) -> None:
        body, name, number, replies = transfer.take_body(), flight.fate.name, flight.number, self.replies
        # Either may be sent again, and is made once.
        if code:
            self._again(flight, f"{name}: {error_name(code)}", RETRY_PAUSE_S, in_the_end=Outcome.RESERVED)
            return
        status, now_s = transfer.status(), time.monotonic()
        code_name = problem(body).code if status >= 400 else ""
        if status == 429 or status >= 500 or code_name == "not_decided":
            self._again(flight, f"{name}: HTTP {status}", transfer.retry_after_s(), in_the_end=Outcome.RESERVED)
            return
        held_us = int((now_s - replies.started_s) * 1e6) - lives.asked_us(replies, number)
        held = lives.Held(flight.fate, held_us, lives.hold_us(self._options.hold_seconds))
        end, fault = lives.answered(held, status, code_name, body, flight.reservation_id)
        if fault:
            replies.fault(f"reservation {flight.reservation_id}: {fault}")
        replies.ends[number] = end
        replies.changed_us[number] = microseconds(now_s - flight.started_s)
        self._end(flight, Outcome.RESERVED)

    def _again(self, flight: Flight, why: str, pause_s: float, *, in_the_end: Outcome = Outcome.FAILED) -> None:
        """Try later, unless the request has had its time."""
        due_s = time.monotonic() + (pause_s or RETRY_PAUSE_S)
        if due_s - flight.started_s > self._options.timeout_s:
            self._end(flight, in_the_end, f"{why}, until the time was over")
            return
        self.replies.retries[why] += 1
        self._retries_made += 1
        heapq.heappush(self._retries, (due_s, self._retries_made, flight))

    def _end(self, flight: Flight, outcome: Outcome, error: str = "") -> None:
        self.replies.outcomes[flight.number] = outcome
        self._counts[outcome] += 1
        if error:
            self.replies.errors[error if error in self.replies.errors or len(self.replies.errors) < columns.REASONS_MAX else "others"] += 1
        self._slots.append(flight.client)

    def _report(self, now_s: float) -> None:
        counts = self._counts
        failed = sum(counts[outcome] for outcome in columns.NOT_DECIDED)
        self._control.send(Progress(counts[Outcome.RESERVED], counts[Outcome.REFUSED], failed, self._retries_made))
        self._progress_s = now_s + PROGRESS_INTERVAL_S


def microseconds(seconds: float) -> int:
    """A duration for a column of unsigned 32 bits: up to 71 minutes."""
    return min(max(0, int(seconds * 1e6)), 0xFFFFFFFF)


def status_name(status: int, body: bytes) -> str:
    """A status with the title of its problem document, if it has one."""
    return f"HTTP {status} {problem(body).title[:80]}".strip()


def problem(body: bytes) -> Problem:
    """A problem document; an empty one where there is none."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeError):
        return Problem()


def general(reason: str, event: str, area: str) -> str:
    """A refusal's reason without the names in it, so that equal ones count together."""
    reason = reason.replace(f"{event}#{area} ", "<event>#<area> ").replace(f" area {area} ", " area <area> ")
    return (reason.removesuffix(event) + "<event>" if reason.endswith(event) else reason)[:200]


def cpu_s() -> float:
    """The CPU time of this process so far, in user and in system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def work(task: Task, control: Connection) -> None:
    """The worker process: say ready, wait for the start time, run, hand the replies over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    driver = Driver(task, control)
    control.send(Progress())
    try:
        start_s = control.recv()
        if task.options.profile and task.worker == 0:
            profiler = cProfile.Profile()
            replies = profiler.runcall(driver.run, start_s)
            profiler.dump_stats(task.options.profile)
        else:
            replies = driver.run(start_s)
        control.send(replies)
    except (EOFError, BrokenPipeError):
        return  # the parent is gone: nobody wants the replies
