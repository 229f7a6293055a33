"""The checker of a simulated deployment: it sees every write as it becomes durable, and at the end looks at everything there is.

What the topics alone can show is the audit's business (:mod:`ticketmaster.audit.books`); here it is fed, and what it can't see is added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from ticketmaster.audit.books import Books
from ticketmaster.broker.embedded.storage import Write
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.life import REFUNDED
from ticketmaster.domain.reservation import LIVE
from ticketmaster.event.stores import AREAS, EVENTS, HOLDERS, RULES
from ticketmaster.reservation.limits import USER_SEATS
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS
from ticketmaster.simulation.crowd import Crowd
from ticketmaster.simulation.disk import Disk
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.revisions import Revisions
from ticketmaster.state.port import Update
from ticketmaster.ticket.bodies import reservation_json
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.lives import Standing, standing

# What each store is a copy of.
LOGS = {
    (topics.EVENT_SERVICE, AREAS): topics.AREA_CHANGELOG.name,
    (topics.EVENT_SERVICE, HOLDERS): topics.HOLDER_CHANGELOG.name,
    (topics.EVENT_SERVICE, RULES): topics.AREA_RULES_CHANGELOG.name,
    (topics.EVENT_SERVICE, EVENTS): topics.EVENT.name,
    (topics.RESERVATION_SERVICE, RESERVATIONS): topics.RESERVATION_CHANGELOG.name,
    (topics.RESERVATION_SERVICE, DEADLINES): topics.DEADLINE_CHANGELOG.name,
    (topics.RESERVATION_SERVICE, USER_SEATS): topics.USER_SEATS_CHANGELOG.name,
    (topics.TICKET_SERVICE, RESERVATIONS): topics.USER_RESERVATION.name,
}
_SHOWN_MAX = 5
# Of so many writes one is followed by a look at what holds for each of them.
_LOOKED_AT_EACH = 40
_offset = itemgetter(0)
# No value, not even None.
_NOTHING = object()


class Checker:
    """Follows the log of one simulated deployment."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.books = Books(in_order=True)
        self.revisions = Revisions(journal)
        # What the log has of each reservation, from its decision on.
        self.decisions: dict[bytes, list[bytes]] = {}
        self.commands: set[bytes] = set()
        # Those of box offices.
        self._from_box_offices: set[bytes] = set()
        self._areas: dict[bytes, bytes] = {}
        self.records = 0
        self.forged: list[bytes] = []
        # Is given the commands to give seats back.
        self.releases: list[Pair] = []
        self._offsets: dict[tuple[str, TopicPartition], int] = {}
        self._may_answer_again = False
        self._ends: dict[TopicPartition, int] = {}
        self._writes = 0
        # Every record of a log on Kafka that is committed, marked or not.
        self.decided: Callable[[TopicPartition], Sequence[Pair]]
        # Tasks that begin on a state that is not their logs', and what is wrong with it.
        self._wrong: dict[str, str] = {}
        self._logs: dict[TopicPartition, list[tuple[int, Pair]]] = defaultdict(list)

    def witness(self, write: Write) -> None:
        """A write is durable from now on."""
        told = []
        for batch in write.batches:
            source = batch.source
            if batch.offsets[0] != self._ends.get(source, 0):
                self._journal.violation(f"{source.topic}-{source.partition} goes on at {batch.offsets[0]}, not {self._ends.get(source, 0)}")
            self._ends[source] = batch.next_offset
            self.records += len(batch.records)
            told.append(f"{source.topic}-{source.partition}@{batch.next_offset}")
            self.books.take(self._without_forged(batch) if source.topic == topics.RESERVATION_RESULT.name else batch)
            self.revisions.take(batch)
            if source.topic in LOGS.values():
                self._logs[source] += zip(batch.offsets, batch.records, strict=True)
            if source.topic == topics.USER_RESERVATION.name:
                for key, value in batch.records:
                    if value is not None:
                        self.decisions.setdefault(key, []).append(value)
            elif source.topic == topics.RELEASE_SEATS.name:
                self.releases += [pair for pair in batch.records if pair[1] is not None]
            elif source.topic == topics.AREA_STATUS.name:
                self._areas.update((key, value) for key, value in batch.records if value is not None)
            elif source.topic == topics.CREATE_RESERVATION.name:
                self.commands.update(key for key, _ in batch.records)
                self._from_box_offices.update(
                    key for key, value in batch.records if value and value.startswith(FRAMES.create_reservation_2)
                )
        for (group, source), offset in write.offsets.items():
            self._check_offset(group, source, offset)
        if told:
            self._journal.note("log", " ".join(told))

    def witness_whole(self, write: Write) -> None:
        """As :meth:`witness`, of a log to which transactions come at once: between two of them all copies agree."""
        self.witness(write)
        self._writes += 1
        if self._writes % _LOOKED_AT_EACH == 0:
            for finding in self.books.forgotten_holds():
                self._journal.violation(f"{finding.rule}: {finding.times} times, {finding.examples[:_SHOWN_MAX]}")

    def passed(self, source: TopicPartition, end: int) -> None:
        """A log goes on to there by what no reader is given: markers, and what was aborted."""
        self._ends[source] = end

    def offsets_lost(self, group: str) -> None:
        """A group's offsets are lost: it may begin anew, and answer again what it has answered."""
        self._may_answer_again = True
        self._offsets = {(other, source): offset for (other, source), offset in self._offsets.items() if other != group}

    def _without_forged(self, batch: Batch) -> Batch:
        """The audit would rightly take what outsiders forge for a role's fault."""
        genuine = [at for at, (_, value) in enumerate(batch.records) if not any(value is forged for forged in self.forged)]
        return batch._replace(records=[batch.records[at] for at in genuine], offsets=[batch.offsets[at] for at in genuine])

    def _check_offset(self, group: str, source: TopicPartition, offset: int) -> None:
        before = self._offsets.get((group, source), 0)
        if offset < before:
            self._journal.violation(f"{group} goes back on {source.topic}-{source.partition} from {before} to {offset}")
        if offset > self._ends.get(source, 0):
            self._journal.violation(
                f"{group} is at {offset} of {source.topic}-{source.partition}, which ends at {self._ends.get(source, 0)}"
            )
        self._offsets[group, source] = offset

    def check_told(self, name: str, told: bytes) -> None:
        """Somebody is told this of a reservation: it must be durable by now."""
        if told not in map(reservation_json, self.decisions.get(name.encode(), [])):
            self._journal.violation(f"{name}: somebody was told {told!r} before it was durable")

    def check_stored(self, who: str, application_id: str, partition: int, updates: Mapping[str, Update], before: Mapping[str, int]) -> None:
        """Stores are written: none may be ahead of its log, nor lack what a restoration from its checkpoint on would not find.

        It goes to the store's reach at least, however short the log is then.
        """
        for name, (changes, position, reach) in updates.items():
            source = TopicPartition(LOGS[application_id, name], partition)
            end = self._ends.get(source, 0)
            what = f"{who}: the store {name} of {application_id}-{partition}"
            if max(position, reach) > end:
                self._journal.violation(f"{what} is at {position} and needs its log to {reach}, that is durable to {end}")
            log = self._logs[source]
            start, stop, reached = (bisect_left(log, offset, key=_offset) for offset in (before[name], position, reach))
            last = dict(pair for _, pair in log[start:stop])
            later = {key for _, (key, _) in log[stop:reached]}
            if lacking := [key for key, value in last.items() if key not in later and changes.get(key, _NOTHING) != value]:
                self._journal.violation(f"{what} comes from {before[name]} to {position} without {sorted(lacking)[:_SHOWN_MAX]}")

    def check_restored(self, who: str, task: str, disk: Disk) -> None:
        """A task begins: of what is decided its stores must lack nothing, unless it never commits. Tables follow others' logs."""
        application_id, _, number = task.rpartition("-")
        if application_id == topics.TICKET_SERVICE:
            return
        self._wrong.pop(task, None)
        for name, table in disk.files[application_id, int(number)].tables.items():
            last = dict(self.decided(TopicPartition(LOGS[application_id, name], int(number))))
            wrong = [key for key in last.keys() | table.values.keys() if last.get(key) != table.values.get(key)]
            if wrong:
                self._wrong[task] = f"{who}: {task} has begun with a store {name} that is not its log's: {sorted(wrong)[:_SHOWN_MAX]}"

    def check_transaction(self, task: str) -> None:
        """A task has committed: what it began with counts."""
        if wrong := self._wrong.pop(task, None):
            self._journal.violation(wrong)

    # At the end.

    def check_books(self) -> None:
        """The topics against each other."""
        report = self.books.close()
        if report.totals.answered_again and not self._may_answer_again:
            self._journal.violation(f"{report.totals.answered_again} questions were worked off twice, though no offsets were lost")
        if report.totals.changed_again and not self._may_answer_again:
            self._journal.violation(f"{report.totals.changed_again} changes were worked off twice, though no offsets were lost")
        for finding in report.findings:
            self._journal.violation(f"{finding.rule}: {finding.times} times, {finding.examples[:_SHOWN_MAX]}")

    def check_people(self, crowd: Crowd) -> None:
        """What people were told is what the log says, and what was acknowledged is in it."""
        lost = [name for name in crowd.acknowledged if name.encode() not in self.commands]
        if lost:
            self._journal.violation(f"acknowledged, and not in the log: {lost[:_SHOWN_MAX]}")
        box_offices = {name for name in crowd.acknowledged if name.encode() in self._from_box_offices}
        if wrong_rights := box_offices ^ crowd.box_offices:
            self._journal.violation(f"sold as by a box office or not, and asked for by another: {sorted(wrong_rights)[:_SHOWN_MAX]}")
        for event, revision, artist in crowd.organisers.made:
            if (found := self.revisions.artist(event, revision)) != artist:
                self._journal.violation(f"{event}: revision {revision} was acknowledged with {artist}, the log has {found}")
        for name, told in crowd.told.items():
            values = self.decisions.get(name.encode(), [])
            if wrong := told.keys() - {reservation_json(value) for value in values}:
                self._journal.violation(f"{name}: somebody was told {sorted(wrong)}, the log has {values}")
        for name in sorted(crowd.lives.over):
            if (last := self._last(name)) and last.state in LIVE:
                self._journal.violation(f"{name}: somebody was told that it is over, it is {last.state.name}")
        for name, reference in crowd.lives.paid.items():
            last = self._last(name)
            if last is None or not (last.reason == REFUNDED.encode() or last.life.payment_reference == reference.encode()):
                self._journal.violation(f"{name}: a payment by {reference} was acknowledged, the log has {last}")

    def _last(self, name: str) -> Standing | None:
        values = self.decisions.get(name.encode())
        return standing(values[-1]) if values else None

    def check_last_told(self, name: str, told: bytes) -> None:
        """Now that nothing happens any more, everybody is told what the log has last."""
        if told != reservation_json(self.decisions[name.encode()][-1]):
            self._journal.violation(f"{name}: told {told!r}, the log ends in {self.decisions[name.encode()][-1]!r}")

    def check_store(self, who: str, disk: Disk) -> None:
        """Every store holds what its changelog says up to the store's checkpoint, byte for byte."""
        for (application_id, partition), file in disk.files.items():
            if file.damaged:
                continue
            for name, table in file.tables.items():
                source = TopicPartition(LOGS[application_id, name], partition)
                self._check_table(f"{who}: the store {name} of {application_id}-{partition}", source, table.values, table.position or 0)
        if disk.shared:
            self._journal.violation(f"{who}: stores that were open twice at once: {disk.shared[:_SHOWN_MAX]}")

    def _check_table(self, what: str, source: TopicPartition, values: dict[bytes, bytes], checkpoint: int) -> None:
        records = self._logs[source]
        end = self._ends.get(source, 0)
        if checkpoint > end:
            self._journal.violation(f"{what} is at {checkpoint}, its log ends at {end}")
        expected = {key: value for offset, (key, value) in records if offset < checkpoint}
        # A value that was superseded before it was written is left out: its later one lies behind the checkpoint.
        later = {key for offset, (key, _) in records if offset >= checkpoint}
        wrong = [key for key in (expected.keys() | values.keys()) - later if expected.get(key) != values.get(key)]
        if wrong:
            self._journal.violation(f"{what} at {checkpoint} is not what its log says: {sorted(wrong)[:_SHOWN_MAX]}")

    def areas(self) -> dict[str, bytes]:
        """What a gateway should show of each area, by the area's key."""
        catalog = Catalog(lambda: True)
        catalog.apply(list(self._areas.items()))
        views = {}
        for key in self._areas:
            event_id, _, area_id = key.decode().partition(KEY_SEPARATOR)
            try:
                shown = catalog.seat_map(event_id, area_id)
            except UNREADABLE as reason:
                self._journal.violation(f"the status of {key.decode()} can't be read: {reason}")
            else:
                assert shown
                views[key.decode()] = shown.body
        return views

    @property
    def log_ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends."""
        return dict(self._ends)
