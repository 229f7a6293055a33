"""Events that are cancelled: every reservation of theirs is found and cancelled, some in each transaction, while others sell."""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.broker.port import Pair
from ticketmaster.errors import InvalidRecord
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS, Lives
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, Stores
from ticketmaster.wire.binary import UNREADABLE, encode_string, read_string
from ticketmaster.wire.deadlines import CANCELLED_EVENT, CANCELLING_EVENT, EVENT_KEY, Deadline, event_key, read_deadline
from ticketmaster.wire.events import read_cancel
from ticketmaster.wire.reservations import event_of

# Of a transaction: so many reservations are looked at, which takes milliseconds, and so many cancelled. Payments go on meanwhile.
_LOOKED_AT_MAX = 1_000
_CANCELLED_MAX = 200
_RESTORED_AT_ONCE = 1_000


class CancelledEvents:
    """The cancelled events that one partition was told of. One look through its reservations is for all of them."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        # Those that may have reservations which are not cancelled: when the log took the cancellation, by the encoded name.
        self._open: dict[bytes, int] = {}
        # Up to here their reservations are cancelled. Lost with the task, which begins at the beginning again.
        self._looked_to = b""

    @property
    def deadline_ms(self) -> int | None:
        """When there was something to do; None: there is not."""
        return next(iter(self._open.values()), None)

    def restored(self, deadlines: StateTable) -> Steps:
        """Finds the events that are cancelled."""
        at = EVENT_KEY
        while rows := deadlines.after(at, _RESTORED_AT_ONCE):
            for at, value in rows:
                self._note(at[len(EVENT_KEY) :], read_deadline(value))
            yield

    def _note(self, event_id: bytes, deadline: Deadline) -> None:
        name = encode_string(event_id)
        self._lives.cancelled_events.add(name)
        if deadline.kind == CANCELLING_EVENT:
            self._open[name] = deadline.at_ms
            self._looked_to = b""

    def cancel(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Events are cancelled from now on. One that comes again changes nothing."""
        deadlines = stores[DEADLINES]
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
            if encode_string(event_id) not in self._lives.cancelled_events:
                deadline = Deadline(CANCELLING_EVENT, outputs.time_ms)
                deadlines.put(event_key(event_id), deadline.encoded())
                self._note(event_id, deadline)

    def cancel_some(self, stores: Stores, outputs: Outputs) -> None:
        """Cancels some of the reservations of cancelled events, or notes that there are no more."""
        rows = stores[RESERVATIONS].after(self._looked_to, _LOOKED_AT_MAX)
        if not rows:
            for name, at_ms in self._open.items():
                stores[DEADLINES].put(event_key(read_string(name, 0)[0]), Deadline(CANCELLED_EVENT, at_ms).encoded())
            self._open.clear()
            self._looked_to = b""
            return
        cancelled = 0
        for key, reservation in rows:
            self._looked_to = key
            if event_of(reservation) in self._open and self._lives.end_by_event(key, reservation, stores, outputs):
                cancelled += 1
                if cancelled == _CANCELLED_MAX:
                    break
