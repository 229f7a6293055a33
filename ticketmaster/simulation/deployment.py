"""The machines of a deployment: which processes run, what becomes of them, and how they and their clients reach each other."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from ticketmaster.errors import Fatal, TaskCorrupted
from ticketmaster.simulation.disk import Disk
from ticketmaster.simulation.hosting import Hosting
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.network import Weather
from ticketmaster.simulation.roles import LIMITS, OnRestored, OnStored, RoleProcess, Surroundings
from ticketmaster.state.port import Update
from ticketmaster.ticket.access import EVERYBODY, Caller
from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.problems import Headers
from ticketmaster.ticket.routes import PEER_PREFIX

LAYOUTS = ((("ticket",), ("reservation",), ("event",)), (("ticket", "reservation", "event"),))
_PEER_DEADLINE_S = LIMITS.long_poll_ms / 1000 + 1.0
# An acknowledgement needs the broker, which may be asked in vain twice; a long poll has its own time, and is looked at four times a second.
_ANSWER_DEADLINES_S = {"GET": LIMITS.long_poll_ms / 1000 + 2.0, "POST": 30.0}
# Of changes, which are long polls, too.
_CHANGES = "/v1/reservation/"
_RESTART_S = 0.5
# Longer than others' commands may be tried, with which it may have been sent.
_TOLD_WITHIN_S = 10.0


class Reply(NamedTuple):
    """What a client was answered."""

    status: int
    body: bytes


def _nobody_looks(_process: str, _application_id: str, _partition: int, _updates: Mapping[str, Update], _before: Mapping[str, int]) -> None:
    """Nobody compares stores with their logs."""


def _nobody_compares(_process: str, _task: str, _disk: Disk) -> None:
    """Nobody looks on what tasks begin."""


class _Headers(dict[str, str]):
    """The headers of a request, each once."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


class _Scope(NamedTuple):
    """A request's head, as the HTTP server hands it over."""

    method: str
    path: str
    query_string: str = ""
    headers: _Headers = _Headers()
    caller: Caller = EVERYBODY


class _Responder:
    """Takes the one answer to a request, and tells it once."""

    def __init__(self, on_answer: Callable[[Reply], None], journal: Journal, what: str) -> None:
        self._on_answer = on_answer
        self._journal = journal
        self._what = what
        self._answers = 0

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._answers += 1
        if self._answers > 1:
            self._journal.violation(f"{self._what} was answered {self._answers} times")
        elif status >= 500 and status != 503:
            self._journal.violation(f"{self._what} was answered with {status}")
        self._on_answer(Reply(status, body))


