"""Imports of libraries that take less time and memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_rich() -> Iterator[None]:
    """Libraries imported within are as they are where rich is not installed.

    structlog and httpx import all of it, a sixth of the time of all imports, for tracebacks and a command line that nobody sees here.
    """
    imported = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "rich"}
    for name in imported:
        del sys.modules[name]
    # None: an import fails.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]
        sys.modules.update(imported)
