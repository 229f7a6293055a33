"""What a test needs and not every machine has: programs, a terminal, a Kafka."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from typing import NoReturn

import pytest

# Where one of these is set, tests must run: a skip would go unnoticed.
REQUIRED = ("CI", "TICKETMASTER_REQUIRE_KAFKA")


# What tests were skipped for.
_told: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tests that are skipped for want of one thing count as skipped here, so that they fill one line of the summary and not hundreds."""
    report = yield
    if report.skipped and call.excinfo is not None and str(call.excinfo.value) in _told:
        report.longrepr = (__file__, 1, f"Skipped: {call.excinfo.value}")
    return report


def needs(program: str, what_for: str) -> None:
    """Ends the test where a program is missing: skipped on a developer's machine, failed where tests must run."""
    if shutil.which(program) is None:
        lacking(f"{what_for} needs {program}, which this machine lacks")


def lacking(reason: str, instead: str = "") -> NoReturn:
    """Ends the test for the want of something, as `needs` does: a skip's one line ends with what may be done ``instead``."""
    if any(os.environ.get(name) for name in REQUIRED):
        pytest.fail(reason, pytrace=False)
    # Where a program failed, its own words follow: the last of them stand for all.
    first, *_, last = [line.strip() for line in reason.splitlines() or [""]] * 2
    skipped(f"{first if first == last else f'{first} {last}'}{instead}")


def skipped(reason: str) -> NoReturn:
    """Skips the test, everywhere. The reason says nothing of this test alone, so that one line stands for all of its kind."""
    _told.add(reason)
    pytest.skip(reason)
