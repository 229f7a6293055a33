"""``python -m ticketmaster``."""

from ticketmaster.cli import main

main()
