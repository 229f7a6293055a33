"""What the reservation role decides: which commands an area is asked for, and what became of each reservation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.reservation import CANT_BE_WRITTEN, REJECTED_BY_FILTER, UNSUPPORTED_TYPE, ReservationType
from ticketmaster.domain.rules import EVENT_CANCELLED
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.cancelling import CancelledEvents
from ticketmaster.reservation.limits import USER_SEATS, UserLimits
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS, Lives
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.reservation.settings import CANCELLING, CancelSettings
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Outputs, Processor, State, Store, Stores, Topology
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE, skip_string
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.holds import without_hold
from ticketmaster.wire.reservations import Command, check_id, decided, failed_at_once, processing, read_create, read_names, reserve_seat
from ticketmaster.wire.rules import NOT_CHECKED, Checked, checked_reserve_seat, without_box_office

_SEPARATOR = KEY_SEPARATOR.encode()
# Short names of the reasons why no area was asked, as they are counted.
_OUTCOMES = {REJECTED_BY_FILTER: "FILTERED", UNSUPPORTED_TYPE: "UNSUPPORTED_TYPE", CANT_BE_WRITTEN: "INTERNAL_ERROR"}
_SUPPORTED = (ReservationType.SELF_PICK, ReservationType.RANDOM)


class ReservationProcessor(Processor):
    """One partition of the reservation role."""

    def __init__(
        self, partition: int, partitions: int, areas: AreaCache, rules: KnownRules | None = None, cancelling: CancelSettings = CANCELLING
    ) -> None:
        self._partitions = partitions
        self._decisions = TopicPartition(topics.USER_RESERVATION.name, partition)
        self._commands = partitions_of(topics.RESERVE_SEAT.name, partitions)
        self._areas = areas
        self._rules = rules or KnownRules()
        self._limits = UserLimits(partition, partitions)
        self._lives = Lives(partition, partitions, self._limits)
        self._cancelled = CancelledEvents(self._lives, cancelling)

    @property
    def deadline_ms(self) -> int | None:
        """When a hold ends next, by the log's time; the past while reservations of a cancelled event are left."""
        cancelling_ms = self._cancelled.deadline_ms
        return self._lives.deadline_ms if cancelling_ms is None else cancelling_ms

    @property
    def oldest_due_ms(self) -> int | None:
        """When the oldest hold that has not ended ends, or should have."""
        return self._lives.oldest_due_ms

    @property
    def open_deadlines(self) -> int:
        """How many reservations end unless they are paid."""
        return self._lives.open_holds

    def due_by(self, at_ms: int) -> int:
        """How many of them will have ended at an instant, at most."""
        return self._lives.due_by(at_ms)

    def restored(self, tables: Mapping[str, StateTable]) -> Steps:
        """Finds the holds that are open, the events that are cancelled, and those whose users' seats are counted."""
        yield from self._limits.restored(tables[USER_SEATS])
        yield from self._cancelled.restored(tables[DEADLINES])
        yield from self._lives.restored(tables[DEADLINES])

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        """Cancels some reservations of cancelled events, and ends some of the holds that are over."""
        if self._cancelled.deadline_ms is not None:
            self._cancelled.cancel_some(now_ms, stores, outputs)
        due_ms = self._lives.deadline_ms
        if due_ms is not None and due_ms <= now_ms:
            self._lives.on_time(now_ms, stores, outputs)

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        """Reservations of events that were cancelled just now are looked for from the next transaction on."""
        self._cancelled.end_transaction()

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Commands to reserve, results of the event role, changes of what is reserved, events that are cancelled."""
        if topic == topics.CREATE_RESERVATION.name:
            self._create(records, stores, outputs)
        elif topic == topics.RESERVATION_RESULT.name:
            self._finish(records, stores, outputs)
        elif topic == topics.CHANGE_RESERVATION.name:
            self._lives.change(records, stores, outputs)
        else:
            self._cancelled.cancel(records, stores, outputs)

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """A command that no area can be asked for has failed. What is too large to be told of a decision can't be told."""
        key, create = record
        if topic != topics.CREATE_RESERVATION.name or create is None or stores[RESERVATIONS].get(key) is not None:
            return
        try:
            create, _ = without_box_office(create)
            read_create(create)
            check_id(key)
        except UNREADABLE:
            return
        self._fail(key, create, CANT_BE_WRITTEN, stores, outputs)

    def _create(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        state, cancelled_early = stores[RESERVATIONS], self._lives.cancelled_early
        second_form = FRAMES.create_reservation_2
        by_name, cancelled_events = self._rules.by_name, self._lives.cancelled_events
        # Where the filter may be behind, the area itself decides.
        filters = self._areas.is_fresh()
        for at, (key, create) in enumerate(records):
            # A repeated command is the same reservation, not another one.
            if create is None or state.get(key) is not None:
                continue
            try:
                if box_office := create.startswith(second_form):
                    create, box_office = without_box_office(create)  # noqa: PLW2901 - all that is made of it has the first form
                command = read_create(create)
                check_id(key)
            except UNREADABLE as reason:
                outputs.reject(at, f"no CreateReservation: {reason}")
                continue
            if cancelled_early and key in cancelled_early:
                self._lives.cancel_at_once(key, create, stores, outputs)
                continue
            kind, names, refusal, checked = command.kind, command.names, "", NOT_CHECKED
            if kind not in _SUPPORTED:
                refusal = UNSUPPORTED_TYPE
            elif by_name or cancelled_events or box_office:
                refusal, checked = self._looked_at(key, create, command, stores, outputs.time_ms, box_office=box_office)
            area = self._areas.get(names)
            if area is None:
                area_key = _SEPARATOR.join(read_names(names))
                partition = partition_of(area_key, self._partitions)
            elif not filters or refusal or area.admits(create, command.seat_count, kind, command.seats_at):
                area_key, partition = area.key, area.partition
            else:
                area_key, partition, refusal = area.key, area.partition, REJECTED_BY_FILTER
            if refusal:
                self._fail(key, create, refusal, stores, outputs)
                continue
            state.put(key, processing(key, create))
            at_names = command.names_at
            plain = checked is NOT_CHECKED
            reserve = reserve_seat(key, create, at_names) if plain else checked_reserve_seat(key, create, at_names, checked)
            outputs[self._commands[partition]].append((area_key, reserve))

    def _looked_at(
        self, key: bytes, create: bytes, command: Command, stores: Stores, time_ms: int, *, box_office: bool
    ) -> tuple[str, Checked]:
        """(why the event sells nothing to a command of this time, or ""; what the area is told). From now on it counts for its user."""
        names = command.names
        name = names[: skip_string(names, 0)]
        if name in self._lives.cancelled_events:
            return EVENT_CANCELLED, NOT_CHECKED
        rules = self._rules.by_name.get(name)
        if rules is None:
            return "", Checked(0, box_office=True) if box_office else NOT_CHECKED
        refusal = self._rules.refusal(rules, time_ms, box_office=box_office)
        if rules.seats_per_user_max and not refusal and not box_office:
            refusal = self._limits.take(key, create, command, rules.seats_per_user_max, stores)
        return refusal, Checked(rules.revision, box_office)

    def _fail(self, key: bytes, create: bytes, reason: str, stores: Stores, outputs: Outputs) -> None:
        # What a rule says has its short name in brackets.
        outputs.decided(_OUTCOMES.get(reason) or reason[1 : reason.index("]")])
        failed = failed_at_once(key, create, reason)
        self._limits.free(key, failed, stores)
        self._decide(key, failed, stores[RESERVATIONS], outputs)

    def _finish(self, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        state, successes = stores[RESERVATIONS], 0
        for at, (key, result) in enumerate(records):
            if result is None:
                continue
            reservation = state.get(key)
            try:
                first_form, hold = without_hold(result)
                # A decision is final: a second result, or one for an id nobody asked about, changes nothing.
                decision = decided(reservation, first_form)
                if decision is None:
                    self._lives.give_back(key, reservation, first_form, outputs)
                    continue
            except UNREADABLE as reason:
                outputs.reject(at, f"no ReservationResult: {reason}")
                continue
            decided_now = decision.reservation
            if decision.outcome:
                outputs.decided(decision.outcome)
                self._limits.free(key, decided_now, stores)
            else:
                successes += 1
                if hold.seconds:
                    decided_now = self._lives.hold(key, decided_now, hold, stores, outputs)
            self._decide(key, decided_now, state, outputs)
        if successes:
            outputs.decided("", successes)

    def _decide(self, key: bytes, reservation: bytes, state: State, outputs: Outputs) -> None:
        state.put(key, reservation)
        outputs[self._decisions].append((key, reservation))


def reservation_topology(
    partitions: int, areas: AreaCache, rules: KnownRules | None = None, cancelling: CancelSettings = CANCELLING
) -> Topology:
    """The reservation role on topics of ``partitions`` partitions.

    ``areas`` is fed with the status of every area, ``rules`` with every event; None: no event has any.
    """
    return Topology(
        application_id=topics.RESERVATION_SERVICE,
        sources=(
            topics.CREATE_RESERVATION.name,
            topics.RESERVATION_RESULT.name,
            topics.CHANGE_RESERVATION.name,
            topics.CANCEL_EVENT.name,
        ),
        stores=(
            Store(RESERVATIONS, topics.RESERVATION_CHANGELOG.name),
            Store(DEADLINES, topics.DEADLINE_CHANGELOG.name),
            Store(USER_SEATS, topics.USER_SEATS_CHANGELOG.name),
        ),
        new_processor=lambda partition: ReservationProcessor(partition, partitions, areas, rules, cancelling),
    )
