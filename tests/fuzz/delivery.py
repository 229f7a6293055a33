"""Sends plans and judges what comes back. A finding is a sentence: what the server did that it must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

from tests.fuzz.answers import Answer, BrokenAnswer, Line
from tests.fuzz.http2 import Streams
from tests.fuzz.messages import Expect, Message, with_known_id
from tests.fuzz.oracle import Oracle, is_bare
from tests.fuzz.plans import End, Plan

# Statuses that are answered before a body is read.
_BODY_UNREAD = {404, 405, 413}
Seen = Callable[[Message, Answer], None]


class Finding(Exception):
    """The server did something that it must not."""


class Courier:
    """One connection of each kind, used as long as it lasts, and others for what spoils them."""

    def __init__(self, host: str, port: int, oracle: Oracle, seen: Seen, *, deadline_s: float) -> None:
        """``seen`` is told every answer that belongs to a request and is as it should be."""
        self._host = host
        self._port = port
        self._oracle = oracle
        self._seen = seen
        self._deadline_s = deadline_s
        self._line: Line | None = None
        self._streams: Streams | None = None

    async def deliver(self, plan: Plan, known_id: bytes) -> list[Answer]:
        """Sends a plan; returns the answers. Finding: one was wrong, or missing."""
        answers: list[Answer] = []
        try:
            if plan.delivery in ("http2", "http2 cut"):
                await self._over_http2(plan, known_id, answers)
            else:
                await self._over_http1(plan, known_id, answers)
        except BrokenAnswer as cause:
            raise Finding(f"a broken answer: {cause}") from cause
        except OSError as cause:
            raise Finding(f"no connection: {cause!r}") from cause
        return answers

    def close(self) -> None:
        """Closes what is open."""
        for one in (self._line, self._streams):
            if one:
                one.close()

    @asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s):
                yield
        except TimeoutError as cause:
            raise Finding(f"a hang: {what} within {self._deadline_s:g} s") from cause

    # HTTP/1.1.

    async def _over_http1(self, plan: Plan, known_id: bytes, answers: list[Answer]) -> None:
        line = None
        if plan.is_kept:
            line, self._line = self._line, None
        if line is None or line.ended:
            async with self._deadline("no connection"):
                line = await Line.open(self._host, self._port)
        keep = False
        sending = asyncio.create_task(self._send(line, plan, known_id))
        try:
            if plan.end in (End.CLOSE, End.RESET):
                await self._leave(line, plan, sending)
            elif plan.end == End.SHUT:
                await self._drain(line, plan, sending, answers)
            else:
                keep = await self._converse(line, plan, sending, answers)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if keep and self._line is None:
                self._line = line
            else:
                line.close()

    @staticmethod
    async def _send(line: Line, plan: Plan, known_id: bytes) -> None:
        data = with_known_id(plan.data, known_id)
        line.uses += 1
        for start, end in zip([0, *plan.cuts], [*plan.cuts, len(data)], strict=True):
            if not await line.send(data[start:end]):
                return
            if plan.pause_s and end < len(data):
                await asyncio.sleep(plan.pause_s)

    async def _leave(self, line: Line, plan: Plan, sending: asyncio.Task[None]) -> None:
        async with self._deadline("not all was read"):
            await sending
        await asyncio.sleep(plan.grace_s)
        if plan.end == End.RESET:
            line.reset()

    async def _converse(self, line: Line, plan: Plan, sending: asyncio.Task[None], answers: list[Answer]) -> bool:
        """Reads an answer for each request; whether the connection may be used again."""
        if plan.messages[0].expect == Expect.ANYTHING:
            await self._drain(line, plan, sending, answers)
            return False
        for message in plan.messages:
            async with self._deadline("no answer"):
                answer = await line.answer(message.method)
            if answer is None:
                if message.expect == Expect.ANSWER:
                    raise Finding(f"closed without an answer, on a connection's {line.uses}. use, after {len(answers)} answers")
                return False
            answers.append(answer)
            self._judge(message, answer)
            # A body that nobody has read closes the connection, now or in a moment.
            unread = message.sent_body() and (message.method != b"POST" or answer.status in _BODY_UNREAD)
            if answer.closes or unread or is_bare(answer):
                return False
        if not plan.is_kept:
            await self._drain(line, plan, sending, answers, since=len(answers))
            return False
        if line.received:
            raise Finding(f"{len(line.received)} bytes more than the answers")
        return True

    async def _drain(self, line: Line, plan: Plan, sending: asyncio.Task[None], answers: list[Answer], since: int = 0) -> None:
        """Ends the client's side, and waits until the server ends its own. All that it said until then must be answers."""
        async with self._deadline("not all was read"):
            await sending
        if plan.grace_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(plan.grace_s):
                    while await line.receive():
                        pass
        line.shut()
        try:
            async with self._deadline("the connection was not closed after its client's end"):
                while await line.receive():
                    pass
        except Finding as finding:
            raise Finding(f"{finding}; it had said {bytes(line.received[:200])!r}") from finding
        if b"PRI * HTTP/2.0" in plan.data and not line.received.startswith(b"HTTP/"):
            # HTTP/2 is answered by frames, which other plans look at.
            return
        methods = [message.method for message in plan.messages][since:]
        while line.received:
            method = methods.pop(0) if methods else b""
            answer = await line.answer(method)
            if answer is None:
                return
            answers.append(answer)
            if not is_bare(answer):
                self._judge_unknown(method, answer)

    # HTTP/2.

    async def _over_http2(self, plan: Plan, known_id: bytes, answers: list[Answer]) -> None:
        streams, self._streams = self._streams, None
        if streams is None or streams.is_over:
            async with self._deadline("no connection"):
                streams = await Streams.open(self._host, self._port)
        keep = False
        try:
            messages = [_known(message, known_id) for message in plan.messages]
            async with self._deadline("the request was not taken"):
                numbers = [await streams.start(message, plan.body_bytes) for message in messages]
            if plan.delivery == "http2 cut":
                await asyncio.sleep(plan.grace_s)
                if plan.end == End.RESET:
                    await streams.cancel(numbers[0])
                    keep = True
                return
            for message, number in zip(plan.messages, numbers, strict=True):
                async with self._deadline("no answer"):
                    answer = await streams.answer(number)
                if answer is None:
                    if message.expect == Expect.ANSWER:
                        raise Finding("the stream was reset, or the connection closed, without an answer")
                    return
                answers.append(answer)
                self._judge(message, answer)
            keep = not streams.is_over
        finally:
            if keep:
                self._streams = streams
            else:
                streams.close()

    # Judgement.

    def _judge(self, message: Message, answer: Answer) -> None:
        if message.expect > Expect.ANSWER and is_bare(answer):
            return
        fault = self._oracle.fault(message.method, message.target, answer)
        if fault:
            raise Finding(f"{message.method[:20]!r} {message.target[:200]!r}: {fault}: {answer.headers} {answer.body[:200]!r}")
        self._seen(message, answer)

    def _judge_unknown(self, method: bytes, answer: Answer) -> None:
        fault = self._oracle.fault(method, None, answer)
        if fault:
            raise Finding(f"to a request that nobody can tell: {fault}: {answer.headers} {answer.body[:200]!r}")


def _known(message: Message, known_id: bytes) -> Message:
    return Message(
        message.operation, message.method, with_known_id(message.target, known_id), message.headers, message.body, message.version
    )


def pick_known(random: Random, acknowledged: list[str]) -> bytes:
    """An id of this run, one of the last most of all; one that nobody knows if there is none."""
    if not acknowledged:
        return b"01900000-0000-7000-8000-000000000000"
    return random.choice(acknowledged[-20:] if random.random() < 0.5 else acknowledged).encode()
