"""Where the programs that scripts fetch are kept: one folder for all checkouts."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """$TICKETMASTER_CACHE, or the user's own cache."""
    own = os.environ.get("TICKETMASTER_CACHE")
    return Path(own).absolute() if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ticketmaster"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder that gets the target's name when the block ends well. The rest of an ended run is thrown away."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The folder is this process's own meanwhile. The lock needs no file, and ends with the process at the latest."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
