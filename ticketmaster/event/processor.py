"""What the event role decides: areas come to be once, and seats are given away once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.domain.event import area_key
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType
from ticketmaster.domain.seat_picking import UNKNOWN_TYPE, pick_chosen, pick_random, unknown_area
from ticketmaster.state.port import StateTable
from ticketmaster.streams.topology import Look, Outputs, Processor, State, Store, Stores, Topology
from ticketmaster.wire import events, topics
from ticketmaster.wire.area_status import AreaHeader, AreaImage
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.holders import holder, read_holder, result_of
from ticketmaster.wire.reservations import Command, encode_run, encode_seats, read_reserve, read_seats, refused, succeeded

_UNREADABLE_AREA = Refusal(ErrorCode.INTERNAL_ERROR, "the area's state can't be read")
_UNWRITABLE_AREA = Refusal(ErrorCode.INTERNAL_ERROR, "the area's new state can't be written")
AREAS, HOLDERS = "AreaStatus", "Holder"
_CACHED_BYTES_MAX = 64 << 20
# So many holders are looked at in one go.
_LOOKED_AT_ONCE = 1_000
# Bytes of areas that a transaction writes, about: an event of 10,000,000 seats comes to be in some 75 transactions, between which
# others are served, and a sale of areas of 100,000 seats holds nobody up.
_TRANSACTION_BYTES_MAX = 2 << 20


class LiveArea:
    """An area in memory: its seats, and the record they make."""

    __slots__ = ("image", "name", "seats", "size_bytes")

    def __init__(self, key: bytes, value: bytes) -> None:
        self.name = key.decode()
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


class EventProcessor(Processor):
    """One partition of the event role. A ``ReserveSeat`` that comes again, whatever happened to offsets, is answered as it was."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        cached_bytes_max: int = _CACHED_BYTES_MAX,
        transaction_bytes_max: int = _TRANSACTION_BYTES_MAX,
    ) -> None:
        self._partitions = partitions
        self._statuses = TopicPartition(topics.AREA_STATUS.name, partition)
        self._results = partitions_of(topics.RESERVATION_RESULT.name, partitions)
        self._repartition = partitions_of(topics.AREA_REPARTITION.name, partitions)
        self._cached_bytes_max = cached_bytes_max
        self._transaction_bytes_max = transaction_bytes_max
        # What the open transaction will write of areas, about.
        self._written_bytes = 0
        # Areas by key, those first that were longest neither read from the state nor changed.
        self._areas: OrderedDict[bytes, LiveArea] = OrderedDict()
        self._cached_bytes = 0
        self._changed: dict[bytes, LiveArea] = {}

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Commands to announce events, announced areas, commands to take seats."""
        if topic == topics.RESERVE_SEAT.name:
            self._reserve(records, stores[AREAS], stores[HOLDERS], outputs)
        elif topic == topics.AREA_REPARTITION.name:
            self._open_areas(records, stores[AREAS], outputs)
        else:
            self._announce(records, outputs)

    def _announce(self, records: Sequence[Pair], outputs: Outputs) -> None:
        """Sends each area of an event to the partition it lives on; what is too much for a transaction is left to the next one.

        A crash in between sends the first areas again, which changes nothing: they are there already.
        """
        for at, (_, value) in enumerate(records):
            if value is None:
                continue
            try:
                event_id, areas = events.read_areas(value)
            except UNREADABLE as reason:
                outputs.reject(at, f"no CreateEvent: {reason}")
                continue
            for place, area in enumerate(areas):
                if self._written_bytes >= self._transaction_bytes_max:
                    outputs.leave(at, events.without_areas(value, place))
                    return
                key = area_key(event_id, area.area_id).encode()
                image = AreaImage.all_free(event_id.encode(), area.area_id.encode(), area.price, area.row_count, area.col_count)
                announced = image.value(area.row_count * area.col_count)
                outputs[self._repartition[partition_of(key, self._partitions)]].append((key, announced))
                self._written_bytes += len(announced)

    def _open_areas(self, records: Sequence[Pair], state: State, outputs: Outputs) -> None:
        """An area that exists stays as it is, whatever is announced: sold seats stay sold."""
        for at, (key, value) in enumerate(records):
            if self._written_bytes >= self._transaction_bytes_max:
                outputs.leave(at)
                return
            try:
                if value is not None and self._area(key, state) is None:
                    area = self._changed[key] = self._cache(key, value)
                    # Once as state, once for those who follow it.
                    self._written_bytes += 2 * area.size_bytes
            except UNREADABLE as reason:
                outputs.reject(at, f"no AreaStatus: {reason}")

    def _reserve(self, records: Sequence[Pair], state: State, holders: State, outputs: Outputs) -> None:
        partitions, results = self._partitions, self._results
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            if self._written_bytes >= self._transaction_bytes_max:
                outputs.leave(at)
                return
            try:
                command = read_reserve(value)
                who = command.who
                given = holders.get(who)
                result = None if given is None else result_of(who, given)
            except UNREADABLE as reason:
                outputs.reject(at, f"no ReserveSeat, or one whose holder can't be read: {reason}")
                continue
            if result is None:
                try:
                    result = self._decide(key, value, command, state, holders)
                except UNREADABLE as reason:
                    # Put aside for whoever mends it, and answered: nobody waits for ever.
                    outputs.reject(at, f"the state of its area can't be read: {reason}")
                    result = refused(who, _UNREADABLE_AREA)
            outputs[results[partition_of(who, partitions)]].append((who, result))

    def _decide(self, key: bytes, value: bytes, command: Command, state: State, holders: State) -> bytes:
        """The result of a command that comes for the first time. UNREADABLE: its area's key or state is."""
        area = self._areas.get(key) or self._area(key, state)
        if area is None:
            result = refused(command.who, unknown_area(key.decode()))
        else:
            result, taken = area.reserve(value, command)
            if taken and key not in self._changed:
                self._changed[key] = area
                self._written_bytes += 2 * area.size_bytes
        # A refusal too: the area may be announced later, or name another seat that is not free.
        holders.put(command.who, holder(command, result))
        return result

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """A command whose area can't be written any more is answered; whoever announced an area that can't be is not waiting."""
        value = record[1]
        if topic != topics.RESERVE_SEAT.name or value is None:
            return
        try:
            command = read_reserve(value)
        except UNREADABLE:
            return
        result = refused(command.who, _UNWRITABLE_AREA)
        outputs[self._results[partition_of(command.who, self._partitions)]].append((command.who, result))

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        """Writes each changed area once, and keeps no more areas than fit."""
        self._written_bytes = 0
        if self._changed:
            self._write_changed(stores[AREAS], outputs[self._statuses])
        # Areas that only refuse take memory too, though nothing has changed. A changed one is in the state by now.
        while self._cached_bytes > self._cached_bytes_max and len(self._areas) > 1:
            self._cached_bytes -= self._areas.popitem(last=False)[1].size_bytes

    def _write_changed(self, state: State, statuses: list[Pair]) -> None:
        for key, area in self._changed.items():
            available = area.seats.available
            assert available == area.seats.count_free(), f"{area.name}: {available} seats are said to be free"
            value = area.image.value(available)
            state.put(key, value)
            statuses.append((key, value))
            self._areas.move_to_end(key)
        self._changed.clear()

    def _area(self, key: bytes, state: State) -> LiveArea | None:
        area = self._areas.get(key)
        if area is None:
            value = state.get(key)
            if value is not None:
                area = self._cache(key, value)
        return area

    def _cache(self, key: bytes, value: bytes) -> LiveArea:
        area = self._areas[key] = LiveArea(key, value)
        self._cached_bytes += area.size_bytes
        return area


