"""An event loop on virtual time, and processes in it that can be frozen at any step.

Time stands still while anything can run, and jumps to the next timer when nothing can: a simulated hour takes milliseconds, and
what happens depends on nothing outside. A process is a task and all that it starts.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from heapq import heappush
from typing import Any, TypeVar

T = TypeVar("T")

_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing can run any more, or the run has taken more steps than it may."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits by moving the clock."""

    now_s = 0.0
    # Callbacks that were run, and how many may be.
    steps = 0
    steps_max = 1 << 62

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.steps > self.steps_max:
            raise Stuck(f"after {self.steps} steps it is not over")
        ready = super().select(0) if timeout is None else []
        if not ready and timeout is None:
            raise Stuck("nothing can run any more, and no timer is set: everybody waits for somebody")
        if timeout:
            self.now_s += timeout
        return ready


class _Handle(asyncio.Handle):
    """A callback that its process may hold back."""

    _loop: VirtualLoop
    _context: Context

    def _run(self) -> None:
        if self._loop.may_run(self, self._context):
            super()._run()


class _TimerHandle(asyncio.TimerHandle):
    """As :class:`_Handle`."""

    _loop: VirtualLoop
    _context: Context
    _scheduled: bool

    def _run(self) -> None:
        if self._loop.may_run(self, self._context):
            super()._run()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks as asyncio does, but asks the process they belong to before each.

    Callbacks go into asyncio's own two queues, whose names are not public: a wrapper round each would cost half as much again.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @property
    def steps(self) -> int:
        """How many callbacks were run."""
        return self._jumping.steps

    def limit(self, steps_max: int) -> None:
        """A run of more steps is :class:`Stuck`."""
        self._jumping.steps_max = steps_max

    def time(self) -> float:
        return self._jumping.now_s

    def call_soon(self, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.TimerHandle:
        handle = _TimerHandle(when, callback, args, self, context)
        heappush(self._scheduled, handle)
        handle._scheduled = True  # noqa: SLF001
        return handle

    def may_run(self, handle: asyncio.Handle, context: Context) -> bool:
        """Counts a step; whether the process it is one of may take it. If not, it is held back."""
        self._jumping.steps += 1
        process = context.get(_PROCESS)
        if process is None or process.may_step():
            return True
        process.held.append(handle)
        return False

    def run_again(self, handles: list[asyncio.Handle]) -> None:
        """Runs what was held back, but for what was cancelled or will be: hence the same handles, not new ones."""
        self._ready.extend(handles)


class Process:
    """A task and all that it starts, which run, or stand still together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: list[asyncio.Handle] = []
        self.frozen = False
        self._steps_left: int | None = None
        self._on_frozen: Callable[[], None] | None = None
        self._context = contextvars.copy_context()
        self._context.run(_PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins to run ``work``."""
        self.job = asyncio.get_running_loop().create_task(work, name=self.name, context=self._context)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Something from outside arrives: the process sees to it soon, or when it runs again."""
        asyncio.get_running_loop().call_soon(function, *args, context=self._context)

    def may_step(self) -> bool:
        """Whether it may run one callback more."""
        if self._steps_left is not None and not self.frozen:
            self._steps_left -= 1
            if self._steps_left < 0:
                self.frozen = True
                if self._on_frozen:
                    self._on_frozen()
        return not self.frozen

    def freeze_after(self, steps: int, on_frozen: Callable[[], None] | None = None) -> None:
        """Stands still after so many steps, at whatever await that is. Nothing is closed or cleaned up: as if it had died."""
        self._steps_left = steps
        self._on_frozen = on_frozen

    def freeze(self) -> None:
        """Stands still from now on."""
        self.freeze_after(0)
        self.frozen = True

    def thaw(self) -> None:
        """Goes on where it stood, as a process does that was paused: time has passed, it does not know."""
        self.frozen = False
        self._steps_left = None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        held, self.held = self.held, []
        loop.run_again(held)

    async def end(self) -> None:
        """Cancels its work and waits for it."""
        self.thaw()
        self.job.cancel()
        await asyncio.gather(self.job, return_exceptions=True)


class VirtualClock:
    """The wall clock that belongs to the running loop."""

    def now_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def now_ms(self) -> int:
        return int(self.monotonic_s() * 1e3)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def random_bits(self, count: int) -> int:
        raise AssertionError("nothing here draws by chance of its own")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
