"""Programs of this machine, by their names."""

from __future__ import annotations

import shutil

from scripts.errors import MissingError


def need(*programs: str, what_for: str = "") -> str:
    """Where the first of them is. MissingError: one is nowhere in PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        told = f", which {what_for}" if what_for else ""
        raise MissingError(f"no {' and no '.join(missing)} found{told}: install what is missing and put it into PATH")
    return str(shutil.which(programs[0]))
