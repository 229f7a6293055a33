"""What happened in a run, line by line, and the digest by which two runs are compared."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

Write = Callable[[str], None]


class Journal:
    """Takes notes: each goes into the digest, and is written out if somebody wants to read it."""

    def __init__(self, write: Write | None = None) -> None:
        self._write = write
        self._hash = blake2b(digest_size=16)
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []

    def note(self, who: str, what: str) -> None:
        """``who`` did ``what`` now."""
        line = f"{asyncio.get_running_loop().time():10.4f} s  {who:<15} {what}"
        self._hash.update(line.encode())
        if self._write:
            self._write(line)

    def fault(self, who: str, kind: str, more: str = "") -> None:
        """Something goes wrong for ``who``, on purpose; it is counted by its kind."""
        self.faults[kind] += 1
        self.note(who, f"FAULT {kind} {more}".rstrip())

    def violation(self, what: str) -> None:
        """Something is as it must never be."""
        self.violations.append(what)
        self.note("checker", f"VIOLATION {what}")

    @property
    def digest(self) -> str:
        """Of all notes so far: two runs of one seed have the same, to the byte."""
        return self._hash.hexdigest()