class Deployment:
    """All processes there ever were, those that are to run, and the broker."""

    def __init__(
        self,
        seed: str,
        random: Random,
        journal: Journal,
        host: Hosting,
        partitions: int,
        on_stored: OnStored = _nobody_looks,
        on_restored: OnRestored = _nobody_compares,
    ) -> None:
        self.random = random
        self.journal = journal
        self.weather = Weather()
        self.partitions = partitions
        self.host = host
        self.layout = random.choice(LAYOUTS)
        # Every process there ever was, and of them those that are not given up for dead.
        self.all: list[RoleProcess] = []
        self.live: list[RoleProcess] = []
        self._by_name: dict[str, RoleProcess] = {}
        self._postponed: list[tuple[Sequence[str], Disk]] = []
        self._around = Surroundings(self.host, partitions, seed, self.weather, journal, self._ask_peer, on_stored, on_restored)
        self._outside = contextvars.copy_context()
        # Commands whose clients were told that the log has them.
        self._told_in_log: set[bytes] = set()

    async def start(self) -> None:
        """Starts the broker, and one or two processes of each kind."""
        await self.host.start()
        for roles in self.layout:
            for _ in range(self.random.choice((1, 1, 2))):
                self.start_process(roles, Disk())

    # Processes.

    def start_process(self, roles: Sequence[str], disk: Disk, clock_shift_s: float = 0.0) -> None:
        """Starts one more process on a disk, where the clock may be wrong; without power, when that is back, and the clock is set."""
        if not self.host.is_up:
            self._postponed.append((roles, disk))
            return
        name = f"{'+'.join(role[0] for role in roles)}-{len(self.all)}"
        one = RoleProcess(roles, name, disk, self._around, clock_shift_s)
        self.all.append(one)
        self.live.append(one)
        self._by_name[name] = one
        one.start()

    def serving(self, role: str) -> list[RoleProcess]:
        """Those of a role that can be asked."""
        return [one for one in self.live if role in one.roles and one.dispatcher and not one.ended]

    def freeze(self, one: RoleProcess, steps: int) -> None:
        """It stands still in so many steps from now."""

        def frozen() -> None:
            self.journal.note(one.name, "stands still")
            one.disturbed_at_s = asyncio.get_running_loop().time()

        one.process.freeze_after(steps, frozen)

    def kill(self, one: RoleProcess, steps: int) -> None:
        """It stands still in so many steps from now, and for ever."""
        one.killed = True
        self.freeze(one, steps)
        self.live.remove(one)

    async def stop(self, one: RoleProcess) -> None:
        """Ends a process in order."""
        self.live.remove(one)
        one.disturbed_at_s = float("inf")
        await one.stop()

    async def supervise(self) -> None:
        """Starts processes anew that died of themselves, for ever. What they die of must be a fault of their disk."""
        while True:
            await asyncio.sleep(_RESTART_S)
            for one in [one for one in self.live if one.ended]:
                self.live.remove(one)
                self.check_failure(one)
                self.start_process(one.roles, one.disk.copy())

    def check_failure(self, one: RoleProcess) -> None:
        """A process may die of its disk, and of nothing else."""
        one.disturbed_at_s = float("inf")
        of_its_disk = isinstance(one.failure, TaskCorrupted) or (isinstance(one.failure, Fatal) and one.disk.refused)
        if one.failure and not of_its_disk:
            self.journal.violation(f"{one.name} died of {one.failure!r}")
        if not one.failure and one.disk.in_use:
            self.journal.violation(f"{one.name} has ended in order and left open {one.disk.in_use}")

    async def lose_power(self) -> None:
        """Everything stops at once, the broker too, and is started again; disks may have lost their newest writes."""
        await self.host.until_writing()
        dead = tuple(self.live)
        for one in dead:
            self.kill(one, 0)
        # Those that were killed already, and have some steps left: they would wait for ever for a broker that is no more.
        for one in self.all:
            if one.killed and not one.process.frozen:
                self.freeze(one, 0)
        await self.host.lose_power()
        await asyncio.sleep(1.0)
        for one in dead:
            disk = one.disk.copy()
            disk.tear(self.random)
            self.start_process(one.roles, disk)
        await self.host.start()
        postponed, self._postponed = self._postponed, []
        for roles, disk in postponed:
            self.start_process(roles, disk)

    async def close(self) -> None:
        """Lets the dead unwind, now that nobody looks at what they do."""
        self.host.wake_the_dead()
        for one in self.all:
            await one.process.end()
            await one.link.close()
        await self.host.close()

    # Messages.

    async def ask(
        self,
        one: RoleProcess,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: str = "",
        if_match: str = "",
        caller: Caller = EVERYBODY,
    ) -> Reply | None:
        """A client's request and its answer; None: there was none. A process that is well and does not answer breaks a rule."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        asked_s, deadline_s = loop.time(), _ANSWER_DEADLINES_S["POST" if method == "POST" and not path.startswith(_CHANGES) else "GET"]

        def on_answer(reply: Reply) -> None:
            if method == "POST" and reply.status == 200:
                self._told_in_log.add(reply.body)
            if not answered.done():
                answered.set_result(reply)

        await asyncio.sleep(self.random.choice((0.0, 0.001, 0.01)))
        headers = _Headers({"if-match": if_match} if if_match else {})
        self._deliver(
            one, _Scope(method, path, query, headers, caller), body, _Responder(on_answer, self.journal, f"{method} {path} at {one.name}")
        )
        try:
            async with asyncio.timeout(deadline_s):
                reply = await answered
        except TimeoutError:
            if one.disturbed_at_s < asked_s and not one.process.frozen and not one.ended:
                self.journal.violation(f"{method} {path} was not answered by {one.name} within {deadline_s} s")
            return None
        if self.random.random() < self.weather.lost:
            self.journal.fault("client", "answer lost", f"{method} {path}")
            return None
        return reply

    def expect_told(self, name: str, keys: Sequence[bytes]) -> None:
        """A process knows that the log has these commands: if nothing befalls it, it tells their clients, whatever others wait for."""
        loop, one = asyncio.get_running_loop(), self._by_name[name]
        known_at_s = loop.time()
        if known_at_s - one.disturbed_at_s < _TOLD_WITHIN_S:
            # Their clients may have been refused already: it did not know then.
            return

        def check() -> None:
            untold = [key.decode() for key in keys if key not in self._told_in_log]
            if untold and one.disturbed_at_s < known_at_s and not (one.process.frozen or one.ended or one.failure):
                self.journal.violation(f"{name} has not told within {_TOLD_WITHIN_S} s what it knows to be in the log: {untold}")

        loop.call_later(_TOLD_WITHIN_S, check, context=self._outside)

    def _deliver(self, one: RoleProcess, scope: _Scope, body: bytes, responder: _Responder) -> None:
        def serve() -> None:
            assert one.dispatcher
            if one.ended:
                return
            if scope.method == "GET":
                one.dispatcher.get(scope, scope.path, scope.caller, responder)
                return
            target = one.dispatcher.target(scope, scope.method, scope.path, scope.headers, len(body), scope.caller)
            assert callable(target)
            one.dispatcher.post(scope, target, body, responder)

        one.process.call(serve)

    def _ask_peer(self, asker: RoleProcess, address: str, key: bytes, post: Post | None = None) -> None:
        """As one ticket process asks another: it is told once, by an answer or by a failure."""
        loop, told, gateway = asyncio.get_running_loop(), [False], asker.gateway
        assert gateway

        def tell(reply: Reply | None) -> None:
            if told[0]:
                return
            told[0] = True
            if reply is None:
                asker.process.call(gateway.on_peer_failure, key)
            else:
                asker.process.call(gateway.on_peer_answer, key, reply.status, reply.body, b"")

        other = self._by_name[address]
        loop.call_later(_PEER_DEADLINE_S, tell, None, context=self._outside)
        if other.ended or other not in self.live:
            loop.call_later(0.001, tell, None, context=self._outside)
        elif self.random.random() < self.weather.lost:
            self.journal.fault(asker.name, "question lost", f"of {key.decode()} to {address}")
        else:
            responder = _Responder(tell, self.journal, f"{asker.name}'s question of {key.decode()}")
            scope = _Scope("POST", PEER_PREFIX + post.path.decode()) if post else _Scope("GET", PEER_PREFIX + key.decode())
            delay_s = self.random.choice((0.001, 0.01, 0.2))
            loop.call_later(delay_s, self._deliver, other, scope, post.body if post else b"", responder, context=self._outside)
