"""What the event role decides: areas come to be once, and seats are given away once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType
from ticketmaster.domain.seat_picking import UNKNOWN_TYPE, pick_chosen, pick_random, unknown_area
from ticketmaster.errors import InvalidRecord
from ticketmaster.event.events import Budget, Events
from ticketmaster.event.kept_rules import KeptRules, RulesByEvent
from ticketmaster.event.lagging import Lagging, StatusPace, catch_up
from ticketmaster.event.stores import AREAS, EVENTS, HOLDERS, RULES, against_repeating
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, Processor, Store, Stores, Topology
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaImage, area_names
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import Release, read_release, released_id
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.holders import CLOSED, holder, holds_just, read_holder, result_of
from ticketmaster.wire.holds import for_now
from ticketmaster.wire.reservations import (
    Command,
    encode_run,
    encode_seats,
    read_names,
    read_reserve,
    read_seats,
    refused,
    refused_by_rule,
    succeeded,
)
from ticketmaster.wire.rules import NOT_CHECKED, Checked, read_ruled_area, without_check
from ticketmaster.wire.seat_changes import KEYS, area_of, changes_key

_UNREADABLE_AREA = Refusal(ErrorCode.INTERNAL_ERROR, "the area's state can't be read")
_UNWRITABLE_AREA = Refusal(ErrorCode.INTERNAL_ERROR, "the area's new state can't be written")
_CACHED_BYTES_MAX = 64 << 20
# So many holders are looked at in one go.
_LOOKED_AT_ONCE = 1_000
# Bytes of areas that a transaction writes, about: an event of 10,000,000 seats comes to be in some 75 transactions, between which
# others are served, and a sale of areas of 100,000 seats holds nobody up.
_TRANSACTION_BYTES_MAX = 2 << 20
STATUS_PACE = StatusPace()


class LiveArea:
    """An area in memory: its seats, the record they make, and the rules of its event, which it shares with the other areas."""

    __slots__ = ("image", "kept", "name", "seats", "size_bytes")

    def __init__(self, key: bytes, value: bytes, kept: KeptRules) -> None:
        self.name = key.decode()
        self.kept = kept
        self.image, self.seats = AreaImage.parse(value)
        self.size_bytes = len(value) + len(self.seats.free)

    def reserve(self, value: bytes, command: Command) -> tuple[bytes, bool]:
        """(the result of a ``ReserveSeat``, whether seats were taken)."""
        if command.kind == ReservationType.RANDOM:
            count = command.seat_count
            picked = pick_random(self.seats, count, self.name)
            if isinstance(picked, Refusal):
                return refused(command.who, picked), False
            row, col = picked
            self.image.take_run(row, col, count)
            return succeeded(command.who, encode_run(row, col, count)), True
        if command.kind == ReservationType.SELF_PICK:
            chosen, _ = read_seats(value, command.seats_at)
            refusal = pick_chosen(self.seats, chosen, self.name)
            if refusal:
                return refused(command.who, refusal), False
            self.image.take(chosen)
            return succeeded(command.who, encode_seats(chosen)), True
        return refused(command.who, UNKNOWN_TYPE), False

    def release(self, seats: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Frees those of the seats that the area has and that are taken, and returns them."""
        released = self.seats.release(seats)
        self.image.release(released)
        return released


