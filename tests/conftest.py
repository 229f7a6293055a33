"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).parent.parent / ".cache" / "hypothesis")

# A loaded machine is slow, not wrong.
settings.register_profile("ticketmaster", deadline=None)
settings.load_profile("ticketmaster")


@pytest.fixture(scope="session")
def kafka_bootstrap_servers() -> str:
    """A Kafka that the tests may use as they like."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        pytest.skip("no Kafka: set KAFKA_BOOTSTRAP_SERVERS")
    return servers
