"""URLs, and what of them may be told: a user name and a password may stand in one."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_credentials(url: str) -> tuple[str, str, str]:
    """(a URL without its user name and password, the user name, the password)."""
    parts = urlsplit(url)
    before, at, host = parts.netloc.rpartition("@")
    username, _, password = before.partition(":")
    return parts._replace(netloc=host).geturl() if at else url, username, password


def told(url: str) -> str:
    """A URL for errors and logs: neither with credentials nor with a query, where some put a token."""
    bare, _, _ = without_credentials(url)
    parts = urlsplit(bare)
    # Behind a slash that should have been written %2F an @ is the end of a password.
    return parts._replace(path="" if "@" in parts.path else parts.path, query="", fragment="").geturl()


def host_and_port(host: str, port: int) -> str:
    """As it stands in URLs: an address of IPv6 has colons of its own."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
