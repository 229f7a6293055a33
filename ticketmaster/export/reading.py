"""Reading what became of reservations into a scratch file, from where the file says that it is read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple

from ticketmaster.audit.reading import Log, batches_up_to
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.export.scratch import About, Scratch
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE, encode_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES

# A transaction of the scratch file has so many records: what an interruption loses, at most.
_COMMIT_RECORDS = 20_000

# Is told how many records were read, how far the topic goes, how far it is read.
Progress = Callable[[int, int, int], None]


class Source(NamedTuple):
    """A log with its name, and whether it still has what was read from it before.

    ``has(about, source, offset)``: the log that ``about`` names went so far, and is this one or an earlier state of it.
    """

    log: Log
    name: str
    run: int | None
    has: Callable[[About, TopicPartition, int], bool]


async def read_reservations(source: Source, partitions: int, event_id: str | None, scratch: Scratch, on_progress: Progress) -> bool:
    """Brings the scratch file up to where the topic ends now; of one event, or of all. True: it went on with what was in there before."""
    sources = partitions_of(topics.USER_RESERVATION.name, partitions)
    starts, ends = await source.log.start_offsets(sources), await source.log.end_offsets(sources)
    about, noted = About(source.name, source.run, event_id), scratch.positions()
    goes_on = _goes_on(source, about, scratch.about(), noted, sources)
    scratch.begin(about, anew=not goes_on)
    # Compaction may have removed what was not read yet, and kept what came after it.
    positions = {at: max(start, noted.get(at.partition, 0) if goes_on else 0) for at, start in starts.items()}
    total, records = sum(ends.values()) - sum(starts.values()), 0
    is_wanted = _wanted(event_id)
    async with aclosing(batches_up_to(source.log, positions, ends)) as polls:
        waiting, kept = list[Pair](), 0
        async for batches in polls:
            for batch in batches:
                records += len(batch.records)
                waiting += filter(is_wanted, batch.records)
            if records - kept >= _COMMIT_RECORDS:
                _put(scratch, waiting, positions)
                waiting, kept = [], records
            on_progress(records, total, sum(positions.values()) - sum(starts.values()))
        _put(scratch, waiting, positions)
    return goes_on


def _goes_on(source: Source, about: About, before: About | None, noted: dict[int, int], sources: list[TopicPartition]) -> bool:
    if before is None or (before.log, before.event_id) != (about.log, about.event_id):
        return False
    known = {at.partition: at for at in sources}
    return all(partition in known and source.has(before, known[partition], offset) for partition, offset in noted.items())


def _put(scratch: Scratch, records: list[Pair], positions: dict[TopicPartition, int]) -> None:
    scratch.put(records, {at.partition: offset for at, offset in positions.items()})


def _wanted(event_id: str | None) -> Callable[[Pair], bool]:
    """Whether a record may be of an event. What can't be read may be: it is told of when it is written."""
    if event_id is None:
        return lambda _: True
    name = encode_string(event_id)

    def is_wanted(record: Pair) -> bool:
        value = record[1]
        if value is None or not value.startswith((FRAMES.reservation, FRAMES.reservation_2)):
            return True
        try:
            name_at = skip_string(value, skip_string(value, FRAME_BYTES))
        except UNREADABLE:
            return True
        return name_at >= len(value) or value.startswith(name, name_at)

    return is_wanted
