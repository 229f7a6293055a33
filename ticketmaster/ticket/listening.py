"""Sockets that listen: bound once, at the start, by whoever was told the port, and handed down to whoever serves."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from typing import Final

from ticketmaster.errors import UsageError
from ticketmaster.urls import host_and_port

BACKLOG = 4_096
# Linux only, and not in Python's socket module.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
# Drops what asks for a new connection (SYN is set in the 14th byte of TCP's header) and lets all else pass.
_NO_SYN: Final = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def listeners(address: str, port: int, count: int = 1) -> list[socket.socket]:
    """Sockets that listen on one port, a free one for 0. UsageError: it is taken, or the address is none of ours.

    With several, the kernel deals connections out to them evenly, which it does not do for processes that share one socket. Nobody else
    can listen there: not another program, and not this one a second time.
    """
    try:
        # IDNA refuses some names by an error of its own.
        family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        first = _listening(family, kind, protocol, where)
    except (OSError, UnicodeError) as cause:
        hint = "; choose another port" if isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        reason = cause.strerror or cause if isinstance(cause, OSError) else "no host name and no address"
        raise UsageError(f"can't listen on {host_and_port(address, port)}: {reason}{hint}") from cause
    if count == 1:
        return [first]
    # It was bound without this, so that it would fail where others share a port already. From now on it is shared with these only.
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    where = (where[0], first.getsockname()[1], *where[2:])
    with first:
        return [_listening(family, kind, protocol, where, shared=True) for _ in range(count)]


def _listening(family: int, kind: int, protocol: int, where: tuple[object, ...], *, shared: bool = False) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Connections inherit it.
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.bind(where)
        one.listen(BACKLOG)
    except BaseException:
        one.close()
        raise
    return one


def is_listening(listener: socket.socket) -> bool:
    """Whether connections come to it."""
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def stop_listening(listener: socket.socket) -> None:
    """Refuses connections, in all processes that have the socket, until one of them listens again; the port stays taken."""
    # Linux only. Elsewhere they wait in the queue until then.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def hold_new_connections_up(listener: socket.socket) -> None:
    """Has those who ask for a connection from now on ask again, a second later; handshakes that have begun come to their end."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in _NO_SYN))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_NO_SYN), ctypes.addressof(program)))
