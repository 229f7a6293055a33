"""Places that can't be written: for root by a mount, as it may write whatever its modes say; for others by their modes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import skipped

_WRITE = 0o222


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """A file, or a directory with all that is in it, until the block ends."""
    if os.geteuid():
        yield from _by_modes(path)
    else:
        yield from _by_a_mount(path)


def _by_modes(path: Path) -> Iterator[None]:
    all_of_it = [path, *(path.rglob("*") if path.is_dir() else ())]
    modes = {entry: entry.stat().st_mode for entry in all_of_it}
    for entry, mode in modes.items():
        entry.chmod(mode & ~_WRITE)
    try:
        yield
    finally:
        for entry, mode in modes.items():
            entry.chmod(mode)


def _by_a_mount(path: Path) -> Iterator[None]:
    mounted = subprocess.run(["/bin/mount", "--bind", str(path), str(path)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        skipped("a place that root can't write takes a mount, which this machine does not allow")
    try:
        subprocess.run(["/bin/mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(path)], check=True)
