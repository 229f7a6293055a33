"""Notes from Granian's threads to the loop."""

from __future__ import annotations

import asyncio

from ticketmaster.ticket.server import _Notes


async def test_a_note_that_raises_is_reported_and_holds_up_none_behind_it() -> None:
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    notes, taken = _Notes(loop), asyncio.Event()
    failure = ValueError("a defect")

    def fail(_: object) -> None:
        raise failure

    notes.call_soon_threadsafe(fail)
    notes.call_soon_threadsafe(lambda _: taken.set())

    async with asyncio.timeout(5):
        await taken.wait()
    assert reported == [failure]
