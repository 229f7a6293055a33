"""Events that are cancelled: every reservation of theirs is found and cancelled, some in each transaction, while others sell."""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.broker.port import Pair
from ticketmaster.errors import InvalidRecord
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS, Lives
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, Stores
from ticketmaster.wire.binary import UNREADABLE, encode_string
from ticketmaster.wire.deadlines import CANCELLED_EVENT, CANCELLING_EVENT, EVENT_KEY, Deadline, event_key, read_deadline
from ticketmaster.wire.events import read_cancel
from ticketmaster.wire.reservations import event_of

# Of a transaction: so many reservations are looked at, which takes milliseconds, and so many cancelled. Payments go on meanwhile.
_LOOKED_AT_MAX = 5_000
_CANCELLED_MAX = 200
_RESTORED_AT_ONCE = 1_000


class CancelledEvents:
    """The cancelled events that one partition was told of."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        # When the log took each cancellation, by the names of events that may have reservations left.
        self._open: dict[bytes, int] = {}
        # The same of the open transaction: a look through the store does not find reservations that it makes.
        self._new: dict[bytes, int] = {}
        # Up to here the reservations of the first one are cancelled. Lost with the task, which begins at the beginning again.
        self._looked_to = b""

    @property
    def deadline_ms(self) -> int | None:
        """When the first of the open events was cancelled: at once, as it is past; None: nothing is to be done."""
        return next(iter(self._open.values()), None)

    def restored(self, deadlines: StateTable) -> Steps:
        """Finds the events that are cancelled."""
        at: bytes | None = EVENT_KEY
        while at is not None:
            items, at = deadlines.scan(at, b"", _RESTORED_AT_ONCE)
            for key, value in items:
                deadline, event_id = read_deadline(value), key[len(EVENT_KEY) :]
                self._lives.cancelled_events.add(encode_string(event_id))
                if deadline.kind == CANCELLING_EVENT:
                    self._open[event_id] = deadline.at_ms
            yield

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

    def cancel_some(self, stores: Stores, outputs: Outputs) -> None:
        """Cancels some of the reservations of the event that was cancelled first, or notes that there are no more."""
        event_id, at_ms = next(iter(self._open.items()))
        state, name = stores[RESERVATIONS], encode_string(event_id)
        found, end = state.scan(self._looked_to, name, _LOOKED_AT_MAX)
        cancelled = 0
        for key, _ in found:
            # The open transaction may have changed it.
            reservation = state.get(key)
            if reservation and event_of(reservation) == name and self._lives.end_by_event(key, reservation, stores, outputs):
                cancelled += 1
                if cancelled == _CANCELLED_MAX:
                    self._looked_to = key
                    return
        if end is not None:
            self._looked_to = end
            return
        stores[DEADLINES].put(event_key(event_id), Deadline(CANCELLED_EVENT, at_ms).encoded())
        del self._open[event_id]
        self._looked_to = b""
