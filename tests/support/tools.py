"""Programs that a test needs and that not every machine has."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# Where one of these is set, tests must run: a skip would go unnoticed.
REQUIRED = ("CI", "TICKETMASTER_REQUIRE_KAFKA")


def needs(program: str, what_for: str) -> None:
    """Ends the test where a program is missing: skipped on a developer's machine, failed where tests must run."""
    if shutil.which(program) is None:
        lacking(f"{what_for} needs {program}, which this machine lacks")


def lacking(reason: str) -> NoReturn:
    """Ends the test for the want of something, as `needs` does."""
    if any(os.environ.get(name) for name in REQUIRED):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
