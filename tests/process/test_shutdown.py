"""SIGTERM and SIGINT: what was taken on is finished, what comes is refused, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.process.client import Lost, ask, connected
from tests.process.sale import Sale
from tests.process.server import COMMAND, Program, Server, environment, forget_state, serving, wait_until
from tests.support.tools import skipped
from ticketmaster.bootstrap.ending import GRACE_S

_DRAIN_MS = 1_000
# On top of the drain time: closing files, and a machine that is busy.
_SLACK_S = 4.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_ends_the_process_cleanly_and_loses_nothing(tmp_path: Path, number: signal.Signals) -> None:
    sale = Sale(1)
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS)) as (server, address):
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address))
        await asyncio.sleep(0.8)
        asked_s = time.monotonic()
        server.send(number)
        code = await asyncio.to_thread(server.wait)
        took_s = time.monotonic() - asked_s
        await load
    assert (code, server.stderr.read_text()) == (0, "")
    assert took_s < _DRAIN_MS / 1_000 + _SLACK_S
    assert [line["event"] for line in server.lines()] == ["ready", "stopping", "stopped"]
    assert server.lines()[1]["signal"] == number.name
    assert len(sale.answered) > 100
    with serving(tmp_path / "data") as (_, address):
        await sale.check(address)


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
async def test_a_second_signal_while_it_drains_changes_nothing(tmp_path: Path, first: signal.Signals, second: signal.Signals) -> None:
    sale = Sale(2)
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS)) as (server, address):
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address))
        # A reservation that nobody made is waited for, so that the end takes the whole drain time.
        waiting = asyncio.create_task(ask(address, "GET", f"/v1/reservation/{uuid4()}"))
        await asyncio.sleep(0.5)
        server.send(first)
        await asyncio.sleep(0.1)
        server.send(second)
        code = await asyncio.to_thread(server.wait)
        await load
        assert (await waiting).status == 503
    assert (code, server.stderr.read_text()) == (0, "")
    assert [line["event"] for line in server.lines()] == ["ready", "stopping", "stopped"]
    with serving(tmp_path / "data") as (_, address):
        await sale.check(address)


@pytest.mark.parametrize("by_nohup", [False, True])
async def test_a_closed_terminal_ends_it_in_order_unless_it_was_started_by_nohup(tmp_path: Path, *, by_nohup: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if by_nohup else signal.SIG_DFL)
    try:
        with serving(tmp_path / "data") as (server, address):
            server.send(signal.SIGHUP)
            if by_nohup:
                await asyncio.sleep(0.5)
                assert (await ask(address, "GET", "/v1/health_check")).status == 200
                server.send(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
            assert server.lines()[1]["signal"] == ("SIGTERM" if by_nohup else "SIGHUP")
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_an_end_that_is_longer_than_a_hanging_one_may_be_is_in_order(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--drain-ms", "0", "--lame-duck-ms", str(int(GRACE_S * 1_000) + 500)) as (server, _):
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
    assert [line["event"] for line in server.lines()] == ["ready", "stopping", "stopped"]


async def test_at_the_end_the_health_check_fails_first_while_requests_are_still_taken_then_nobody_is_accepted(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS), "--lame-duck-ms", "800") as (server, address):
        async with connected(address) as waiting, connected(address) as asking, connected(address) as announcing:
            unknown = asyncio.create_task(waiting.request("GET", f"/v1/reservation/{uuid4()}"))
            # It must have arrived before the signal, or there is nothing to drain.
            await asyncio.sleep(0.3)
            assert (await asking.request("GET", "/v1/health_check")).status == 200
            server.send(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: server.logged("stopping") is not None, "stopping")
            health = await asking.request("GET", "/v1/health_check")
            announced = await announcing.request("POST", "/v1/event", Sale(0).event_body("late"))
            assert (health.status, announced.status) == (503, 200)
            with pytest.raises(Lost):
                await asking.request("GET", "/v1/health_check")
            await asyncio.sleep(1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address.split(":"))
            assert (await unknown).json["code"] == "shutting_down"
        assert await asyncio.to_thread(server.wait) == 0


async def test_a_client_in_the_middle_of_its_body_is_told_that_nothing_was_taken(tmp_path: Path) -> None:
    body = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'
    asked = b"POST /v1/event/concert/reservation HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS)) as (server, address):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(asked + body[:9])
        # It must have arrived before the signal.
        await asyncio.sleep(0.3)
        server.send(signal.SIGTERM)
        async with asyncio.timeout(_SLACK_S):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"shutting_down"' in answer
        assert await asyncio.to_thread(server.wait) == 0


async def test_clients_that_keep_idle_connections_do_not_hold_the_end_up(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (server, address):
        async with connected(address) as idle, connected(address):
            assert (await idle.request("GET", "/v1/health_check")).status == 200
            asked_s = time.monotonic()
            server.send(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
            assert time.monotonic() - asked_s < _SLACK_S
            with pytest.raises(Lost):
                await idle.request("GET", "/v1/health_check")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay_ms", [0, 5, 10, 20, 40, 80])
def test_a_signal_while_it_starts_ends_it_without_a_traceback(tmp_path: Path, number: signal.Signals, delay_ms: int) -> None:
    server = Server(tmp_path / "data")
    try:
        wait_until((tmp_path / "data" / "ticketmaster.lock").exists, "the directory is locked")
        time.sleep(delay_ms / 1_000)
        server.send(number)
        code = server.wait()
    finally:
        server.kill()
    # Before there is a loop, signals end the process as any other.
    assert code in {0, 128 + number}
    assert server.stderr.read_text() == ""
    with serving(tmp_path / "data"):
        pass


def _heeds(pid: int, number: signal.Signals) -> bool:
    (caught,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("in_a_container", [False, True])
def test_sigterm_is_heeded_before_there_is_anything_to_bring_to_an_end(tmp_path: Path, *, in_a_container: bool) -> None:
    inside = ["unshare", "--pid", "--fork", "--kill-child"] if in_a_container else []
    if in_a_container and (
        shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode
    ):
        skipped("this machine lets no process be the first of its own")
    data = tmp_path / "data"
    with subprocess.Popen([*inside, *COMMAND, "standalone", "-p", "0", "-d", str(data)], env=environment(), cwd=tmp_path) as process:
        try:
            if in_a_container:
                wait_until(lambda: bool(_children(process.pid)), "a first process")
            (pid,) = _children(process.pid) if in_a_container else [process.pid]
            wait_until(lambda: _heeds(pid, signal.SIGTERM), "SIGTERM is heeded")
            assert not data.exists(), "it was looked at too late"
            os.kill(pid, signal.SIGTERM)
            assert process.wait(10) == 128 + signal.SIGTERM
        finally:
            process.kill()


# A signal that arrives while an object is cleared away: an exception that it raised there would be lost.
_INTERRUPTED = """
import signal
# The runner of this test may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from ticketmaster import __main__
from ticketmaster.bootstrap import running

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

