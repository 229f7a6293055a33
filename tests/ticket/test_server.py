"""Notes from Granian's threads to the loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from ticketmaster.errors import Fatal, UsageError
from ticketmaster.ticket import granian_private
from ticketmaster.ticket.access import Caller
from ticketmaster.ticket.dispatching import Dispatcher
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.notes import Notes
from ticketmaster.ticket.responding import Responder
from ticketmaster.ticket.routes import Request, Target
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings


class Protocol:
    """A request's body and its answer, in the order in which they are dealt with."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self) -> SimpleNamespace:
        return SimpleNamespace(cancel=lambda: self.done.append("body given up"))

    def response_bytes(self, status: int, headers: object, body: bytes) -> None:
        self.done.append(str(status))


class Headers(dict[str, str]):
    """Each of them once."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


class Routes:
    """Nothing but a hot GET."""

    body_bytes_max = 10

    def get(self, path: str, responder: Responder, caller: Caller) -> bool:
        responder.response_bytes(200, [], b"")
        return True

    def get_other(self, request: Request, responder: Responder) -> None:
        raise AssertionError(request)

    def allowed_methods(self, path: str) -> str:
        return "GET"

    def target(self, method: str, path: str, head: Head, headers: HeaderLines, caller: Caller) -> Target | None:
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
    scope = SimpleNamespace(method=method, path="/v1/event", query_string="", headers=Headers(headers), http_version="1")
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


async def test_a_port_that_is_taken_is_told_before_anything_is_served() -> None:
    foreign = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with foreign:
        with pytest.raises(UsageError, match="in use"):
            await HttpServer(Routes(), ServerSettings(port=foreign.sockets[0].getsockname()[1])).start()


@pytest.mark.parametrize("takes_leave", [False, True])
async def test_a_server_that_ends_by_itself_is_a_failure(*, takes_leave: bool) -> None:
    server = HttpServer(Routes(), ServerSettings(port=0, lame_duck_ms=60_000))
    await server.start()
    ended = asyncio.create_task(server.ended())
    retiring = asyncio.create_task(server.retire()) if takes_leave else None
    await asyncio.sleep(0.1)
    assert not ended.done()

    server._server.stop()

    with pytest.raises(Fatal, match="the HTTP server has ended by itself"):
        await asyncio.wait_for(ended, 5)
    if retiring:
        retiring.cancel()
    await server.stop()


async def test_a_server_that_has_taken_leave_does_not_fail() -> None:
    server = HttpServer(Routes(), ServerSettings(port=0, lame_duck_ms=0))
    await server.start()
    ended = asyncio.create_task(server.ended())

    await server.retire()

    await asyncio.sleep(0.1)
    assert not ended.done()
    ended.cancel()
    await server.stop()


async def test_a_server_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no threads left")

    monkeypatch.setattr(granian_private, "serve", fail)
    server = HttpServer(Routes(), ServerSettings(port=0))
    await server.start()

    with pytest.raises(Fatal, match=r"the HTTP server has ended by itself.*no threads left"):
        await asyncio.wait_for(server.ended(), 5)
    await server.stop()
