"""The program on a machine with a wrong clock, or with a network of its own: ``python -m tests.chaos.launcher ROLE OPTION…``.

What the program takes from outside is replaced before any of its modules is imported; the program itself is the real one.
"""

from __future__ import annotations

import json
import os
import time

NAME = "tests.chaos.launcher"
# Seconds that the wall clock goes ahead, or behind where negative.
SHIFT_S = "CHAOS_CLOCK_SHIFT_S"
# JSON: instead of each of these ports of a broker, this one is connected to.
PORTS = "CHAOS_BROKER_PORTS"


def shift_clock(seconds: float) -> None:
    """The wall clock is wrong, for whoever asks."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1_000_000_000)


def go_round(ports: dict[int, int]) -> None:
    """Brokers are connected to by other ports than they tell."""
    from aiokafka import client  # noqa: PLC0415 - it may read the clock when it is imported

    connect = client.create_conn

    def create_conn(host: str, port: int, **options: object) -> object:
        return connect(host, ports.get(port, port), **options)

    client.create_conn = create_conn


def main() -> None:
    """As the environment says."""
    shift_clock(float(os.environ.get(SHIFT_S, "0")))
    ports = json.loads(os.environ.get(PORTS, "{}"))
    if ports:
        go_round({int(broker): ours for broker, ours in ports.items()})
    from ticketmaster.cli import main as program  # noqa: PLC0415 - by now the clock is wrong

    program()


if __name__ == "__main__":
    main()
