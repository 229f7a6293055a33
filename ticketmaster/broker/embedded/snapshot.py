"""The embedded broker's log as it is at one moment, read from its file. Nothing is changed, and whoever writes to it goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from ticketmaster.broker.embedded.lineage import Runs
from ticketmaster.broker.embedded.sqlite import FORMAT_VERSION, READ_BATCHES, batches_of, read_bounds
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import Reading

_READ_BYTES_MAX = 1 << 20
_NOTHING = 0, 0


class LogSnapshot:
    """What was committed when it was opened: of every transaction all of it, or nothing."""

    def __init__(self, path: Path, *, in_use: bool = True) -> None:
        """Opens the file. UsageError: it is not there, or not a log that this version reads.

        ``in_use`` False: nobody writes to it. Whoever begins to is found out: Retriable from then on.
        """
        self._path = path
        self._reading = Reading(path, format_version=FORMAT_VERSION, in_use=in_use)
        try:
            self._ids, self._bounds = read_bounds(self._reading.connection)
            self._reading.check()
        except sqlite3.Error as cause:
            self._reading.close()
            raise UsageError(f"the log {path} can't be read: {cause}") from cause
        except BaseException:
            self._reading.close()
            raise

    def reader(self, sources: Mapping[TopicPartition, int]) -> SnapshotReader:
        """A consumer of given partitions from given offsets on."""
        return SnapshotReader(self, sources)

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the first record that is kept, for each partition."""
        return {source: self._bounds.bounds.get(source, _NOTHING)[0] for source in sources}

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last record, for each partition."""
        return {source: self._bounds.bounds.get(source, _NOTHING)[1] for source in sources}

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offsets that a group will read; without those where it never committed."""
        offsets = self._bounds.offsets
        return {source: offsets[group, source] for source in sources if (group, source) in offsets}

    def runs(self) -> Runs:
        """The processes that have worked on it. Fatal: the file is damaged."""
        try:
            ends = {source: end for source, (_, end) in self._bounds.bounds.items()}
            runs = Runs(self._reading.connection, self._ids, ends)
        except (sqlite3.Error, msgspec.DecodeError) as cause:
            self._reading.check()
            raise Fatal(f"the log {self._path} can't be read: {cause}") from cause
        self._reading.check()
        return runs

    def read(self, source: TopicPartition, offset: int) -> list[Batch]:
        """The next batches from ``offset`` on, none at the end. Fatal: the file is damaged."""
        if source not in self._ids:
            return []
        parameters = {"partition": self._ids[source], "offset": offset}
        try:
            with closing(self._reading.connection.execute(READ_BATCHES, parameters)) as rows:
                batches = batches_of(rows, self._path, source, offset, _READ_BYTES_MAX)
        except (sqlite3.Error, Fatal) as cause:
            self._reading.check()
            raise cause if isinstance(cause, Fatal) else Fatal(f"the log {self._path} can't be read: {cause}") from cause
        self._reading.check()
        return batches

    def close(self) -> None:
        """Lets go of the file."""
        self._reading.close()


class SnapshotReader:
    """Reads given partitions, one after the other."""

    def __init__(self, snapshot: LogSnapshot, positions: Mapping[TopicPartition, int]) -> None:
        self._snapshot = snapshot
        self._positions = dict(positions)

    async def poll(self, timeout_ms: int) -> list[Batch]:
        """The next batches of the first partition that has any left; nothing comes later."""
        await asyncio.sleep(0)
        for source, position in list(self._positions.items()):
            batches = self._snapshot.read(source, position)
            if batches:
                self._positions[source] = batches[-1].next_offset
                return batches
            self.pause(source)
        return []

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Reads a partition from ``offset`` on."""
        self._positions[source] = offset

    def pause(self, source: TopicPartition) -> None:
        """Reads nothing more of it."""
        self._positions.pop(source, None)

    def behind(self, source: TopicPartition) -> int:
        """Nothing comes that must be caught up with."""
        return 0

    async def stop(self) -> None:
        """Holds nothing."""