running._wake_without_preempting = Last
__main__.main()
"""


def test_an_interrupt_before_there_is_a_loop_is_never_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _INTERRUPTED, "standalone", "-p", "0", "-d", str(tmp_path / "data")]

    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
    with serving(tmp_path / "data"):
        pass


# A signal that arrives while a module is imported, which takes most of a command's first moments.
_IMPORTING = """
import builtins, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from ticketmaster import __main__
imported = builtins.__import__

def interrupted(name, *arguments):
    if name.startswith("ticketmaster.bootstrap"):
        signal.raise_signal(signal.SIGINT)
    return imported(name, *arguments)

builtins.__import__ = interrupted
__main__.main()
"""


@pytest.mark.parametrize("command", [["audit"], ["trace", "an-id"], ["topics", "check"], ["topics", "groups"], ["schemas", "check"]])
def test_an_interrupt_in_its_first_moments_is_no_verdict(tmp_path: Path, command: list[str]) -> None:
    line = [sys.executable, "-c", _IMPORTING, *command]

    done = subprocess.run(line, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "Error: it was interrupted before it was found out\n"


async def test_without_its_state_the_same_answers_are_rebuilt_from_the_log(tmp_path: Path) -> None:
    sale = Sale(3)
    with serving(tmp_path / "data", "--partitions", "3") as (server, address):
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address))
        await asyncio.sleep(1.0)
        server.send(signal.SIGTERM)
        await asyncio.to_thread(server.wait)
        await load
    with serving(tmp_path / "data", "--partitions", "3") as (_, address):
        await sale.check(address)
        before = [(await ask(address, "GET", f"/v1/event/concert/area/{area}")).body for area in sale.areas]
    forget_state(tmp_path / "data")
    with serving(tmp_path / "data", "--partitions", "3") as (_, address):
        await sale.check(address)
        assert [(await ask(address, "GET", f"/v1/event/concert/area/{area}")).body for area in sale.areas] == before
        assert len(sale.decisions) > 100


async def test_the_same_event_announced_again_leaves_every_seat_as_it_is(tmp_path: Path) -> None:
    sale = Sale(4, areas=2, rows=4, cols=10)
    with serving(tmp_path / "data") as (server, address):
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address, buyers=4, hurried=0))
        announced = 0
        async with asyncio.timeout(30):
            while announced < 10 or sum(map(len, sale.sold().values())) <= 60:
                await asyncio.sleep(0.05)
                await sale.announce(address, "concert")
                announced += 1
        server.send(signal.SIGTERM)
        await asyncio.to_thread(server.wait)
        await load
    with serving(tmp_path / "data") as (_, address):
        await sale.announce(address, "concert")
        await sale.check(address)


@pytest.mark.parametrize("role", ["ticket", "reservation", "event"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_role_that_waits_for_its_registry_ends_when_it_is_told_to(tmp_path: Path, role: str, number: signal.Signals) -> None:
    config = tmp_path / "client.properties"
    # Nobody listens there.
    config.write_text("bootstrap.servers=127.0.0.1:1\nschema.registry.url=http://127.0.0.1:1\n")
    options = ("-p", "0") if role == "ticket" else ()
    program = Program(tmp_path / "output", role, "-c", str(config), "-d", str(tmp_path / "state"), *options, cwd=tmp_path)
    wait_until(lambda: program.logged("waiting_for_schema_registry") is not None, "it waits")

    program.send(number)

    assert program.wait() == 0
    assert [line["event"] for line in program.lines()] == ["starting", "waiting_for_schema_registry", "stopping", "stopped"]
    assert program.stderr.read_text() == ""


@pytest.mark.parametrize("options", [("ticket", "-p", "0"), ("event", "--workers", "2")])
def test_a_role_that_waits_for_its_brokers_ends_when_it_is_told_to(tmp_path: Path, registry_url: str, options: tuple[str, ...]) -> None:
    config = tmp_path / "client.properties"
    config.write_text(f"bootstrap.servers=127.0.0.1:1\nschema.registry.url={registry_url}\n")
    program = Program(tmp_path / "output", *options, "-c", str(config), "-d", str(tmp_path / "state"), cwd=tmp_path)
    processes = 2 if "2" in options else 1
    wait_until(lambda: [line["event"] for line in program.lines()].count("waiting_for_kafka") == processes, "it waits")
    # Long enough for a second try, which is not told.
    time.sleep(1)

    asked_s = time.monotonic()
    program.send(signal.SIGTERM)

    assert program.wait() == 0
    assert time.monotonic() - asked_s < _SLACK_S
    events = [line["event"] for line in program.lines()]
    assert sorted(set(events)) == ["starting", "stopped", "stopping", "waiting_for_kafka"]
    assert events.count("waiting_for_kafka") == processes
    assert program.stderr.read_text() == ""
