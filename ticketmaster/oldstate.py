"""State that nobody uses any more: of partitions that went elsewhere, of slots without a process, of other clusters and schemas.

All of it is a copy: what is deleted too soon costs a restoration.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ticketmaster.errors import UsageError
from ticketmaster.statedir import holding

_KEPT_DAYS = 7
_DAY_S = 86_400


def pruned_state(state_dir: Path, application_id: str, own: Path, now_s: float) -> Iterator[Path]:
    """Deletes partitions' folders that were not used for a week, and yields each that is gone.

    ``own`` is the folder of the slot that this process holds. What belongs to the same data is old by what was used last of it, so that a
    sale that has stood still for a month finds all of its state; the rest by the clock. Slots that are held are left alone.
    """
    same, limit_s = own.parent, _KEPT_DAYS * _DAY_S
    last_used = max((_used_at(each) for slot in _folders(same) for each in _partitions(slot)), default=now_s)
    yield from _pruned(own, last_used - limit_s)
    for data in _folders(state_dir / application_id):
        before = (last_used if data == same else now_s) - limit_s
        for slot in _folders(data):
            if slot != own and any(_used_at(each) < before for each in _partitions(slot)):
                with suppress(OSError, UsageError), holding(slot) as is_held:
                    if is_held:
                        yield from _pruned(slot, before)


def _pruned(slot: Path, before: float) -> Iterator[Path]:
    """Of a slot that is held: its folder and its lock stay, for who waits for the lock has opened it already."""
    for partition in _partitions(slot):
        if _used_at(partition) < before:
            # Follows no link.
            shutil.rmtree(partition, ignore_errors=True)
            if not partition.exists():
                yield partition


def _folders(parent: Path) -> list[Path]:
    """Those of ours, by name; none where there is no parent."""
    try:
        with os.scandir(parent) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _partitions(slot: Path) -> list[Path]:
    return [folder for folder in _folders(slot) if folder.name.isdecimal()]


def _used_at(partition: Path) -> float:
    """When anything in it was written, or the process that used it ended."""
    times = [0.0]
    with suppress(OSError):
        times.append(partition.lstat().st_mtime)
        times += [found.st_mtime for found in (entry.lstat() for entry in partition.iterdir()) if stat.S_ISREG(found.st_mode)]
    return max(times)