class EventProcessor(Processor):
    """One partition of the event role. A ``ReserveSeat`` that comes again, whatever happened to offsets, is answered as it was."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        cached_bytes_max: int = _CACHED_BYTES_MAX,
        transaction_bytes_max: int = _TRANSACTION_BYTES_MAX,
        status_pace: StatusPace = STATUS_PACE,
    ) -> None:
        self._partitions = partitions
        self._statuses = TopicPartition(topics.AREA_STATUS.name, partition)
        self._results = partitions_of(topics.RESERVATION_RESULT.name, partitions)
        self._cached_bytes_max = cached_bytes_max
        self._budget = Budget(transaction_bytes_max)
        self._events = Events(partitions, self._budget)
        self._rules = RulesByEvent()
        # Areas by key, those first that were longest neither read from the state nor changed.
        self._areas: OrderedDict[bytes, LiveArea] = OrderedDict()
        self._cached_bytes = 0
        self._changed: dict[bytes, LiveArea] = {}
        self._lagging = Lagging(status_pace)
        # The log's time of what is processed.
        self._now_ms = 0

    @property
    def deadline_ms(self) -> int | None:
        """When the next status must be written that is behind."""
        return self._lagging.deadline_ms

    def restored(self, tables: Mapping[str, StateTable]) -> Steps:
        """Finds the areas whose status was behind when a predecessor ended."""
        after: bytes | None = KEYS
        while after is not None:
            found, after = tables[RULES].scan(after, b"", _LOOKED_AT_ONCE)
            for key, _ in found:
                self._lagging.found(area_of(key))
            yield

    def on_time(self, now_ms: int, stores: Stores, _outputs: Outputs) -> None:
        """Has each status written that has been behind for long enough; the rest of them follows in the next transaction."""
        self._now_ms = now_ms
        told = False
        for key in self._lagging.due(now_ms):
            # One at least, the longest behind: where much comes, records leave no room in any transaction.
            if told and self._budget.is_spent:
                return
            try:
                area = self._area(key, stores)
            except UNREADABLE:
                # Its commands are put aside, and say so.
                area = None
            if area is None:
                self._lagging.forget(key)
            elif key not in self._changed:
                self._note_changed(key, area)
                told = True

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Commands to take seats and to give them back, areas that are announced or told of rules, events to announce and change."""
        self._now_ms = outputs.time_ms
        if topic == topics.RESERVE_SEAT.name:
            self._reserve(records, stores, outputs)
        elif topic == topics.RELEASE_SEATS.name:
            self._release(records, stores, outputs)
        elif topic == topics.AREA_REPARTITION.name:
            self._open_areas(records, stores, outputs)
        elif topic == topics.RULED_AREA_REPARTITION.name:
            self._open_ruled_areas(records, stores, outputs)
        elif topic == topics.CREATE_EVENT.name:
            self._events.announce(records, stores[EVENTS], outputs)
        else:
            self._events.change(records, stores[EVENTS], outputs)

    def _open_ruled_areas(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """As :meth:`_open_areas`, of areas that come with the rules of their event; and the rules of an event alone, by its name."""
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            try:
                rules, status = read_ruled_area(value)
                self._rules.tell(_event_of(status) if status else key, rules, stores[RULES])
            except UNREADABLE as reason:
                outputs.reject(at, f"no area with rules: {reason}")
                continue
            if status and not self._open(at, key, status, stores, outputs):
                return

    def _open_areas(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """An area that exists stays as it is, whatever is announced: sold seats stay sold."""
        for at, (key, value) in enumerate(records):
            if value is not None and not self._open(at, key, value, stores, outputs):
                return

    def _open(self, at: int, key: bytes, value: bytes, stores: Stores, outputs: Outputs) -> bool:
        """Whether the transaction has room for the area that was announced at this place, if there is none yet."""
        if self._budget.is_spent:
            outputs.leave(at)
            return False
        try:
            if self._area(key, stores) is None:
                area = self._changed[key] = self._cache(key, value, stores)
                # Once as state, once for those who follow it.
                self._budget.written_bytes += 2 * area.size_bytes
        except UNREADABLE as reason:
            outputs.reject(at, f"no AreaStatus: {reason}")
        return True

    def _reserve(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        partitions, results, holders = self._partitions, self._results, stores[HOLDERS]
        second_form, budget = FRAMES.reserve_seat_2, self._budget
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            if budget.written_bytes >= budget.bytes_max:
                outputs.leave(at)
                return
            try:
                checked = NOT_CHECKED
                if value.startswith(second_form):
                    value, checked = without_check(value)  # noqa: PLW2901 - the rest is for the first form
                command = read_reserve(value)
                who = command.who
                given = holders.get(who)
                if given == CLOSED:
                    # It came before, and has given its seats back since: nobody waits for an answer.
                    continue
                result = None if given is None else result_of(who, given)
            except UNREADABLE as reason:
                outputs.reject(at, f"no ReserveSeat, or one whose holder can't be read: {reason}")
                continue
            if result is None:
                try:
                    result = self._decide(key, value, command, checked, stores)
                except UNREADABLE as reason:
                    # Put aside for whoever mends it, and answered: nobody waits for ever.
                    outputs.reject(at, f"the state of its area can't be read: {reason}")
                    result = refused(who, _UNREADABLE_AREA)
            outputs[results[partition_of(who, partitions)]].append((who, result))

    def _decide(self, key: bytes, value: bytes, command: Command, checked: Checked, stores: Stores) -> bytes:
        """The result of a command that comes for the first time. UNREADABLE: its area's key or state is."""
        area = self._areas.get(key) or self._area(key, stores)
        if area is None:
            result = refused(command.who, unknown_area(key.decode()))
        elif area.kept.may_refuse and (reason := area.kept.rules.refusal(checked)):
            result = refused_by_rule(command.who, reason)
        else:
            result, taken = area.reserve(value, command)
            if taken:
                if key not in self._changed:
                    self._note_changed(key, area)
                if area.kept.hold.seconds:
                    result = for_now(result, area.kept.hold)
        # A refusal too: the area may be announced later, or name another seat that is not free.
        stores[HOLDERS].put(command.who, holder(command, result))
        return result

    def _note_changed(self, key: bytes, area: LiveArea) -> None:
        self._changed[key] = area
        self._budget.written_bytes += 2 * area.size_bytes

    def _release(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Frees what a reservation holds, once, however often it is told to give it back."""
        holders, budget = stores[HOLDERS], self._budget
        holders.prefetch([released_id(value) for _, value in records if value is not None])
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            if budget.written_bytes >= budget.bytes_max:
                outputs.leave(at)
                return
            try:
                release = read_release(value)
                given = holders.get(release.reservation_id)
                if given == CLOSED:
                    continue
                seats = _held(release, given)
                area = self._areas.get(key) or self._area(key, stores)
            except UNREADABLE as reason:
                outputs.reject(at, f"no ReleaseSeats, or its holder or its area can't be read: {reason}")
                continue
            holders.put(release.reservation_id, CLOSED)
            if area is not None and area.release(seats) and key not in self._changed:
                self._note_changed(key, area)

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """A command whose area can't be written any more is answered; nobody waits for areas or for seats to come back."""
        value = record[1]
        if topic != topics.RESERVE_SEAT.name or value is None:
            return
        try:
            command = read_reserve(without_check(value)[0])
        except UNREADABLE:
            return
        result = refused(command.who, _UNWRITABLE_AREA)
        outputs[self._results[partition_of(command.who, self._partitions)]].append((command.who, result))

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        """Writes each changed area once, a large one now and then and else what has changed of it, and keeps no more areas than fit."""
        self._budget.written_bytes = 0
        self._events.end_transaction()
        self._write_changed(stores, outputs)
        # Areas that only refuse take memory too, though nothing has changed. A changed one is in the state by now.
        while self._cached_bytes > self._cached_bytes_max and len(self._areas) > 1:
            key, area = self._areas.popitem(last=False)
            if key in self._lagging:
                self._write(key, area, stores, outputs)
            self._lagging.forget(key)
            self._cached_bytes -= area.size_bytes

    def _write_changed(self, stores: Stores, outputs: Outputs) -> None:
        for key, area in self._changed.items():
            available = area.seats.available
            assert available == area.seats.count_free(), f"{area.name}: {available} seats are said to be free"
            changes = self._lagging.changes(key, area.size_bytes, area.seats, self._now_ms)
            if changes is None:
                self._write(key, area, stores, outputs)
            else:
                stores[RULES].put(changes_key(key), changes)
            self._areas.move_to_end(key)
        self._changed.clear()

    def _write(self, key: bytes, area: LiveArea, stores: Stores, outputs: Outputs) -> None:
        """As state and for those who follow it, in one transaction: they are always the same."""
        value = area.image.value(area.seats.available)
        stores[AREAS].put(key, value)
        outputs[self._statuses].append((key, value))
        if self._lagging.written(key, area.size_bytes, area.seats, self._now_ms):
            stores[RULES].put(changes_key(key), None)

    def _area(self, key: bytes, stores: Stores) -> LiveArea | None:
        area = self._areas.get(key)
        if area is None:
            value = stores[AREAS].get(key)
            if value is not None:
                area = self._cache(key, value, stores, stores[RULES].get(changes_key(key)))
        return area

    def _cache(self, key: bytes, value: bytes, stores: Stores, changes: bytes | None = None) -> LiveArea:
        area = LiveArea(key, value, self._rules.of(_event_of(value), stores[RULES]))
        if changes is not None:
            catch_up(area.seats, area.image, changes)
            self._lagging.found(key)
        self._areas[key] = area
        self._cached_bytes += area.size_bytes
        return area


def _event_of(status: bytes) -> bytes:
    """The event that an area is of. UNREADABLE: it is no area."""
    return read_names(area_names(status))[0]


def _held(release: Release, given: bytes | None) -> Sequence[tuple[int, int]]:
    """The seats to free. UNREADABLE: the holder, or a release of another area."""
    # Without a holder they were taken before there were any: the reservation role knows what it has.
    if given is None or holds_just(given, release.names, release.encoded):
        return release.seats
    event_id, area_id, seats = read_holder(release.reservation_id, given)
    if (event_id, area_id) != read_names(release.names):
        raise InvalidRecord("it names another area than its holder")
    return seats


def event_topology(partitions: int, transaction_bytes_max: int = _TRANSACTION_BYTES_MAX, status_pace: StatusPace = STATUS_PACE) -> Topology:
    """The event role on topics of ``partitions`` partitions."""
    return Topology(
        application_id=topics.EVENT_SERVICE,
        sources=(
            topics.CREATE_EVENT.name,
            topics.AREA_REPARTITION.name,
            topics.RESERVE_SEAT.name,
            topics.RELEASE_SEATS.name,
            topics.RULED_AREA_REPARTITION.name,
            topics.CHANGE_EVENT.name,
        ),
        stores=(
            Store(AREAS, topics.AREA_CHANGELOG.name),
            Store(HOLDERS, topics.HOLDER_CHANGELOG.name),
            Store(RULES, topics.AREA_RULES_CHANGELOG.name),
            # Its changelog is the table that the other roles read.
            Store(EVENTS, topics.EVENT.name),
        ),
        new_processor=lambda partition: EventProcessor(
            partition, partitions, transaction_bytes_max=transaction_bytes_max, status_pace=status_pace
        ),
        against_repeating=against_repeating,
    )
