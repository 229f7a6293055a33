"""Fixtures of several tests of this folder."""

from __future__ import annotations

import pytest

from tests.support.peer import Told


@pytest.fixture
def told() -> Told:
    """Notes answers of peers, and asks that failed."""
    return Told()
