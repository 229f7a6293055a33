"""Which HTTP proxy a request goes by: one rule for all that speaks HTTP to the outside.

``HTTPS_PROXY`` for https, ``HTTP_PROXY`` for http, else ``ALL_PROXY``; in lower case they win. None for this machine, nor for what
``NO_PROXY`` names, with commas or blanks between: hosts with all below them, ``host:port``, networks (``10.0.0.0/8``), or ``*``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from ticketmaster.errors import UsageError

_NAMES_OF_THIS_MACHINE = ("localhost", "localhost.localdomain")


class Proxy(NamedTuple):
    """A proxy: its URL, which may hold a password, and its address, which may be told."""

    url: str
    address: str


def proxy_for(url: str) -> Proxy | None:
    """The proxy for a URL by the environment; None: there is none. UsageError: it is of a kind that is not spoken here."""
    from urllib.request import getproxies_environment  # noqa: PLC0415 - slow to import, and standalone asks nobody

    parts, proxies = urlsplit(url), getproxies_environment()
    host = parts.hostname or ""
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or _is_this_machine(host) or _is_excepted(host, parts.port or {"https": 443}.get(parts.scheme, 80), proxies.get("no", "")):
        return None
    found = found if "://" in found else f"http://{found}"
    address = _address(found)
    if address is None:
        name = f"{parts.scheme.upper()}_PROXY" if proxies.get(parts.scheme) else "ALL_PROXY"
        raise UsageError(f"the environment variable {name} must be an http:// or https:// URL of a proxy; {host} can be put into NO_PROXY")
    return Proxy(found, address)


def _address(proxy: str) -> str | None:
    """Host and port of a proxy; None: it is none that is spoken to here."""
    try:
        parts = urlsplit(proxy)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    return f"{parts.hostname}{port}" if parts.hostname and parts.scheme in ("http", "https") else None


def by_proxy(proxy: Proxy | None) -> str:
    """For errors: what stands between us and the other side."""
    return f" by the proxy {proxy.address}" if proxy else ""


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _NAMES_OF_THIS_MACHINE or host.endswith(".localhost")


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    for entry in re.split(r"[,\s]+", exceptions.strip().lower()):
        if not entry:
            continue
        if entry == "*" or _is_in_network(host, entry):
            return True
        name, _, only_port = entry.partition(":") if entry.count(":") == 1 else (entry.strip("[]"), "", "")
        name = name.removeprefix("*").removeprefix(".")
        if (host == name or host.endswith(f".{name}")) and only_port in ("", str(port)):
            return True
    return False


def _is_in_network(host: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
