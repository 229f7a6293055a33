"""Notes from Granian's threads to the loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from ticketmaster.ticket.notes import Notes
from ticketmaster.ticket.responding import Responder
from ticketmaster.ticket.routes import PostTarget, Request
from ticketmaster.ticket.server import Dispatcher


class Protocol:
    """A request's body and its answer, in the order in which they are dealt with."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self) -> SimpleNamespace:
        return SimpleNamespace(cancel=lambda: self.done.append("body given up"))

    def response_bytes(self, status: int, headers: object, body: bytes) -> None:
        self.done.append(str(status))


class Routes:
    """Nothing but a hot GET."""

    body_bytes_max = 10

    def get(self, path: str, responder: Responder) -> bool:
        responder.response_bytes(200, [], b"")
        return True

    def get_other(self, request: Request, responder: Responder) -> None:
        raise AssertionError(request)

    def post_target(self, path: str) -> PostTarget | None:
        return lambda _body, _responder: None


@pytest.mark.parametrize(
    ("method", "headers", "done"),
    [
        ("GET", {}, ["200"]),
        ("GET", {"content-length": "5"}, ["body given up", "200"]),
        ("GET", {"transfer-encoding": "chunked"}, ["body given up", "200"]),
        ("PUT", {"content-length": "5"}, ["body given up", "405"]),
        ("PUT", {}, ["405"]),
        ("PUT", {"content-length": "5", "expect": "100-continue"}, ["405"]),
        ("POST", {"content-length": "11"}, ["body given up", "413"]),
    ],
)
async def test_a_body_that_nobody_reads_is_given_up_before_the_answer(method: str, headers: dict[str, str], done: list[str]) -> None:
    protocol = Protocol()
    scope = SimpleNamespace(method=method, path="/v1/event", query_string="", headers=headers)
    await Dispatcher(Routes(), None).rsgi(scope, protocol)
    assert protocol.done == done


async def test_a_note_that_raises_is_reported_and_holds_up_none_behind_it() -> None:
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    notes, taken = Notes(loop), asyncio.Event()
    failure = ValueError("a defect")

    def fail(_: object) -> None:
        raise failure

    notes.call_soon_threadsafe(fail)
    notes.call_soon_threadsafe(lambda _: taken.set())

    async with asyncio.timeout(5):
        await taken.wait()
    assert reported == [failure]
