"""When a task's deadlines have come: in the log's time, and not before all is worked off that was written until then.

A task may be slow, or its fetch late: what the log took before the deadline must win all the same. So the ends of its logs are asked for
once the deadline has passed, and it has come when the task has read up to there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from ticketmaster.broker.port import Broker, TopicPartition
from ticketmaster.errors import Retriable
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.log_clock import LogClock
from ticketmaster.streams.settings import StreamSettings

# A deadline that stays is looked at again so soon: records have their turn, and one that nothing is done about costs little.
_STAYS_REST_S = 0.005
# The timer of the loop stands still while the machine sleeps, and does not know when records show that it is later.
_SLEEP_MAX_S = 10.0
# After the ends could not be read, and after what a deadline brought was refused: then twice as long each time.
_FAILED_REST_S = 1.0
_REFUSED_REST_MAX_S = 60.0


class Deadlines:
    """Wakes one task for its deadlines, one timer at a time. In between it costs nothing."""

    def __init__(
        self, broker: Broker, sources: Collection[TopicPartition], clock: LogClock, settings: StreamSettings, wake: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._sources = sources
        self._clock = clock
        self._grace_ms = settings.deadline_grace_ms
        self._interval_s = settings.deadline_interval_ms / 1000
        self._wake = wake
        self._deadline_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        # What the timer was set for: the deadline, and how far the log was ahead of this process's time.
        self._set_for: tuple[int, int] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._next_ask_s = 0.0
        # What was written before this time lies before these ends.
        self._asked_ms = -1
        self._ends: Mapping[TopicPartition, int] = {}
        self._rests_until_s = 0.0
        self._refused_rest_s = 0.0

    def reached(self, deadline_ms: int, read_to: Callable[[], Mapping[TopicPartition, int]]) -> int | None:
        """The time, not before the deadline, up to which the task has read its logs; None: the deadline has not come yet.

        ``read_to`` has the offset of each source behind what is worked off.
        """
        if self._asked_ms < deadline_ms or asyncio.get_running_loop().time() < self._rests_until_s:
            return None
        offsets = read_to()
        return self._asked_ms if all(offsets.get(source, -1) >= end for source, end in self._ends.items()) else None

    @property
    def wait_for_records(self) -> bool:
        """Whether the deadline has passed, and comes as soon as the task has read on."""
        return self._deadline_ms is not None and self._asked_ms >= self._deadline_ms

    def forget(self) -> None:
        """There is no deadline."""
        if self._deadline_ms is not None:
            self._deadline_ms = None
            self._cancel_timer()

    def watch(self, deadline_ms: int) -> None:
        """Wakes the task when it is to look at this deadline, which has not come yet. Fatal: the log is gone."""
        if self._asking and self._asking.done():
            asked, self._asking = self._asking, None
            asked.result()
        self._deadline_ms = deadline_ms
        if self._set_for != (deadline_ms, self._clock.ahead_ms):
            self._set_timer(deadline_ms)

    def _set_timer(self, deadline_ms: int) -> None:
        self._cancel_timer()
        loop = asyncio.get_running_loop()
        rests_s = self._rests_until_s - loop.time()
        if self._asked_ms >= deadline_ms:
            # Records that are read wake the task themselves.
            if rests_s <= 0:
                return
            delay_s = rests_s
        else:
            passes_s = (deadline_ms + self._grace_ms - self._clock.now_ms()) / 1000
            delay_s = min(max(passes_s, self._next_ask_s - loop.time(), rests_s, 0.0), _SLEEP_MAX_S)
        self._set_for = (deadline_ms, self._clock.ahead_ms)
        self._timer = loop.call_later(delay_s, self._come, deadline_ms)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._set_for = None

    def _come(self, deadline_ms: int) -> None:
        self._timer = self._set_for = None
        if self._asked_ms >= deadline_ms:
            self._wake()
        elif self._clock.now_ms() < deadline_ms + self._grace_ms:
            self._set_timer(deadline_ms)
        elif self._asking is None:
            self._next_ask_s = asyncio.get_running_loop().time() + self._interval_s
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        # Before it is asked, however late the answer is read: a record that is not before the ends was not visible then.
        asked_ms = self._clock.now_ms() - self._grace_ms
        try:
            ends = await self._broker.end_offsets(self._sources)
        except Retriable:
            self._next_ask_s = asyncio.get_running_loop().time() + _FAILED_REST_S
        else:
            self._asked_ms, self._ends = asked_ms, ends
        finally:
            self._wake()

    def worked_off(self, *, stays: bool) -> None:
        """What a deadline brought is durable; ``stays``: the next one is the same again."""
        self._refused_rest_s = 0.0
        if stays:
            self._rest(_STAYS_REST_S)

    def refused(self) -> None:
        """What a deadline brought may be what the broker never takes: records go on without it for a while."""
        self._refused_rest_s = min(max(2 * self._refused_rest_s, _FAILED_REST_S), _REFUSED_REST_MAX_S)
        self._rest(self._refused_rest_s)

    def _rest(self, rest_s: float) -> None:
        self._rests_until_s = asyncio.get_running_loop().time() + rest_s

    async def stop(self) -> None:
        """Wakes nobody any more, and has asked nothing: the task starts over."""
        self.forget()
        self._asked_ms, self._ends = -1, {}
        asking, self._asking = self._asking, None
        if asking:
            await cancel(asking)
