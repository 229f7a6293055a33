"""Programs of this machine, by their names."""

from __future__ import annotations

import shutil

from scripts.image.errors import MissingError


def found(name: str) -> str:
    """Where it is. MissingError: nowhere in PATH."""
    path = shutil.which(name)
    if path is None:
        raise MissingError(f"no {name} here")
    return path
