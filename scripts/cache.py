"""Where the programs that scripts fetch are kept: one folder for all checkouts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$TICKETMASTER_CACHE, or the user's own cache."""
    own = os.environ.get("TICKETMASTER_CACHE")
    return Path(own).absolute() if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ticketmaster"
