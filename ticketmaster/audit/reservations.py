"""What the topics say about each reservation: a row of numbers an id, so that a sale of millions fits in memory.

A value is reduced to what is compared later; :func:`hash` stands for the rest of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from ticketmaster.audit.hashing import digest_of
from ticketmaster.audit.lives import Lives
from ticketmaster.audit.places import Places, is_placed, packed, partition_at, unpacked
from ticketmaster.audit.records import ReservationRecord, Seats, encoded_seats, read_record, seats_of, wrong_seats
from ticketmaster.audit.report import At
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.reservation import LEGAL_MOVES, LIVE, ReservationType, State
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE, read_string
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.holders import CLOSED, result_of
from ticketmaster.wire.holds import without_hold
from ticketmaster.wire.reservations import check_id, read_create, read_names, read_reserve, read_result
from ticketmaster.wire.rules import without_box_office, without_check

NONE, BOX_OFFICE = -1, -2
_ONCE_SEATED = (*LIVE, State.CANCELLED)
# In the changelog, where a transaction writes what it came to, and compaction removes what came in between.
_LATER_MOVES = LEGAL_MOVES | {State.PROCESSING: LEGAL_MOVES[State.PROCESSING] | {State.PAID}}
_OTHER_REASON = "other"
_REASONS_MAX = 1_000
_TOPICS = (topics.CREATE_RESERVATION, topics.RESERVE_SEAT, topics.RESERVATION_RESULT, topics.RESERVATION_CHANGELOG, topics.USER_RESERVATION)
_COMMAND, _ASK, _RESULT, _CHANGELOG, _DECISION = range(len(_TOPICS))
TOPIC_NAMES = tuple(topic.name for topic in _TOPICS)
_HOLDERS = topics.HOLDER_CHANGELOG.name


def _outcome(seats: Seats | None, reason: bytes) -> int:
    """A number for what an area answered: seats, or why there are none."""
    return hash(reason if seats is None else seats)


class Reservations:
    """Reads the five topics that are keyed by, or name, reservations. Its columns are for the books; a row is the index of an id."""

    def __init__(self, findings: Findings, *, in_order: bool = False) -> None:
        self._findings = findings
        self.rows: dict[bytes, int] = {}
        self._columns: list[tuple[array[int], int]] = []
        # Where each topic has its last record of the row; of commands and of questions to the area, its first.
        self.at = [self._column("q", NONE) for _ in _TOPICS]
        # What was asked for, by whom, as the first record has it that was read; and which one that was.
        # No hash in Python is -1, whatever was asked for; that of nothing at all is 0.
        self._who, self._what, self._seats = (self._column("q", NONE) for _ in range(3))
        self._first_topic, self._first_at = self._column("b", 0), self._column("q", NONE)
        self._changelog_state, self._changelog_hash = self._column("b", NONE), self._column("q", 0)
        self._answer = self._column("q", 0)
        self.answered_again = 0
        # What the event role remembers of its answer, and where; whether that was closed, as the seats were given back.
        self._held, self._held_at = self._column("q", 0), self._column("q", NONE)
        self.closed_at = self._column("q", NONE)
        # Of an answer that gives seats for a while: when that begins, and for how long in seconds.
        self.answered_ms, self.hold_s = self._column("q", 0), self._column("l", 0)
        self.decision_state, self._decision_hash = self._column("b", NONE), self._column("q", 0)
        self._outcome = self._column("q", NONE)
        self.digest = self._column("Q", 0)
        # When it was asked for, and by whom at which event.
        self.asked_ms, self.user = self._column("q", NONE), self._column("q", 0)
        self.area, self.reason = self._column("l", NONE), self._column("h", NONE)
        # The seats of those who have or had some: by decision, or by an answer that is not decided yet.
        self.seats: dict[int, bytes] = {}
        self.area_keys: list[bytes] = []
        self._area_of: dict[bytes, int] = {}
        self.reasons: list[str] = []
        self._reason_of: dict[str, int] = {}
        self.commands = self.put_aside = self.repeated = self.undecided_count = 0
        self._takers: dict[str, Callable[[bytes, bytes, int], None]] = dict(
            zip(
                TOPIC_NAMES,
                (self._take_command, self._take_question, self._take_answer, self._take_changelog, self._take_decision),
                strict=True,
            )
        )
        self._takers[_HOLDERS] = self._take_holder
        self.lives = Lives(findings, self._column, in_order=in_order)
        # When the log took the records that are being read.
        self._time_ms = 0

    def _column(self, kind: str, default: int) -> array[int]:
        column = array(kind)
        self._columns.append((column, default))
        return column

    def _row(self, key: bytes) -> int:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = len(self.rows)
            for column, default in self._columns:
                column.append(default)
        return row

    def place(self, topic: int, row: int) -> At | None:
        """Where a topic, by its position in :data:`TOPIC_NAMES`, has its record of a row."""
        return unpacked(TOPIC_NAMES[topic], self.at[topic][row])

    def decision_place(self, row: int) -> At | None:
        """Where the last decision of a row is."""
        return self.place(_DECISION, row)

    def places(self, row: int) -> tuple[At | None, ...]:
        """Every record of a row that is known, in the order in which they are written."""
        return tuple(self.place(topic, row) for topic in range(len(_TOPICS)))

    # Reading.

    def take(self, batch: Batch) -> bool:
        """Takes records of its topics; False: the topic is none of them."""
        topic, partition = batch.source
        self._time_ms = batch.timestamp_ms
        if topic == topics.CHANGE_RESERVATION.name:
            self.lives.take(batch, self.rows.get)
            return True
        taker = self._takers.get(topic)
        if taker is None:
            return False
        for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
            at = packed(partition, offset)
            if value is not None:
                taker(key, value, at)
            elif topic in (TOPIC_NAMES[_CHANGELOG], TOPIC_NAMES[_DECISION], _HOLDERS):
                self._findings.add(Rule.DELETED, f"reservation {text_of(key)}", unpacked(topic, at))
        return True

    def _take_command(self, key: bytes, value: bytes, at: int) -> None:
        self.commands += 1
        try:
            value, box_office = without_box_office(value)
            command = read_create(value)
            check_id(key)
            seats = seats_of(value[command.seats_at :])
        except UNREADABLE:
            self.put_aside += 1
            return
        row = self._row(key)
        if self.at[_COMMAND][row] != NONE:
            # Only the first one counts, whatever the others say.
            self.repeated += 1
            return
        self.at[_COMMAND][row] = at
        self.asked_ms[row] = BOX_OFFICE if box_office else self._time_ms
        self.user[row] = hash((command.who, read_names(command.names)[0]))
        self.undecided_count += self.at[_DECISION][row] == NONE
        self._compare(row, key, (command.who, value[command.names_at : command.seats_at], seats), (_COMMAND, at))

    def _take_question(self, key: bytes, value: bytes, at: int) -> None:
        try:
            value, _ = without_check(value)
            command = read_reserve(value)
            check_id(command.who)
            seats = seats_of(value[command.seats_at :])
        except UNREADABLE:
            self.put_aside += 1
            return
        row = self._row(command.who)
        area = KEY_SEPARATOR.encode().join(read_names(command.names))
        if area != key:
            self._findings.add(Rule.MISPLACED, f"a question to {text_of(area)} has the key {text_of(key)}", _place(_ASK, at))
        if self.at[_ASK][row] != NONE:
            self._findings.add(Rule.ASKED_AGAIN, text_of(command.who), self.place(_ASK, row), _place(_ASK, at))
            return
        self.at[_ASK][row] = at
        if self.area[row] == NONE:
            self._note_area(row, command.names)
        self._compare(row, command.who, (None, value[command.names_at : command.seats_at], seats), (_ASK, at))

    def _take_answer(self, key: bytes, value: bytes, at: int) -> None:
        try:
            value, hold = without_hold(value)
            encoded, reason = read_result(value)
            check_id(key)
            named, _ = read_string(value, FRAME_BYTES)
        except UNREADABLE:
            self.put_aside += 1
            return
        if named != key:
            self._findings.add(Rule.MISPLACED, f"an answer for {text_of(named)} has the key {text_of(key)}", _place(_RESULT, at))
        row = self._row(key)
        seats = seats_of(encoded) if reason is None else None
        if self.at[_RESULT][row] != NONE:
            if self._answer[row] == _outcome(seats, reason or b""):
                # The question was read again, as offsets were lost or set back: the same answer does no harm.
                self.answered_again += 1
                return
            earlier = self.place(_RESULT, row)
            self._findings.add(Rule.ANSWERED_AGAIN, text_of(key), earlier, _place(_RESULT, at))
            if seats is not None and row in self.seats:
                self._findings.add(Rule.TOOK_TWICE, text_of(key), earlier, _place(_RESULT, at))
            return
        self.at[_RESULT][row] = at
        self._answer[row] = _outcome(seats, reason or b"")
        self.answered_ms[row], self.hold_s[row] = self._time_ms, hold.seconds
        if seats is not None:
            self.seats.setdefault(row, encoded_seats(seats))

    def _take_holder(self, key: bytes, value: bytes, at: int) -> None:
        if value == CLOSED:
            self.closed_at[self._row(key)] = at
            return
        try:
            encoded, reason = read_result(without_hold(result_of(key, value))[0])
        except UNREADABLE as problem:
            self._findings.add(Rule.UNREADABLE, f"the holder {text_of(key)}: {problem}", unpacked(_HOLDERS, at))
            return
        row, seats = self._row(key), seats_of(encoded) if reason is None else None
        if self.closed_at[row] != NONE:
            text = f"{text_of(key)} had given its seats back"
            self._findings.add(Rule.HOLDER, text, unpacked(_HOLDERS, self.closed_at[row]), unpacked(_HOLDERS, at))
        self._held[row], self._held_at[row] = _outcome(seats, reason or b""), at
        if seats is not None:
            self.seats.setdefault(row, encoded_seats(seats))

    def _take_changelog(self, key: bytes, value: bytes, at: int) -> None:
        try:
            found = read_record(key, value)
        except UNREADABLE as reason:
            self._findings.add(Rule.UNREADABLE, f"reservation {text_of(key)}: {reason}", _place(_CHANGELOG, at))
            return
        row = self._row(key)
        if self.area[row] == NONE:
            self._note_area(row, found.names)
        before = self._changelog_state[row]
        # Compaction may have removed the first ones, so any may be the first to be seen.
        again = before == found.state and found.life.change_id
        if before != NONE and not again and found.state not in _LATER_MOVES[State(before)]:
            text = f"{text_of(key)}: {State(before).name} → {found.state.name}"
            self._findings.add(Rule.ILLEGAL_MOVE, text, self.place(_CHANGELOG, row), _place(_CHANGELOG, at))
        self._changelog_state[row], self._changelog_hash[row], self.at[_CHANGELOG][row] = found.state, hash(value), at
        self._compare_state(row, key, found, (_CHANGELOG, at))

    def _take_decision(self, key: bytes, value: bytes, at: int) -> None:
        try:
            found = read_record(key, value)
        except UNREADABLE as reason:
            self._findings.add(Rule.UNREADABLE, f"reservation {text_of(key)}: {reason}", _place(_DECISION, at))
            return
        if found.state is State.PROCESSING:
            self._findings.add(Rule.ILLEGAL_MOVE, f"{text_of(key)}: PROCESSING is no decision", _place(_DECISION, at))
            return
        row = self._row(key)
        before = self.decision_state[row]
        if self.lives.moved(row, key, found, at, self._time_ms):
            self._findings.add(Rule.DECIDED_AGAIN, f"{text_of(key)}: {found.state.name}", self.place(_DECISION, row), _place(_DECISION, at))
        elif before not in (NONE, found.state) and found.state not in LEGAL_MOVES[State(before)]:
            self._findings.add(
                Rule.ILLEGAL_MOVE,
                f"{text_of(key)}: {State(before).name} → {found.state.name}",
                self.place(_DECISION, row),
                _place(_DECISION, at),
            )
        if before == NONE:
            self.undecided_count -= self.at[_COMMAND][row] != NONE
        self.decision_state[row], self._decision_hash[row], self.at[_DECISION][row] = found.state, hash(value), at
        self.digest[row] = digest_of(key, value[FRAME_BYTES:])
        self._note_area(row, found.names)
        if found.state in LIVE:
            self._outcome[row] = _outcome(found.seats, b"")
            self.seats[row] = encoded_seats(found.seats)
            if wrong := wrong_seats(found):
                self._findings.add(Rule.SEAT_COUNT, f"{text_of(key)}: {wrong}", _place(_DECISION, at))
        elif found.state is State.FAILED:
            self._outcome[row] = _outcome(None, found.reason)
            self.reason[row] = self._note_reason(found.reason.decode())
        self._compare_state(row, key, found, (_DECISION, at))

    def _compare_state(self, row: int, key: bytes, found: ReservationRecord, place: tuple[int, int]) -> None:
        # What a RANDOM one got is not what was in the command.
        asked = found.seats if found.kind == ReservationType.SELF_PICK or found.state not in _ONCE_SEATED else None
        self._compare(row, key, (found.who, found.what, asked), place)

    def _compare(self, row: int, key: bytes, asked: tuple[bytes | None, bytes, Seats | None], place: tuple[int, int]) -> None:
        """Every record of a reservation repeats what was asked for; None is what it does not repeat."""
        who, what, seats = asked
        same = True
        for column, part in ((self._who, who), (self._what, what), (self._seats, seats)):
            if part is not None:
                number = hash(part)
                if column[row] == NONE:
                    column[row] = number
                same &= column[row] == number
        topic, at = place
        if self._first_at[row] == NONE:
            self._first_topic[row], self._first_at[row] = topic, at
        if not same:
            first = unpacked(TOPIC_NAMES[self._first_topic[row]], self._first_at[row])
            self._findings.add(Rule.ALTERED, f"reservation {text_of(key)}", first, unpacked(TOPIC_NAMES[topic], at))

    def _note_area(self, row: int, names: bytes) -> None:
        area = self._area_of.get(names)
        if area is None:
            area = self._area_of[names] = len(self.area_keys)
            self.area_keys.append(KEY_SEPARATOR.encode().join(read_names(names)))
        self.area[row] = area

    def _note_reason(self, text: str) -> int:
        """Refusals with a code are one reason each, whatever seats they name."""
        code, bracket, _ = text.partition("]: ")
        text = code.removeprefix("[") if bracket and code.startswith("[") else text
        if text not in self._reason_of:
            if len(self.reasons) >= _REASONS_MAX:
                text = _OTHER_REASON
            self._reason_of.setdefault(text, len(self.reasons))
            if self._reason_of[text] == len(self.reasons):
                self.reasons.append(text)
        return self._reason_of[text]

    # What it comes to.

    def undecided(self) -> Iterator[bytes]:
        """Commands without a decision."""
        if self.undecided_count:
            commands, decisions = self.at[_COMMAND], self.at[_DECISION]
            yield from (key for key, row in self.rows.items() if commands[row] != NONE and decisions[row] == NONE)

    def last_step(self, row: int) -> At | None:
        """The record that must be worked off next for an undecided reservation."""
        return self.place(_RESULT, row) or self.place(_ASK, row) or self.place(_COMMAND, row)

    def is_success(self, row: int) -> bool:
        """Whether its area has answered with seats."""
        return self.at[_RESULT][row] != NONE and row in self.seats

    def overdue(self) -> Iterator[tuple[bytes, At]]:
        """Holds that should have ended long ago, and what shows that."""
        for key, row in self.rows.items():
            if (decision := self.at[_DECISION][row]) != NONE and (shown := self.lives.overdue(row, partition_at(decision))):
                yield key, shown

    def check(self, findings: Findings, places: Places, under_way: frozenset[bytes]) -> None:
        """Compares the topics with each other, now that all are read."""
        belongs = [places.belongs_on(key) for key in self.area_keys]
        questions_trimmed, commands_trimmed = places.any_trimmed(TOPIC_NAMES[_ASK]), places.any_trimmed(TOPIC_NAMES[_COMMAND])
        for key, row in self.rows.items():
            command, question, answer, changelog, decision = (column[row] for column in self.at)
            if decision != NONE:
                self._check_decision(key, row, findings, places, under_way)
            elif command != NONE and key not in under_way:
                findings.add(Rule.UNDECIDED, text_of(key), *self.places(row))
            if command == NONE and self.closed_at[row] == NONE:
                known = next((at for at in (decision, changelog, answer) if at != NONE), NONE)
                # Of a question alone nobody knows on which partition its command would be.
                if not (commands_trimmed if known == NONE else places.trimmed(_source(_COMMAND, known))):
                    findings.add(Rule.NO_COMMAND, text_of(key), *self.places(row))
            self._check_holder(key, row, findings)
            if key not in under_way and decision != NONE and (shown := self.lives.overdue(row, partition_at(decision))):
                findings.add(Rule.HOLD_LONG, text_of(key), self.place(_DECISION, row), shown)
            if answer != NONE and question == NONE and not questions_trimmed:
                findings.add(Rule.NOT_ASKED, text_of(key), self.place(_RESULT, row))
            if not is_placed({partition_at(at) for at in (command, answer, changelog, decision) if at != NONE}, places.belongs_on(key)):
                self._add_misplaced(findings, places, key, row)
            if question != NONE and not is_placed({partition_at(question)}, belongs[self.area[row]]):
                text = f"a question to {text_of(self.area_keys[self.area[row]])} belongs on partition {belongs[self.area[row]]}"
                findings.add(Rule.MISPLACED, text, self.place(_ASK, row))

    def _add_misplaced(self, findings: Findings, places: Places, key: bytes, row: int) -> None:
        belongs = places.belongs_on(key)
        text = "is on several partitions" if belongs is None else f"has records elsewhere than on partition {belongs}, where it belongs"
        findings.add(Rule.MISPLACED, f"reservation {text_of(key)} {text}", *self.places(row))

    def _check_holder(self, key: bytes, row: int, findings: Findings) -> None:
        """An earlier release, or another program, answered without remembering it."""
        answer, held = self.at[_RESULT][row], self._held_at[row]
        if NONE not in (answer, held) and self._held[row] != self._answer[row]:
            findings.add(Rule.HOLDER, text_of(key), self.place(_RESULT, row), unpacked(_HOLDERS, held))

    def _check_decision(self, key: bytes, row: int, findings: Findings, places: Places, under_way: frozenset[bytes]) -> None:
        _, question, answer, changelog, decision = (column[row] for column in self.at)
        if changelog == NONE or self._changelog_hash[row] != self._decision_hash[row]:
            findings.add(Rule.DECISION_COPY, text_of(key), self.place(_DECISION, row), self.place(_CHANGELOG, row))
        state = State(self.decision_state[row])
        if answer != NONE:
            # What was cancelled before its area answered is so whatever that said.
            if self._outcome[row] not in (NONE, self._answer[row]):
                text = f"{text_of(key)} is {state.name}, its area answered otherwise"
                findings.add(Rule.DECISION_ANSWER, text, self.place(_RESULT, row), self.place(_DECISION, row))
        elif (state in LIVE or question != NONE) and key not in under_way and not places.trimmed(_source(_RESULT, decision)):
            text = f"{text_of(key)} is {state.name}, and its area has not answered"
            findings.add(Rule.DECISION_ANSWER, text, self.place(_ASK, row), self.place(_DECISION, row))


def _place(topic: int, at: int) -> At | None:
    """Where a record is that is wrong."""
    return unpacked(TOPIC_NAMES[topic], at)


def _source(topic: int, at: int) -> TopicPartition:
    """The partition of a topic where a record must be whose reservation has another one at ``at``: they have the same key."""
    return TopicPartition(TOPIC_NAMES[topic], partition_at(at))
