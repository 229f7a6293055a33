"""How a process's work is run: until a signal or a failure, each of which is told, and never by halves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Mapping
from types import ModuleType
from typing import Any

import pytest
import structlog
import uvloop

from ticketmaster.bootstrap import running
from ticketmaster.bootstrap.running import Readiness, Work, run_role, run_until_stopped
from ticketmaster.errors import Fatal

Jobs = Mapping[str, Coroutine[Any, Any, None]]


async def _never() -> None:
    raise AssertionError


@pytest.mark.parametrize("within", [(uvloop, "run"), (running, "_wake_without_preempting")])
def test_an_interrupt_before_the_work_begins_leaves_no_warning(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, within: tuple[ModuleType, str]
) -> None:
    def interrupted(*_work: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*within, interrupted)
    # What tests before this one have left is not its business.
    gc.collect()
    recwarn.clear()
    with pytest.raises(KeyboardInterrupt):
        run_role(_never())
    gc.collect()

    assert not recwarn.list


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    """A job that ends though it should not."""


async def fails(reason: str) -> None:
    raise Fatal(reason)


class Process:
    """Work that notes what is done with it at its end."""

    def __init__(self, jobs: Jobs, *, drains: bool = True) -> None:
        self.done: list[str] = []
        self.signals: asyncio.Queue[str] = asyncio.Queue()
        self.ready = Readiness()
        self.ready.watch(lambda: True)
        self.drained = asyncio.Event()
        if drains:
            self.drained.set()
        self._work = Work(jobs, self.ready, lambda: self.done.append("ready"), self._drain, self._fail)

    async def _drain(self) -> None:
        self.done.append(f"drains, ready: {self.ready()}")
        await self.drained.wait()
        self.done.append("drained")

    async def _fail(self) -> None:
        self.done.append(f"fails, ready: {self.ready()}")

    async def run(self) -> tuple[int, list[str]]:
        """(the exit code, what was said of failures)."""
        async with asyncio.timeout(5):
            with structlog.testing.capture_logs() as lines:
                code = await run_until_stopped(self._work, self.signals)
        for line in lines:
            line.setdefault("exc_info", "")
        return code, [f"{line['reason']} {line['exc_info']}".strip() for line in lines if line["event"] == "failed"]


async def test_a_signal_drains_and_from_then_on_it_is_not_ready() -> None:
    process = Process({"one": for_ever()})
    process.signals.put_nowait("SIGTERM")

    assert await process.run() == (0, [])
    assert process.done == ["ready", "drains, ready: False", "drained"]


async def test_a_job_that_fails_ends_it_and_from_then_on_it_is_not_ready() -> None:
    process = Process({"one": for_ever(), "two": fails("the log is gone")})

    assert await process.run() == (1, ["the log is gone"])
    assert process.done[-1] == "fails, ready: False"


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
async def test_a_job_that_ends_without_a_word_hides_no_failure_of_another(names: tuple[str, str]) -> None:
    first, second = names
    process = Process({first: at_once(), second: fails("the log is gone")})

    code, said = await process.run()

    assert code == 1
    assert len(said) == 2
    assert "the log is gone" in said
    assert any(f"the job {first} has ended, which it never should" in line for line in said)


async def test_all_jobs_that_fail_at_once_are_told_and_what_they_have_in_common_once() -> None:
    process = Process({name: fails(f"the {name[:-1]} is gone") for name in ("log1", "state1", "log2")})

    assert await process.run() == (1, ["the log is gone; the state is gone"])


async def test_a_job_that_is_cancelled_by_somebody_else_is_a_failure() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    code, (said,) = await Process({"one": cancelled()}).run()

    assert (code, "the job one has ended" in said) == (1, True)


async def test_a_job_that_fails_while_it_drains_ends_the_draining_and_is_told() -> None:
    gone = asyncio.Event()

    async def later() -> None:
        await gone.wait()
        raise Fatal("the log is gone")

    process = Process({"one": later()}, drains=False)
    process.signals.put_nowait("SIGTERM")
    asyncio.get_running_loop().call_later(0.05, gone.set)

    assert await process.run() == (1, ["the log is gone"])
    assert process.done[1:] == ["drains, ready: False", "fails, ready: False"]
