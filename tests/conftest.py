"""What all tests share."""

from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

pytest_plugins = ["tests.support.tools", "tests.support.kafka_fixtures"]

set_hypothesis_home_dir(Path(__file__).parent.parent / ".cache" / "hypothesis")

# A loaded machine is slow, not wrong.
settings.register_profile("ticketmaster", deadline=None)
settings.load_profile("ticketmaster")
