"""aiokafka in virtual time: while a run lasts, its clocks and its chance are the run's, and sets of it have an order."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from itertools import count
from random import Random
from typing import Any, Final, Self, TypeVar
from unittest.mock import patch
from zlib import crc32

from aiokafka import client, cluster, conn, structs
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from aiokafka.producer import message_accumulator

from ticketmaster.simulation.loop import VirtualLoop

_TICK_S: Final = 1e-6
_SILENT: Final = logging.CRITICAL + 1

T = TypeVar("T")
Dial = Callable[[Callable[[], asyncio.BaseProtocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]]]


class _Numbered:
    """Before a class of futures, has its number for a hash: sets of them are walked through in the same order in every run."""

    _number: int

    def __new__(cls, *arguments: object, loop: DialingLoop, **named: object) -> Self:
        made = super().__new__(cls, *arguments, loop=loop, **named)  # type: ignore[call-arg]
        made._number = next(loop.numbers)
        return made

    def __hash__(self) -> int:
        return self._number


class _Future(_Numbered, asyncio.Future[Any]):
    pass


class _Task(_Numbered, asyncio.Task[Any]):
    pass


class DialingLoop(VirtualLoop):
    """A loop on which connections can be opened, by ``dial``."""

    dial: Dial

    def __init__(self) -> None:
        # Of this run's futures: a run must not depend on those before it in its process.
        self.numbers = count()
        super().__init__()

    def close(self) -> None:
        super().close()
        # It knows the cluster, and that all its clients. Those of dead processes are collected now, and say that nobody has closed them.
        vars(self).pop("dial", None)
        self.set_exception_handler(lambda *_: None)

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:  # noqa: ANN401 - a coroutine of anything
        return _Task(coro, loop=self, name=name, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # aiokafka waits for what is left of a time, which rounding makes so little that a clock which stands still never reaches it.
        return super().call_later(max(delay, _TICK_S) if delay > 0 else delay, callback, *args, context=context)

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **_how: object
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        return await self.dial(protocol_factory, host, port)


class _Time:
    """In place of the module ``time``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time
        self.time = loop.time


class _Chance:
    """In place of the module ``random``. What it is given may come from a set: it is put in order first."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choice(self, found: Sequence[T]) -> T:
        return self._random.choice(sorted(found, key=repr))

    def shuffle(self, found: list[Any]) -> None:
        found.sort(key=repr)
        self._random.shuffle(found)


def _hash(source: structs.TopicPartition) -> int:
    found: int = crc32(source.topic.encode()) * 1_000 + source.partition
    return found


@contextmanager
def aiokafka_on(loop: VirtualLoop, random: Random) -> Iterator[None]:
    """The client runs on this loop's time and on this chance, and on nothing else."""
    logger = logging.getLogger("aiokafka")
    level, collects = logger.level, gc.isenabled()
    time, chance = _Time(loop), _Chance(random)
    with ExitStack() as stack:
        for module in (client, cluster, conn, fetcher, group_coordinator, subscription_state, message_accumulator):
            stack.enter_context(patch.object(module, "time", time))
        for module in (client, conn, fetcher):
            stack.enter_context(patch.object(module, "random", chance))
        stack.enter_context(patch.object(structs.TopicPartition, "__hash__", _hash))
        # A client that is interrupted while it connects leaves its connection to the collector, which says so.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ResourceWarning)
        logger.setLevel(_SILENT)
        # Connections are closed when they are collected: that must not depend on what else this process has done.
        gc.disable()
        try:
            yield
        finally:
            logger.setLevel(level)
            gc.collect()
            if collects:
                gc.enable()
