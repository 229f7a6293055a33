"""What becomes of the reservations of a partition once they are decided: changes that are asked for, and holds that end.

Payments are ordered against the end of a hold by one clock, that of the log. A hold is ended when everything was read that the log took
before its end. That is known as soon as something was read that it took later. If nobody sends anything, the task does: a record without a
value, which has nothing but a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.domain.life import CANCELLED, Change, Kind, Life, Moved, change_name, changed, ended_by_event, expired, is_over
from ticketmaster.domain.reservation import State as ReservationState
from ticketmaster.reservation.deadlines import Deadlines
from ticketmaster.reservation.limits import UserLimits
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, State, Stores
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import read_change, release_seats
from ticketmaster.wire.deadlines import EARLY_CANCEL, EVENT_KEY, HOLD, Deadline, hold_end, read_deadline
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.lives import Standing, reserved_for_now, standing, stands
from ticketmaster.wire.reservations import check_id, event_of, processing, read_result

RESERVATIONS, DEADLINES = "Reservation", "Deadline"
# So many holds are ended in a transaction: a second wave, of a sell-out whose carts all expire at once, leaves room for payments. With
# fewer it waits more than it works; with more a payment waits for longer.
_ENDED_MAX = 250
_RESTORED_AT_ONCE = 1_000
# A tick that was sent comes back in milliseconds. After so long it is not waited for any more.
_TICK_MS = 5_000
# So long a cancellation waits for its reservation, which may be read a moment later; and so many may wait.
_EARLY_MS = 600_000
_EARLY_MAX = 100_000
_TICK: Pair = (b"", None)


class Lives:
    """Changes and holds of one partition."""

    def __init__(self, partition: int, partitions: int, limits: UserLimits) -> None:
        self._partitions = partitions
        self._decisions = TopicPartition(topics.USER_RESERVATION.name, partition)
        self._changes = TopicPartition(topics.CHANGE_RESERVATION.name, partition)
        self._releases = partitions_of(topics.RELEASE_SEATS.name, partitions)
        self._deadlines = Deadlines()
        self._limits = limits
        # All that the log took before this time was read.
        self._read_ms = 0
        # By this process's clock: when the last tick was sent, and until when it is waited for; how far this clock is ahead of the log's.
        self._tick_sent_ms = 0
        self._tick_awaited_ms = 0
        self._ahead_ms = 0
        # Whether a record was read since this task has started. Until then the time is that of its host, whose clock may be behind; and
        # where nobody sends anything nothing would tell, so the log is asked.
        self._knows_time = True
        self.open_holds = 0
        """How many reservations end unless they are paid."""
        self.cancelled_early: dict[bytes, bytes] = {}
        """The ids of changes that cancel reservations which have not come yet."""
        self.cancelled_events: set[bytes] = set()
        """The encoded names of events that are cancelled."""

    @property
    def oldest_due_ms(self) -> int | None:
        """When the oldest hold that has not ended ends, or should have."""
        return self._deadlines.next_ms

    def due_by(self, at_ms: int) -> int:
        """How many holds will have ended at an instant, at most: some are paid, and not forgotten yet."""
        return self._deadlines.due_by(at_ms)

    def restored(self, deadlines: StateTable) -> Steps:
        """Reads all that is due some time."""
        self._knows_time = False
        add = self._deadlines.add
        for number, (key, value) in enumerate(deadlines.items()):
            # Nearly all are holds.
            if ends_ms := hold_end(value):
                self.open_holds += 1
                add(key, ends_ms)
            elif key.startswith(EVENT_KEY):
                # The last ones in the order of keys, and no reservation's.
                return
            else:
                self._note(key, read_deadline(value))
            if number % _RESTORED_AT_ONCE == 0:
                yield

    def _note(self, key: bytes, deadline: Deadline) -> None:
        if deadline.kind == HOLD:
            self.open_holds += 1
        # One that is repeated is forgotten when the first one is: as often as it is sent, it takes one place.
        if deadline.kind == HOLD or key not in self.cancelled_early:
            self._deadlines.add(key, deadline.at_ms)
        if deadline.kind == EARLY_CANCEL:
            self.cancelled_early[key] = deadline.change_id

    @property
    def deadline_ms(self) -> int | None:
        """When something is to be done: what is due is ended, or a tick is sent to learn what the log's time is."""
        due_ms = self._deadlines.next_ms
        if due_ms is None or due_ms <= self._read_ms:
            return due_ms
        if not self._knows_time:
            return self._tick_awaited_ms
        return max(due_ms + self._ahead_ms, self._tick_awaited_ms)

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        """Ends some of the holds that are over, or sends a tick that will tell whether they are."""
        due_ms = self._deadlines.next_ms
        if due_ms is None:
            return
        if due_ms > self._read_ms:
            outputs[self._changes].append(_TICK)
            self._tick_sent_ms, self._tick_awaited_ms = now_ms, now_ms + _TICK_MS
            return
        due = list(self._deadlines.take_due(self._read_ms, _ENDED_MAX))
        stores[RESERVATIONS].prefetch(due)
        ended = sum([self._end(key, stores, outputs) for key in due])
        if ended:
            outputs.changed("expired", ended)

    def _end(self, key: bytes, stores: Stores, outputs: Outputs) -> bool:
        """Whether a hold is over, and ended now."""
        deadlines = stores[DEADLINES]
        was_early, reservation = self.cancelled_early.pop(key, None) is not None, stores[RESERVATIONS].get(key)
        if was_early or reservation is None:
            deadlines.put(key, None)
            return False
        where = standing(reservation)
        if is_over(where.state, where.life, self._read_ms):
            self._move(key, reservation, where, expired(where.life), stores, outputs)
            self._close(key, deadlines)
            return True
        if where.life.hold_expires_ms:
            # It was extended meanwhile.
            self._deadlines.add(key, where.life.hold_expires_ms)
        return False

    def _close(self, key: bytes, deadlines: State) -> None:
        self.open_holds -= 1
        deadlines.put(key, None)

    def hold(self, key: bytes, reservation: bytes, hold: Hold, stores: Stores, outputs: Outputs) -> bytes:
        """The reservation, which was decided just now, with its hold."""
        self._knows_time = True
        until_ms = outputs.time_ms + hold.seconds * 1000
        until_max_ms = outputs.time_ms + hold.seconds_max * 1000
        self._keep(key, Deadline(HOLD, until_ms), stores[DEADLINES])
        return reserved_for_now(reservation, until_ms, until_max_ms)

    def _keep(self, key: bytes, deadline: Deadline, deadlines: State) -> None:
        deadlines.put(key, deadline.encoded())
        self._note(key, deadline)

    def change(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Works off what is asked of reservations; each is answered by the reservation as it is then, with the id of the change."""
        self._read_ms, self._knows_time = max(self._read_ms, outputs.time_ms), True
        stores[RESERVATIONS].prefetch([key for key, value in records if value is not None])
        for at, (key, value) in enumerate(records):
            if value is None:
                self._ahead_ms, self._tick_awaited_ms = max(0, self._tick_sent_ms - outputs.time_ms), 0
                continue
            try:
                change = read_change(value)
                check_id(key)
                self._change(key, change, stores, outputs)
            except UNREADABLE as reason:
                outputs.reject(at, f"no ChangeReservation, or one of a reservation that can't be read: {reason}")

    def _change(self, key: bytes, change: Change, stores: Stores, outputs: Outputs) -> None:
        reservation, deadlines = stores[RESERVATIONS].get(key), stores[DEADLINES]
        if reservation is None:
            if change.kind is Kind.CANCEL and len(self.cancelled_early) < _EARLY_MAX:
                self._keep(key, Deadline(EARLY_CANCEL, outputs.time_ms + _EARLY_MS, change.change_id), deadlines)
            return
        where = standing(reservation)
        is_cancelled = bool(self.cancelled_events) and event_of(reservation) in self.cancelled_events
        moved = changed(change, where.state, where.reason.decode(), where.life, outputs.time_ms, event_is_cancelled=is_cancelled)
        if moved is None:
            return
        until_ms = moved.life.hold_expires_ms
        if until_ms and until_ms != where.life.hold_expires_ms:
            deadlines.put(key, Deadline(HOLD, until_ms).encoded())
        elif where.life.hold_expires_ms and not until_ms:
            self._close(key, deadlines)
        outputs.changed(change_name(change.kind, where.state, moved))
        self._move(key, reservation, where, moved, stores, outputs)

    def end_by_event(self, key: bytes, reservation: bytes, stores: Stores, outputs: Outputs) -> bool:
        """Cancels a reservation of a cancelled event; False: it was over before."""
        where = standing(reservation)
        moved = ended_by_event(where.state, where.life)
        if moved is None:
            return False
        if where.life.hold_expires_ms:
            self._close(key, stores[DEADLINES])
        outputs.changed("cancelled")
        self._move(key, reservation, where, moved, stores, outputs)
        return True

    def _move(self, key: bytes, reservation: bytes, where: Standing, moved: Moved, stores: Stores, outputs: Outputs) -> None:
        value = stands(reservation, where.seats_end, moved.state, moved.reason.encode(), moved.life)
        stores[RESERVATIONS].put(key, value)
        outputs[self._decisions].append((key, value))
        if moved.state is ReservationState.CANCELLED:
            self._limits.free(key, reservation, stores)
        if moved.frees:
            self._give_back(key, where.names, where.seats, outputs)

    def cancel_at_once(self, key: bytes, create: bytes, stores: Stores, outputs: Outputs) -> None:
        """A reservation whose cancellation was read before it: no area is asked."""
        change_id = self.cancelled_early.pop(key)
        stores[DEADLINES].put(key, None)
        reservation = processing(key, create)
        where = standing(reservation)
        moved = Moved(ReservationState.CANCELLED, CANCELLED, Life(change_id=change_id))
        self._move(key, reservation, where, moved, stores, outputs)
        outputs.decided("CANCELLED")

    def give_back(self, key: bytes, reservation: bytes | None, result: bytes, outputs: Outputs) -> None:
        """Seats that come for a reservation that was cancelled meanwhile. They are given back once, however often this is told."""
        if reservation is None:
            return
        seats, reason = read_result(result)
        if reason is None and (where := standing(reservation)).state is ReservationState.CANCELLED:
            self._give_back(key, where.names, seats, outputs)

    def _give_back(self, key: bytes, names: bytes, seats: bytes, outputs: Outputs) -> None:
        area_key, release = release_seats(key, names, seats)
        outputs[self._releases[partition_of(area_key, self._partitions)]].append((area_key, release))
