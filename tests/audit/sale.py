"""The records of a small sound sale, to plant mistakes in."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.records import Seat, area_status, create_event, create_reservation, failure, success
from ticketmaster.audit.books import Books
from ticketmaster.audit.report import At, Report
from ticketmaster.audit.rules import Rule
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.wire import topics
from ticketmaster.wire.holders import holder
from ticketmaster.wire.reservations import decided, failed_at_once, processing, read_create, read_reserve, reserve_seat

EVENTS = topics.CREATE_EVENT.name
OPENED = topics.AREA_REPARTITION.name
STATUS = topics.AREA_STATUS.name
AREA_LOG = topics.AREA_CHANGELOG.name
COMMANDS = topics.CREATE_RESERVATION.name
QUESTIONS = topics.RESERVE_SEAT.name
ANSWERS = topics.RESERVATION_RESULT.name
HOLDERS = topics.HOLDER_CHANGELOG.name
LOG = topics.RESERVATION_CHANGELOG.name
DECISIONS = topics.USER_RESERVATION.name

# Rules that only a sale with holds, payments or cancellations can break.
OF_LIVES = {
    *(Rule.NOT_RELEASED, Rule.RELEASED_LIVE, Rule.NOT_HELD, Rule.PAYMENT_UNDONE, Rule.PAYMENT_LOST, Rule.PAID_LATE, Rule.HOLD_SHORT),
    *(Rule.HOLD_LONG, Rule.REFUND, Rule.CHANGE_UNANSWERED, Rule.NO_CHANGE, Rule.DEADLINE, Rule.EVENT_RULES),
    *(Rule.EVENT_ALIVE, Rule.SOLD_OUTSIDE, Rule.USER_OVER),
}
FULL = "no continuous 1 seats at area A in event show"


def after(create: bytes, key: bytes, result: bytes) -> bytes:
    """The reservation of a command, after the area's answer."""
    decision = decided(processing(key, create), result)
    assert decision is not None
    return decision.reservation


class Sale:
    """Of 2 x 2 seats: r1 has (0, 0), r2 picked (1, 1), r3 was refused by the filter, r4 by the area."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Pair]] = {TopicPartition(topic.name, 0): [] for topic in topics.ALL_TOPICS}
        self.starts: dict[TopicPartition, int] = {}
        self.add(EVENTS, b"show", create_event("show", [("A", 10, 2, 2)]))
        self.add(OPENED, b"show#A", area_status(2, 2))
        self.status()
        self.reserve(b"r1", create_reservation(), [(0, 0)])
        self.status((0, 0))
        self.reserve(b"r2", create_reservation("SELF_PICK", 1, [(1, 1)]), [(1, 1)])
        self.status((0, 0), (1, 1))
        self.add(COMMANDS, b"r3", create_reservation(count=9))
        self.decide(b"r3", failed_at_once(b"r3", create_reservation(count=9), "request rejected at cache level"))
        self.reserve(b"r4", create_reservation(user="bob"), None)

    def add(self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0) -> At:
        """Appends a record."""
        log = self.logs.setdefault(TopicPartition(topic, partition), [])
        log.append((key, value))
        return At(topic, partition, self.starts.get(TopicPartition(topic, partition), 0) + len(log) - 1)

    def put(self, topic: str, key: bytes, value: bytes, number: int = 0) -> At:
        """Replaces a key's record, by its number among them."""
        log = self.logs[TopicPartition(topic, 0)]
        index = [at for at, (found, _) in enumerate(log) if found == key][number]
        log[index] = (key, value)
        return At(topic, 0, index)

    def drop(self, topic: str, key: bytes, number: int = -1) -> None:
        """Removes a key's record; offsets behind it move."""
        log = self.logs[TopicPartition(topic, 0)]
        del log[[at for at, (found, _) in enumerate(log) if found == key][number]]

    def at(self, topic: str, key: bytes, number: int = -1) -> At:
        """Where a key's record is."""
        log = self.logs[TopicPartition(topic, 0)]
        return At(topic, 0, [at for at, (found, _) in enumerate(log) if found == key][number])

    def status(self, *taken: Seat) -> None:
        """The area's status, in both topics."""
        for topic in (STATUS, AREA_LOG):
            self.add(topic, b"show#A", area_status(2, 2, taken))

    def decide(self, key: bytes, value: bytes) -> None:
        """A final reservation, in both topics."""
        for topic in (LOG, DECISIONS):
            self.add(topic, key, value)

    def reserve(self, key: bytes, create: bytes, seats: Sequence[Seat] | None) -> None:
        """A reservation from its command to its decision; None: the area refuses."""
        self.add(COMMANDS, key, create)
        self.add(LOG, key, processing(key, create))
        self.add(QUESTIONS, b"show#A", question_of(key, create))
        self.finish(key, create, seats)

    def finish(self, key: bytes, create: bytes, seats: Sequence[Seat] | None) -> None:
        """The second half of it."""
        result = failure(key.decode(), "NOT_AVAILABLE", FULL) if seats is None else success(key.decode(), seats)
        self.add(ANSWERS, key, result)
        self.add(HOLDERS, key, holder(read_reserve(question_of(key, create)), result))
        self.decide(key, after(create, key, result))

    def batches(self) -> list[Batch]:
        """Every log as one batch."""
        found = []
        for source, records in self.logs.items():
            start = self.starts.get(source, 0)
            found.append(Batch(source, records, range(start, start + len(records)), start + len(records), 0))
        return found

    def books(self) -> Books:
        """With every record read."""
        books = Books()
        for batch in self.batches():
            books.take(batch)
        return books

    def report(self) -> Report:
        """What it comes to."""
        return self.books().close()

    def rules(self) -> list[str]:
        """The broken ones."""
        return [finding.rule for finding in self.report().findings]


def question_of(key: bytes, create: bytes) -> bytes:
    """What the area is asked for a command of the sale."""
    return reserve_seat(key, create, read_create(create).names_at)
