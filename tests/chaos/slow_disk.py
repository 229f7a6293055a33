"""A disk that takes its time: a library that a process is started with, built by the machine's C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# As of a network volume that is overloaded; a new store syncs ten times when it is made.
WRITE_MS, SYNC_MS = 1, 100
_SOURCE = Path(__file__).with_name("slow_disk.c")


def can_build() -> str | None:
    """Why a disk can't be made slow here; None if it can."""
    return None if shutil.which("cc") else "a slow disk needs a C compiler, cc"


def slow_disk(folder: Path) -> dict[str, str]:
    """The environment of a process whose every write of a page takes WRITE_MS, and every sync SYNC_MS."""
    library = folder / "slow_disk.so"
    if not library.exists():
        subprocess.run(["/usr/bin/env", "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CHAOS_WRITE_US": str(WRITE_MS * 1_000), "CHAOS_SYNC_US": str(SYNC_MS * 1_000)}
