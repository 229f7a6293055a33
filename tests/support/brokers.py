"""Fixtures of tests on a broker, whichever that is: they have a fixture ``cluster``, the data on which it is opened."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from ticketmaster.broker.port import Broker


class Openable(Protocol):
    """The data of a broker."""

    async def open(self) -> Broker:
        """A running broker on these data."""

    async def close(self) -> None:
        """Stops it."""


@pytest.fixture
async def broker(cluster: Openable) -> AsyncIterator[Broker]:
    """A running broker."""
    yield await cluster.open()
    await cluster.close()


@pytest.fixture
def group() -> str:
    """The name of a group that nobody else uses."""
    return f"group-{uuid.uuid4().hex}"
