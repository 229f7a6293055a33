"""Certificates of the port for clients, tried before they are used: a server that can't use one takes its process with it."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Final

from ticketmaster.errors import UsageError
from ticketmaster.ticket import problems
from ticketmaster.ticket.refusing import Refusing
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import Certificate, ServerSettings

# It takes half a second, most of it for Python's own start.
_TRIAL_S: Final = 30.0
_HANDSHAKE_S: Final = 10.0
# As OpenSSL says it of two keys of one kind, and of two kinds.
_MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


def check_certificate(files: Certificate) -> None:
    """UsageError: the server could not use these files. Takes half a second."""
    certificate, key = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a password would have OpenSSL ask the terminal for it.
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as reason:
        raise UsageError(f"the certificate {certificate} with the key {key} can't be used: {_told(reason)}") from reason
    except OSError as reason:
        raise UsageError(f"the certificate {certificate} or the key {key} can't be read: {reason.strerror or reason}") from reason
    # OpenSSL takes more than the server does.
    command: list[str | Path] = [sys.executable, "-m", __name__, certificate, key]
    try:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_S, check=False)  # noqa: S603 - this program
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise UsageError(f"the certificate {certificate} can't be tried: {reason}") from reason
    if tried.returncode:
        kinds = "RSA from 2,048 bits on, ECDSA on P-256 or P-384, or Ed25519, in a certificate of X.509 version 3"
        raise UsageError(f"the server can't use the certificate {certificate} with the key {key}: take {kinds}")


def _refuse_password() -> str:
    raise UsageError("the key of the certificate has a password: take that off, and let nobody else read the file")


def _told(reason: ssl.SSLError) -> str:
    if reason.reason in _MISMATCHES:
        return "they do not belong together"
    return (reason.reason or "it is no PEM").lower().replace("_", " ")


async def _try(files: Certificate) -> None:
    server = HttpServer(Refusing(problems.NOT_SERVING, 0), ServerSettings(port=0, connections_max=1, tls=files))
    port = await server.start()
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(_HANDSHAKE_S):
        await asyncio.open_connection("127.0.0.1", port, ssl=client)


if __name__ == "__main__":
    asyncio.run(_try(Certificate(*map(Path, sys.argv[1:]))))
    # The trial has done what it is for: an orderly shutdown would only take time.
    os._exit(0)
