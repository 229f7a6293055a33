"""One reservation's way through the topics, as a timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple

from ticketmaster.audit.reading import Log, batches_up_to
from ticketmaster.audit.report import At
from ticketmaster.audit.rules import text_of
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.domain.event import KEY_SEPARATOR, area_key
from ticketmaster.domain.life import Kind, Life
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaHeader
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import read_change, read_release
from ticketmaster.wire.holds import without_hold
from ticketmaster.wire.lives import standing
from ticketmaster.wire.reservations import read_create, read_names, read_reservation, read_reserve, read_result, read_seats
from ticketmaster.wire.rules import without_box_office, without_check

_SEATS_NAMED_MAX = 12
_COMMANDS, _QUESTIONS = topics.CREATE_RESERVATION.name, topics.RESERVE_SEAT.name
_ANSWERS, _CHANGELOG, _DECISIONS = topics.RESERVATION_RESULT.name, topics.RESERVATION_CHANGELOG.name, topics.USER_RESERVATION.name
_CHANGES, _RELEASES = topics.CHANGE_RESERVATION.name, topics.RELEASE_SEATS.name

# Is told how many records were read so far.
Progress = Callable[[int], None]


class Step(NamedTuple):
    """A record of a reservation: where, when (milliseconds since 1970), what it says in words.

    ``free_seats``: what the area's last status until then had free, so far as that is still kept.
    """

    at: At
    timestamp_ms: int
    text: str
    free_seats: int | None


class Trace(NamedTuple):
    """The way of a reservation, from its first record to its last; the area that it asks for, where that is known."""

    reservation_id: str
    event_id: str | None
    area_id: str | None
    steps: list[Step]


class _Found(NamedTuple):
    at: At
    timestamp_ms: int
    value: bytes


async def trace(log: Log, partitions: int, reservation_id: str, on_progress: Progress) -> Trace:
    """Every record about a reservation; no steps if it is unknown. Only partitions are read that can have one."""
    key = reservation_id.encode()
    search = _Search(log, on_progress)
    own = partition_of(key, partitions)
    by_id = (_COMMANDS, _ANSWERS, _CHANGELOG, _DECISIONS, _CHANGES)
    found = await search.of([TopicPartition(topic, own) for topic in by_id], lambda at, _: at == key)
    names = next((names for one in found if (names := _names(one)) is not None), None)
    if names is None:
        return Trace(reservation_id, None, None, _steps(found, []))
    area = area_key(*names).encode()
    partition = partition_of(area, partitions)
    # What is asked of the area, or given back to it, has the area's key, and the reservation's id in its value only.
    questions = await search.of([TopicPartition(_QUESTIONS, partition)], lambda at, value: at == area and _asks_for(value, key))
    releases = await search.of([TopicPartition(_RELEASES, partition)], lambda at, value: at == area and _gives_back(value, key))
    statuses = await search.of([TopicPartition(topics.AREA_STATUS.name, partition)], lambda at, _: at == area)
    return Trace(reservation_id, *names, _steps(found + questions + releases, statuses))


class _Search:
    """Reads partitions to their ends for the records that are wanted."""

    def __init__(self, log: Log, on_progress: Progress) -> None:
        self._log = log
        self._on_progress = on_progress
        self._records = 0

    async def of(self, sources: Sequence[TopicPartition], wanted: Callable[[bytes, bytes], bool]) -> list[_Found]:
        """Records whose key and value are wanted, none of them a tombstone."""
        positions, ends = await self._log.start_offsets(sources), await self._log.end_offsets(sources)
        found: list[_Found] = []
        async with aclosing(batches_up_to(self._log, positions, ends)) as polls:
            async for batches in polls:
                for batch in batches:
                    self._records += len(batch.records)
                    for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                        if value is not None and wanted(key, value):
                            found.append(_Found(At(*batch.source, offset), batch.timestamp_ms, value))
                self._on_progress(self._records)
        return found


def _asks_for(value: bytes, key: bytes) -> bool:
    if key not in value:
        return False
    try:
        return read_reserve(without_check(value)[0]).who == key
    except UNREADABLE:
        return False


def _gives_back(value: bytes, key: bytes) -> bool:
    if key not in value:
        return False
    try:
        return read_release(value).reservation_id == key
    except UNREADABLE:
        return False


def _names(found: _Found) -> tuple[str, str] | None:
    """(event, area) that a record is about; None: it does not say, or nobody can read it."""
    try:
        if found.at.topic == _COMMANDS:
            event_id, area_id = read_names(read_create(without_box_office(found.value)[0]).names)
            return event_id.decode(), area_id.decode()
        if found.at.topic in (_CHANGELOG, _DECISIONS):
            standing(found.value)
            fields = read_reservation(found.value)
            return fields.event_id, fields.area_id
    except UNREADABLE:
        pass
    return None


# In which order things happen: those of the area come between the two of the reservation role.
_STAGES = (_COMMANDS, _CHANGELOG, _QUESTIONS, _ANSWERS, _CHANGES, _DECISIONS, _RELEASES)


def _steps(found: Sequence[_Found], statuses: Sequence[_Found]) -> list[Step]:
    free = [(one.timestamp_ms, header.available) for one in statuses if (header := _header(one)) is not None]
    steps: list[tuple[tuple[int, int, int], Step]] = []
    for one in found:
        stage = _STAGES.index(one.at.topic)
        try:
            text, decided = _WORDS[one.at.topic](one.value)
        except UNREADABLE as reason:
            text, decided = f"can't be read: {reason}", False
        # The changelog has a reservation twice: before its area is asked, and with its decision.
        order = (one.timestamp_ms, _STAGES.index(_DECISIONS) if decided else stage, one.at.offset)
        # All of it may happen in one millisecond: the area's answer is the first to know of the status that comes with it.
        until_ms = one.timestamp_ms - (stage < _STAGES.index(_ANSWERS) and not decided)
        until = [available for timestamp_ms, available in free if timestamp_ms <= until_ms]
        steps.append((order, Step(one.at, one.timestamp_ms, text, until[-1] if until else None)))
    steps.sort()
    happened = [(step.at.topic, stage) for (_, stage, _), step in steps]
    # A cancellation may come before the area has answered, or after.
    if len(set(happened)) == len(happened) and not any(topic == _CHANGES for topic, _ in happened):
        # Each thing happened once: their order is known, whatever the writers' clocks said.
        steps.sort(key=lambda one: one[0][1])
    return [step for _, step in steps]


def _header(status: _Found) -> AreaHeader | None:
    try:
        return AreaHeader(status.value)
    except UNREADABLE:
        return None


# Each returns what a record says in words, and whether it is a decision.


def _command_words(value: bytes) -> tuple[str, bool]:
    value, box_office = without_box_office(value)
    command = read_create(value)
    seats, _ = read_seats(value, command.seats_at)
    area = KEY_SEPARATOR.join(text_of(name) for name in read_names(command.names))
    by = ", by a box office" if box_office else ""
    return f"{text_of(command.who)} asks for {_wish(command.kind, command.seat_count, seats)} in {area}{by}", False


def _question_words(value: bytes) -> tuple[str, bool]:
    value, checked = without_check(value)
    command = read_reserve(value)
    seats, _ = read_seats(value, command.seats_at)
    by = f", right by revision {checked.revision}" if checked.revision else ""
    return f"the area is asked for {_wish(command.kind, command.seat_count, seats)}{by}", False


def _answer_words(value: bytes) -> tuple[str, bool]:
    first_form, hold = without_hold(value)
    seats, reason = read_result(first_form)
    for_now = f", for {hold.seconds:,} s, extended for {hold.seconds_max:,} s at most" if hold.seconds else ""
    return f"the area gives {_named(read_seats(seats, 0)[0])}{for_now}" if reason is None else f"the area refuses: {text_of(reason)}", False


def _change_words(value: bytes) -> tuple[str, bool]:
    change = read_change(value)
    asked = f"change {text_of(change.change_id)} asks"
    if change.kind is Kind.PAY:
        return f"{asked} to pay, by {text_of(change.reference)}", False
    if change.kind is Kind.EXTEND:
        return f"{asked} to hold the seats for {change.seconds:,} s from now", False
    return f"{asked} to cancel{', and to refund' if change.refund else ''}", False


def _release_words(value: bytes) -> tuple[str, bool]:
    return f"{_named(read_release(value).seats)} to be given back", False


def _reservation_words(value: bytes) -> tuple[str, bool]:
    where = standing(value)
    state, life = where.state, where.life
    if state is State.PROCESSING:
        return "PROCESSING: the reservation is known", False
    if state in (State.FAILED, State.CANCELLED):
        return f"{state.name}: {text_of(where.reason)}{_after(life)}", True
    return f"{state.name}: {_named(read_seats(where.seats, 0)[0])}{_held(life)}{_after(life)}", True


def _held(life: Life) -> str:
    """By what, and until when."""
    paid = f", by {text_of(life.payment_reference)}" if life.payment_reference else ""
    return f"{paid}, until {datetime.fromtimestamp(life.hold_expires_ms / 1000, UTC):%H:%M:%S.%f}"[:-3] if life.hold_expires_ms else paid


def _after(life: Life) -> str:
    """Which change was worked off last, and why it did nothing."""
    if not life.change_id:
        return ""
    refused = f", which was refused: {text_of(life.change_refusal)}" if life.change_refusal else ""
    return f"; after change {text_of(life.change_id)}{refused}"


def _changelog_words(value: bytes) -> tuple[str, bool]:
    text, decided = _reservation_words(value)
    return f"{text} (state of the reservation role)", decided


_WORDS: dict[str, Callable[[bytes], tuple[str, bool]]] = {
    _COMMANDS: _command_words,
    _CHANGELOG: _changelog_words,
    _QUESTIONS: _question_words,
    _ANSWERS: _answer_words,
    _DECISIONS: _reservation_words,
    _CHANGES: _change_words,
    _RELEASES: _release_words,
}


def _wish(kind: int, count: int, seats: Sequence[tuple[int, int]]) -> str:
    if kind == ReservationType.SELF_PICK:
        return _named(seats)
    if kind == ReservationType.RANDOM:
        return f"any {count} adjacent seat{'' if count == 1 else 's'}"
    return "seats of a type that is not supported"


def _named(seats: Sequence[tuple[int, int]]) -> str:
    if not seats:
        return "no seats"
    more = f" and {len(seats) - _SEATS_NAMED_MAX:,} more" if len(seats) > _SEATS_NAMED_MAX else ""
    return f"seat{'' if len(seats) == 1 else 's'} {', '.join(map(str, seats[:_SEATS_NAMED_MAX]))}{more}"
