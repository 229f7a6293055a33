"""``ticketmaster export``: the reservations of a sale on Kafka, or in a data directory, as a table. Only topics are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ticketmaster.audit.rules import text_of
from ticketmaster.bootstrap.kafka import data_id_of, reading_context
from ticketmaster.bootstrap.running import run
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.broker.port import TopicPartition, partitions_of
from ticketmaster.config.roles import Loaded
from ticketmaster.datadir import LOG_FILE, data_directory_in_use, partitions_of_data_directory, sync
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.export.formats import writer_of
from ticketmaster.export.reading import Source, read_reservations
from ticketmaster.export.rows import Row, read_row
from ticketmaster.export.scratch import About, Scratch
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE

_DIRECTORY = "a data directory"
_SHOW_ROWS = 1_000
_EXAMPLES_MAX = 10

# Takes what there is to say of how far it is.
Show = Callable[[str], None]
# Where the table goes to: a file of its own, which is there when it is whole, or a stream that is opened for the writing.
Target = Path | Callable[[], AbstractContextManager[BinaryIO]]
_Read = Callable[[Scratch], Coroutine[Any, Any, bool]]


class Exported(NamedTuple):
    """How many rows were written; ``went_on``: an export that was interrupted was gone on with.

    ``unreadable`` counts reservations that are not in the table, as their last record can't be read; ``examples`` are some of them.
    """

    reservations: int
    went_on: bool
    unreadable: int
    examples: list[str]


def run_export(loaded: Loaded, event_id: str | None, format_name: str, target: Target, show: Show) -> Exported:
    """Of Kafka's topics. UsageError: Kafka, a topic or the format is not there, or the target can't be written.

    Fatal, Retriable: it was not finished.
    """
    return _export(lambda scratch: _read_kafka(loaded, event_id, scratch, show), format_name, target, show)


def run_directory_export(directory: Path, event_id: str | None, format_name: str, target: Target, show: Show) -> Exported:
    """Of a data directory as it is now, whether or not a process uses it. Errors are those of :func:`run_export`."""
    return _export(lambda scratch: _read_directory(directory, event_id, scratch, show), format_name, target, show)


async def _read_kafka(loaded: Loaded, event_id: str | None, scratch: Scratch, show: Show) -> bool:
    async with reading_context(loaded) as (broker, partitions, ids):
        name = await data_id_of(broker, ids)
        # Topics that were made again are told by that they are shorter.
        sources = partitions_of(topics.USER_RESERVATION.name, partitions)
        ends = await broker.end_offsets(sources)
        source = Source(broker, name, None, lambda _, at, offset: offset <= ends[at])
        return await read_reservations(source, partitions, event_id, scratch, _shown(show))


async def _read_directory(directory: Path, event_id: str | None, scratch: Scratch, show: Show) -> bool:
    partitions = partitions_of_data_directory(directory)
    with closing(LogSnapshot(directory / LOG_FILE, in_use=data_directory_in_use(directory))) as log:
        runs = log.runs()

        def has(about: About, at: TopicPartition, offset: int) -> bool:
            return about.run is not None and offset <= runs.end_of(at, about.run)

        source = Source(log, _DIRECTORY, runs.newest, has)
        return await read_reservations(source, partitions, event_id, scratch, _shown(show))


def _shown(show: Show) -> Callable[[int, int, int], None]:
    return lambda records, total, done: show(f"reading: {records:,} records, {100 * done // total if total else 100} %")


def _export(read: _Read, format_name: str, target: Target, show: Show) -> Exported:
    write = writer_of(format_name)
    with _scratch(target) as scratch:
        went_on = run(read(scratch))
        rows = _Rows(scratch, show)
        with _opened(target) as out:
            write(rows, out)
        return Exported(rows.written, went_on, rows.unreadable, rows.examples)


@contextmanager
def _scratch(target: Target) -> Iterator[Scratch]:
    """A scratch file beside the target, which stays until the target is whole; of a stream a temporary one."""
    if not isinstance(target, Path):
        with tempfile.TemporaryDirectory(prefix="ticketmaster-") as folder, closing(Scratch(Path(folder, "export"))) as scratch:
            yield scratch
        return
    _check_target(target)
    with closing(Scratch(Path(f"{target}.partial"))) as scratch:
        yield scratch
        scratch.remove()


def _check_target(target: Path) -> None:
    """UsageError: no file can be made there. It is said before anything is read."""
    folder = target.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{target} can't be written: there is no directory {folder}")
    if os.path.lexists(target) and not target.is_file():
        raise UsageError(f"{target} can't be written: it is no file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{target} can't be written: no files can be made in {folder}")


@contextmanager
def _opened(target: Target) -> Iterator[BinaryIO]:
    """The target to be written: a file has its name when it is whole and on the disk, and is its user's alone."""
    if not isinstance(target, Path):
        with target() as out:
            yield out
        return
    fresh = Path(f"{target}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:  # noqa: PTH123 - with its mode
            yield out
        sync(fresh)
        fresh.replace(target)
        sync(target.absolute().parent)
    except OSError as cause:
        fresh.unlink(missing_ok=True)
        raise Fatal(f"{target} can't be written: {cause.strerror or cause}; what was read is kept, run it again") from cause
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


class _Rows:
    """The rows of a scratch file, and what came of reading them."""

    def __init__(self, scratch: Scratch, show: Show) -> None:
        self._scratch = scratch
        self._show = show
        self.written = self.unreadable = 0
        self.examples: list[str] = []

    def __iter__(self) -> Iterator[Row]:
        total = self._scratch.count()
        for key, value in self._scratch.items():
            try:
                row = read_row(key, value)
            except UNREADABLE as reason:
                self.unreadable += 1
                if len(self.examples) < _EXAMPLES_MAX:
                    self.examples.append(f"reservation {text_of(key)}: {reason}")
                continue
            self.written += 1
            if self.written % _SHOW_ROWS == 0:
                self._show(f"writing: {self.written:,} reservations, {100 * self.written // total} %")
            yield row
