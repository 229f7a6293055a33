"""What Linux knows of this process's own sockets, whoever uses them: how they are doing, and how to end one that another thread holds.

No descriptor is ever copied but that of a socket: a copy of a file that is closed would let go of SQLite's locks on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from typing import Final, NamedTuple

_SO_COOKIE: Final = 57
# struct tcp_info of linux/tcp.h as far as it is looked at: whether data is on its way, how many milliseconds ago data was sent and
# received, bytes acknowledged and received, bytes not sent yet, segments of data sent.
_TCP_INFO: Final = struct.Struct("=24xI16xI4xI64xQQ8xI8xI")


class Reading(NamedTuple):
    """How a connection is doing."""

    cookie: int
    sent_ms_ago: int
    # If nothing came yet: since it was established.
    received_ms_ago: int
    sent: int
    received_bytes: int
    acked_bytes: int
    # Bytes are on their way, or wait to be sent.
    owes: bool


class Sockets:
    """Reads descriptors without owning them."""

    def __init__(self) -> None:
        # Keeps the interpreter's lock: these calls take less than to get it back.
        self._getsockopt = ctypes.PyDLL(None).getsockopt
        self._info = ctypes.create_string_buffer(_TCP_INFO.size)
        self._cookie = ctypes.c_uint64()
        self._info_size, self._cookie_size = ctypes.c_uint32(), ctypes.c_uint32()

    def cookie(self, descriptor: int) -> int:
        """What tells a socket from all others, also from the next one of its descriptor; 0: it is no socket."""
        self._cookie_size.value = ctypes.sizeof(self._cookie)
        at = ctypes.byref(self._cookie), ctypes.byref(self._cookie_size)
        return 0 if self._getsockopt(descriptor, socket.SOL_SOCKET, _SO_COOKIE, *at) else self._cookie.value

    def read(self, descriptor: int) -> Reading | None:
        """How a connection is doing; None: it is none."""
        self._info_size.value = _TCP_INFO.size
        at = self._info, ctypes.byref(self._info_size)
        if self._getsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, *at) or self._info_size.value < _TCP_INFO.size:
            return None
        on_the_way, sent_ms_ago, received_ms_ago, acked, received, not_sent, sent = _TCP_INFO.unpack(self._info.raw)
        return Reading(self.cookie(descriptor), sent_ms_ago, received_ms_ago, sent, received, acked, bool(on_the_way or not_sent))

    def end(self, descriptor: int, cookie: int) -> bool:
        """Shuts a connection down in both directions, so that whoever uses it closes it; False: it is gone, or no descriptor is free."""
        if self.cookie(descriptor) != cookie:
            return False
        try:
            copy = os.dup(descriptor)
        except OSError:
            return False
        if self.cookie(copy) != cookie:
            # Reused in the same instant. Closing a copy of what is no socket could do harm.
            if self.cookie(copy):
                os.close(copy)
            return False
        with socket.socket(fileno=copy) as connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        return True


def watchable() -> bool:
    """Whether this system tells what is needed here."""
    if sys.platform != "linux":
        return False
    try:
        with socket.socket() as one:
            return Sockets().read(one.fileno()) is not None and bool(descriptors())
    except OSError:
        return False


def descriptors() -> list[int]:
    """All of this process. OSError: there is none left to read them with."""
    return list(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers, of which there may be thousands


def peer_of(descriptor: int, port: int) -> str | None:
    """The other end of a connection to a port, as Granian writes it; None: it is something else."""
    try:
        # Addresses of IPv6 are the longest, and those of IPv4 are understood all the same.
        one = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        return None
    try:
        name = one.getsockname()
        if not isinstance(name, tuple) or name[1] != port:
            return None
        peer = one.getpeername()
    except (OSError, IndexError):
        return None
    finally:
        one.detach()
    if len(peer) == 2:  # IPv4
        return f"{peer[0]}:{peer[1]}"
    host = peer[0].partition("%")[0]
    return f"[{host}%{peer[3]}]:{peer[1]}" if peer[3] else f"[{host}]:{peer[1]}"
