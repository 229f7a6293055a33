"""What is away is asked again, at longer and longer intervals, and whoever waits can be told to stop."""

from __future__ import annotations

import asyncio

import pytest

from ticketmaster.errors import Fatal, Retriable
from ticketmaster.retry import until_answered


async def test_pauses_grow_to_five_seconds_and_each_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, told = list[float](), list[str]()

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    async def attempt() -> str:
        if len(pauses) < 6:
            raise Retriable(f"attempt {len(pauses)}")
        return "here"

    monkeypatch.setattr("ticketmaster.retry.asyncio.sleep", sleep)

    assert await until_answered(attempt, told.append) == "here"
    assert pauses == [0.5, 1, 2, 4, 5, 5]
    assert told == [f"attempt {number}" for number in range(6)]


async def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    async def attempt() -> None:
        raise Fatal("no use")

    with pytest.raises(Fatal, match="no use"):
        await until_answered(attempt, pytest.fail)


async def test_who_waits_can_be_cancelled() -> None:
    told = asyncio.Event()

    async def attempt() -> None:
        raise Retriable("away")

    waiting = asyncio.create_task(until_answered(attempt, lambda _: told.set()))
    await told.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
