"""What time it is in the log: whatever clocks of hosts are set to, or lag behind."""

from __future__ import annotations

from collections.abc import Callable


class LogClock:
    """The broker's time as this process knows it, and never before a record that it has seen. One for all tasks of a worker."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        # So far this process's time is behind that of the log, as its records show.
        self._behind_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970; they never go back."""
        return self._now_ms() + self._behind_ms

    def note(self, written_ms: int) -> None:
        """A record was written then: so late it is at least."""
        self._behind_ms = max(self._behind_ms, written_ms - self._now_ms())
