"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

pytest_plugins = ["tests.support.tools", "tests.support.kafka_fixtures"]

set_hypothesis_home_dir(Path(__file__).parent.parent / ".cache" / "hypothesis")

# A loaded machine is slow, not wrong.
settings.register_profile("ticketmaster", deadline=None)
settings.load_profile("ticketmaster")


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Commands that run in the tests' own process send its log to wherever that test's output goes, which is closed behind it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
