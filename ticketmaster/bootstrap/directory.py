"""A data directory before it is used: whether its state can be written, and is of its log."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

from ticketmaster.bootstrap.stores import STORES, stores_below
from ticketmaster.broker.embedded.lineage import Lineage
from ticketmaster.clock import SystemClock
from ticketmaster.datadir import LOG_FILE, STATE
from ticketmaster.errors import TaskCorrupted, UsageError
from ticketmaster.state.sqlite import RUN, stored_reaches
from ticketmaster.writable import check_folder, check_space, check_stores


def check_state(folder: Path, partitions: int) -> None:
    """UsageError: state can't be written. What does not exist yet is made where its role begins."""
    if not folder.exists() and not folder.is_symlink():
        return
    check_folder(folder)
    check_space(folder)
    applications = [folder / application_id for application_id in STORES]
    for application in applications:
        check_folder(application)
    check_stores(application / str(partition) for application in applications for partition in range(partitions))


def begin_run(directory: Path) -> int:
    """Notes in the log of a directory that is held that a process begins; returns the number that its state must note.

    UsageError: state has what the log has not. The log is the truth, so all that is only in the state would be thrown away, and seats
    that are sold would be free again.
    """
    folder, log = directory / STATE, directory / LOG_FILE
    if folder.exists() and not log.exists():
        raise UsageError(f"{directory} has state but no {LOG_FILE}: put that back from a backup, or choose another directory with -d")
    run = SystemClock().random_bits(62)
    with closing(Lineage(log)) as lineage:
        reaches: dict[Path, dict[int, int]] = {}
        for store in stores_below(folder, "*.db", -3):
            if store.file not in reaches:
                reaches[store.file] = _reaches(store.file)
            found = reaches[store.file]
            if found.get(store.number, 0) > lineage.runs.end_of(store.source, found.get(RUN)):
                raise UsageError(
                    f"{log} is older than the state beside it ({store.file}), or of another directory: put the right one back, with its "
                    f"{LOG_FILE}-wal if there is one; or go on with this one, without what only the other has: "
                    f"rm -r {shlex.quote(str(folder))}"
                )
        lineage.begin(run)
    return run


def _reaches(file: Path) -> dict[int, int]:
    try:
        return stored_reaches(file)
    except TaskCorrupted:
        # It begins anew, from the log.
        return {}
