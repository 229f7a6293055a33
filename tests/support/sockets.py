"""Sockets that listen, as tests look at them."""

from __future__ import annotations

import socket


def accepted(one: socket.socket) -> int:
    """How many connections wait in a socket, which has a time-out of 0; they are closed."""
    count = 0
    try:
        while True:
            one.accept()[0].close()
            count += 1
    except OSError:
        return count
