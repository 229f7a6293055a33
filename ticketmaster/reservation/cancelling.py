"""Events that are cancelled: every reservation of theirs is found and cancelled, some in each transaction, while others sell."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from ticketmaster.broker.port import Pair
from ticketmaster.errors import InvalidRecord
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS, Lives
from ticketmaster.reservation.settings import CancelSettings
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, State, Stores
from ticketmaster.wire.binary import UNREADABLE, encode_string
from ticketmaster.wire.deadlines import CANCELLED_EVENT, CANCELLING_EVENT, EVENT_KEY, Deadline, event_key, read_deadline
from ticketmaster.wire.events import read_cancel
from ticketmaster.wire.reservations import event_of

_RESTORED_AT_ONCE = 1_000
# An event is kept in mind so long after its last reservation was cancelled: until the table of events and every area must know of it.
_KEPT_MS = 7 * 86_400_000
# So many are forgotten in a transaction.
_FORGOTTEN_MAX = 100


class CancelledEvents:
    """The cancelled events that one partition was told of."""

    def __init__(self, lives: Lives, settings: CancelSettings) -> None:
        self._lives = lives
        self._settings = settings
        # When the log took each cancellation, by the names of events that may have reservations left.
        self._open: dict[bytes, int] = {}
        # The same of the open transaction: a look through the store does not find reservations that it makes.
        self._new: dict[bytes, int] = {}
        # When those of which none is left came to that, the oldest first.
        self._done: dict[bytes, int] = {}
        # Of the first one of the open events: up to here the store was looked through (None: to its end), and what was found there and
        # is not cancelled yet. Lost with the task, which begins at the beginning again.
        self._looked_to: bytes | None = b""
        self._found: deque[bytes] = deque()

    @property
    def deadline_ms(self) -> int | None:
        """When the first of the open events was cancelled: at once, as it is past; None: nothing is to be done."""
        return next(iter(self._open.values()), None)

    def restored(self, deadlines: StateTable) -> Steps:
        """Finds the events that are cancelled."""
        at: bytes | None = EVENT_KEY
        done: list[tuple[int, bytes]] = []
        while at is not None:
            items, at = deadlines.scan(at, b"", _RESTORED_AT_ONCE)
            for key, value in items:
                deadline, event_id = read_deadline(value), key[len(EVENT_KEY) :]
                self._lives.cancelled_events.add(encode_string(event_id))
                if deadline.kind == CANCELLING_EVENT:
                    self._open[event_id] = deadline.at_ms
                else:
                    done.append((deadline.at_ms, event_id))
            yield
        self._done = {event_id: at_ms for at_ms, event_id in sorted(done)}

    def cancel(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Events are cancelled from now on. One that comes again changes nothing."""
        for at, (_, value) in enumerate(records):
            if value is None:
                continue
            try:
                event_id = read_cancel(value).encode()
                if not event_id:
                    raise InvalidRecord("it names no event")
            except UNREADABLE as reason:
                outputs.reject(at, f"no CancelEvent: {reason}")
                continue
            name = encode_string(event_id)
            if name not in self._lives.cancelled_events:
                self._lives.cancelled_events.add(name)
                stores[DEADLINES].put(event_key(event_id), Deadline(CANCELLING_EVENT, outputs.time_ms).encoded())
                self._new[event_id] = outputs.time_ms

    def end_transaction(self) -> None:
        """What the transaction has made is found from the next one on."""
        if self._new:
            self._open |= self._new
            self._new.clear()

    def cancel_some(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        """Cancels some of the reservations of the event that was cancelled first, or notes that there are no more."""
        event_id = next(iter(self._open))
        state, name = stores[RESERVATIONS], encode_string(event_id)
        if not self._found and self._looked_to is not None:
            items, self._looked_to = state.scan(self._looked_to, name, self._settings.rows_max)
            self._found.extend(key for key, _ in items)
        cancelled = 0
        while self._found and cancelled < self._settings.reservations_max:
            key = self._found.popleft()
            # It may have changed since it was found.
            reservation = state.get(key)
            if reservation and event_of(reservation) == name and self._lives.end_by_event(key, reservation, stores, outputs):
                cancelled += 1
        if self._found or self._looked_to is not None:
            return
        deadlines = stores[DEADLINES]
        deadlines.put(event_key(event_id), Deadline(CANCELLED_EVENT, now_ms).encoded())
        del self._open[event_id]
        self._looked_to = b""
        self._forget(now_ms, deadlines)
        self._done[event_id] = now_ms

    def _forget(self, now_ms: int, deadlines: State) -> None:
        """Events of long ago need no mark any more: a command for one is refused by the table of events, and by its area."""
        for event_id in list(islice(self._done, _FORGOTTEN_MAX)):
            if self._done[event_id] > now_ms - _KEPT_MS:
                return
            del self._done[event_id]
            self._lives.cancelled_events.discard(encode_string(event_id))
            deadlines.put(event_key(event_id), None)
