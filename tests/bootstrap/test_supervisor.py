"""Workers of a supervisor, and what can go wrong with each: its trouble is its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from tests.support.sockets import accepted
from ticketmaster.bootstrap import supervisor
from ticketmaster.bootstrap.supervisor import Supervision, _Supervisor
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.config.roles import RoleConfig
from ticketmaster.config.telemetry import read_telemetry
from ticketmaster.errors import Fatal
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.ticket.listening import listeners
from ticketmaster.wire.registry_settings import RegistrySettings

DEADLINE_S = 20.0
REAL_EXEC = asyncio.create_subprocess_exec

# Each start has a number; what a worker does is said by its number.
WORKER = """
import os, signal, socket, struct, sys, time
link = socket.socket(fileno=int(os.environ["TICKETMASTER_WORKER"].split(":")[0]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def serve(seconds=60):
    link.send(struct.pack(">cI", b"1", 0))
    link.settimeout(seconds)
    try:
        link.recv(1)
    except TimeoutError:
        pass
"""
SERVES = "serve()"
DIES = "serve(.3); sys.exit(1)"
MISTAKE = "sys.exit(2)"
IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()"
FAILS_AT_THE_END = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); serve()"
CANT_BE_STARTED = ""


def role(state_dir: Path, workers: int) -> RoleConfig:
    return RoleConfig(
        # Nobody listens there.
        kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", request_timeout_ms=500),
        registry=RegistrySettings(),
        streams=StreamSettings(),
        state_dir=state_dir,
        workers=workers,
        log_level="info",
        bind="127.0.0.1",
        metrics_port=0,
        telemetry=read_telemetry({}),
        notes=(),
        config_file=None,
    )


class Workers:
    """What each start of a worker does, in their order; those behind the last one serve."""

    def __init__(self, *does: str) -> None:
        self.does = list(does)
        self.started: list[int] = []
        self.starts = 0

    async def start(self, *_command: str, env: dict[str, str], pass_fds: list[int], start_new_session: bool) -> asyncio.subprocess.Process:
        number, self.starts = self.starts, self.starts + 1
        code = self.does[number] if number < len(self.does) else SERVES
        if code == CANT_BE_STARTED:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        process = await REAL_EXEC(sys.executable, "-c", WORKER + code, env=env, pass_fds=pass_fds, start_new_session=start_new_session)
        self.started.append(process.pid)
        return process


class Run:
    """A supervisor at work in the test's loop."""

    def __init__(self, workers: Workers, one: _Supervisor) -> None:
        self.workers = workers
        self.supervisor = one
        self.job = asyncio.create_task(one.run(lambda: None))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                assert not self.job.done(), self.job
                await asyncio.sleep(0.01)

    async def stop(self) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            return await self.job


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    monkeypatch.setattr(supervisor, "_STOP_GRACE_S", 1.0)

    def begin(*does: str, workers: int = 2, listeners: tuple[socket.socket, ...] = ()) -> Run:
        starts = Workers(*does)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", starts.start)
        return Run(starts, _Supervisor(Supervision("event-service", role(tmp_path, workers), [], listeners, 0)))

    return begin


Begin = Callable[..., Run]


@pytest.mark.parametrize("trouble", [MISTAKE, CANT_BE_STARTED, DIES])
async def test_what_ends_a_replacement_is_tried_again_and_ends_no_other_worker(begin: Begin, trouble: str) -> None:
    one = begin(SERVES, DIES, trouble, trouble)
    await one.until(lambda: one.workers.starts == 5 and one.supervisor.ready)

    assert await one.stop() == 0


async def test_a_mistake_before_anything_has_served_ends_all_with_its_exit_code(begin: Begin) -> None:
    one = begin(MISTAKE, "time.sleep(60)")
    async with asyncio.timeout(DEADLINE_S):
        assert await one.job == 2


async def test_a_worker_that_cant_be_started_before_anything_has_served_ends_all_with_the_reason(begin: Begin) -> None:
    one = begin("time.sleep(60)", CANT_BE_STARTED)
    with pytest.raises(Fatal, match="a worker can't be started: Resource temporarily unavailable"):
        async with asyncio.timeout(DEADLINE_S):
            await one.job


async def test_trouble_that_lasts_is_tried_ever_more_rarely_and_told_once_a_minute(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds >= 0.1:
            pauses.append(seconds)
        await real(min(seconds, 0.01))

    with structlog.testing.capture_logs() as lines:
        one = begin(SERVES, DIES, *[CANT_BE_STARTED] * 12)
        await one.until(lambda: one.supervisor.ready)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await one.until(lambda: one.workers.starts == 15)
        assert await one.stop() == 0

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 60.0)
    assert [line["reason"] for line in lines if line["event"] == "worker_died"] == [
        "",
        "a worker can't be started: Resource temporarily unavailable",
    ]


@pytest.mark.parametrize("does", [IGNORES, FAILS_AT_THE_END])
async def test_a_worker_that_does_not_end_in_order_gives_an_exit_code_that_says_so(begin: Begin, does: str) -> None:
    one = begin(SERVES, does)
    await one.until(lambda: one.supervisor.ready)

    assert await one.stop() == 1


async def test_a_worker_that_is_told_to_stop_before_it_can_in_order_is_no_failure(begin: Begin) -> None:
    one = begin(SERVES, "signal.signal(signal.SIGTERM, signal.SIG_DFL); serve()")
    await one.until(lambda: one.supervisor.ready)

    assert await one.stop() == 0


async def test_it_is_not_ready_from_the_moment_it_is_told_to_stop(begin: Begin) -> None:
    one = begin(IGNORES, SERVES)
    await one.until(lambda: one.supervisor.ready)

    stopping = asyncio.create_task(one.stop())
    await one.until(lambda: not one.supervisor.ready)
    # The worker serves for a while still.
    assert all(link.ready for link in one.supervisor._links.values())
    await stopping


async def test_a_pause_before_the_next_start_does_not_hold_the_end_up(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_RESTART_BACKOFF_MIN_S", 60.0)
    one = begin(SERVES, DIES, CANT_BE_STARTED)
    await one.until(lambda: one.supervisor.ready)
    await one.until(lambda: not one.supervisor._processes.get(1))

    began = asyncio.get_running_loop().time()
    assert await one.stop() == 0
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_the_port_stays_taken_and_a_dead_worker_gets_no_connections(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_RESTART_BACKOFF_MIN_S", 60.0)
    with ExitStack() as stack:
        opened = [stack.enter_context(listener) for listener in listeners("127.0.0.1", 0, 2)]
        port = opened[0].getsockname()[1]
        one = begin(SERVES, DIES, listeners=tuple(opened))
        await one.until(lambda: one.supervisor.ready)
        await one.until(lambda: not one.supervisor._processes.get(1))

        for listener in opened:
            listener.settimeout(0)
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        assert [accepted(listener) for listener in opened] == [40, 0]
        await one.stop()