def against_repeating(tables: Mapping[str, StateTable], sources: Sequence[str]) -> Look:
    """Why commands to take seats must not be read again: the holders of some seats are not known."""
    if topics.RESERVE_SEAT.name not in sources:
        return ""
    taken = held = 0
    try:
        for _, value in tables[AREAS].items():  # noqa: PERF102 - no dictionary
            area = AreaHeader(value)
            taken += area.rows * area.cols - area.available
            yield
        for number, (key, value) in enumerate(tables[HOLDERS].items()):
            held += len(read_holder(key, value)[2])
            if number % _LOOKED_AT_ONCE == 0:
                yield
    except UNREADABLE as reason:
        return f"its state can't be read: {reason}"
    if taken == held:
        return ""
    return (
        f"{taken - held} of {taken} taken seats have no known holder (they were sold by another program, or by an earlier release), so "
        "commands that are read again could take seats again. Stop all roles, run `ticketmaster topics refill`, and start them"
    )


def event_topology(partitions: int, transaction_bytes_max: int = _TRANSACTION_BYTES_MAX) -> Topology:
    """The event role on topics of ``partitions`` partitions."""
    return Topology(
        application_id=topics.EVENT_SERVICE,
        sources=(topics.CREATE_EVENT.name, topics.AREA_REPARTITION.name, topics.RESERVE_SEAT.name),
        stores=(Store(AREAS, topics.AREA_CHANGELOG.name), Store(HOLDERS, topics.HOLDER_CHANGELOG.name)),
        new_processor=lambda partition: EventProcessor(partition, partitions, transaction_bytes_max=transaction_bytes_max),
        against_repeating=against_repeating,
    )
