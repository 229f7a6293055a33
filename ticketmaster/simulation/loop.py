"""An event loop on virtual time, and processes in it that can be frozen at any step.

Time stands still while anything can run, and jumps to the next timer when nothing can: a simulated hour takes milliseconds, and
what happens depends on nothing outside. A process is a task and all that it starts.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")

_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process that what runs now belongs to, if it belongs to one."""
    return _PROCESS.get()


class Stuck(Exception):
    """Nothing can run any more, or the run has taken more steps than it may."""


class _Handle(asyncio.TimerHandle):
    """A callback, with no more than this loop needs of it; ``when`` is its time, if it has one."""

    _context: Context

    def __init__(  # its parent's does much that is needed nowhere here
        self, when: float, callback: Callable[..., object], args: tuple[object, ...], loop: VirtualLoop, context: Context | None
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context if context is not None else contextvars.copy_context()
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks as asyncio does, but on a time of its own, and asks the process they belong to before each.

    Nothing outside ever wakes it: a call from another thread, or a socket, would wait for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        # How many callbacks were run, and how many may be.
        self.steps = 0
        self._steps_max = 1 << 62
        self._now_s = 0.0
        self._soon: deque[_Handle] = deque()
        # The number makes two of the same time run in the order they were set in.
        self._timers: list[tuple[float, int, _Handle]] = []
        self._timers_set = 0

    def limit(self, steps_max: int) -> None:
        """A run of more steps is :class:`Stuck`."""
        self._steps_max = steps_max

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.Handle:
        handle = _Handle(self._now_s, callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, self, context)
        self._timers_set += 1
        heappush(self._timers, (when, self._timers_set, handle))
        return handle

    def _run_once(self) -> None:
        # In place of asyncio's, which is not public: that one asks the operating system for the time and for sockets.
        soon = self._soon
        if not soon:
            self._jump()
        if self.steps > self._steps_max:
            raise Stuck(f"after {self.steps} steps it is not over")
        for _ in range(len(soon)):
            handle = soon.popleft()
            if handle._cancelled:  # noqa: SLF001
                continue
            self.steps += 1
            process = handle._context.get(_PROCESS)  # noqa: SLF001
            if process is None or process.may_step():
                handle._run()  # noqa: SLF001
            else:
                process.held.append(handle)

    def _jump(self) -> None:
        """Moves the clock to the next timer."""
        timers, soon = self._timers, self._soon
        while timers and (not soon or timers[0][0] <= self._now_s):
            when, _, handle = heappop(timers)
            if not handle._cancelled:  # noqa: SLF001
                self._now_s = max(self._now_s, when)
                soon.append(handle)
        if not soon:
            raise Stuck("nothing can run any more, and no timer is set: everybody waits for somebody")

    def close(self) -> None:
        super().close()
        # Else whatever they would have called lives as long as this loop.
        self._soon.clear()
        self._timers.clear()

    def run_again(self, handles: list[_Handle]) -> None:
        """Runs what was held back, but for what was cancelled or will be: hence the same handles, not new ones."""
        self._soon.extend(handles)


class Process:
    """A task and all that it starts, which run, or stand still together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: list[_Handle] = []
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

    def elapsed_ns(self) -> int:
        return self.now_ns()

    def random_bits(self, count: int) -> int:
        raise AssertionError("nothing here draws by chance of its own")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
