"""What the head of a request says: whom it is for, and how long its body is. Granian checks neither."""

from __future__ import annotations

import re
from typing import Protocol

from ticketmaster.ticket import problems
from ticketmaster.ticket.problems import Problem

# Names of the DNS have 253 characters at most; the rest is for a port.
_CHARACTERS_MAX = 260
# A host and a port as RFC 3986 has them; both may be empty.
_has_the_form = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?", re.ASCII).fullmatch
# Hosts that were looked at already: a process has few, and they come with every request.
_KNOWN_MAX = 1_000
_known: set[str] = set()


class Head(Protocol):
    """Granian's description of a request."""

    @property
    def method(self) -> str:
        """GET, POST and so on."""

    @property
    def client(self) -> str:
        """Address and port of the other end: ``192.0.2.7:40000``, ``[2001:db8::7]:40000``."""

    @property
    def http_version(self) -> str:
        """1 (which is 1.0), 1.1 or 2."""

    @property
    def query_string(self) -> str:
        """What stands behind the ``?``."""

    @property
    def authority(self) -> str | None:
        """The host of a target that has one, as those of HTTP/2 do."""


class HeaderLines(Protocol):
    """A request's headers; values that are not ASCII are missing."""

    def get(self, name: str) -> str | None:
        """The first value of a name."""

    def get_all(self, name: str) -> list[str]:
        """All values of a name."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a header of a name, whatever its value is."""


def host_problem(head: Head, headers: HeaderLines) -> Problem | None:
    """What makes it doubtful whom a request is for, by which proxies choose; None: nothing.

    By RFC 9112, section 3.2, and RFC 9113, section 8.3.1. ``headers`` are asked for by the caller, since Granian copies them each time.
    """
    version = head.http_version
    authority = head.authority if version == "2" else None
    if authority is not None and authority in _known and "host" not in headers:
        # As nearly always where there is an authority.
        return None
    hosts = headers.get_all("host")
    if authority is not None:
        # Where a Host stands beside it, it says the same.
        told = not hosts or (len(hosts) == 1 and hosts[0].lower() == authority.lower())
        host = authority
    else:
        # HTTP/1.0 knows no Host. Over HTTP/2 HAProxy's health checks have neither, and nothing is told twice then.
        told = len(hosts) == 1 or (version != "1.1" and not hosts)
        host = hosts[0] if hosts else ""
    return None if told and (host in _known or _is_host(host)) else problems.INVALID_HOST


def _is_host(text: str) -> bool:
    if len(text) > _CHARACTERS_MAX or not _has_the_form(text):
        return False
    if len(_known) < _KNOWN_MAX:
        _known.add(text)
    return True


def body_length(headers: HeaderLines) -> int | None:
    """What a request says its body's length is; None: nothing, or nothing that is a number, as HTTP/2 lets pass an empty text."""
    given = headers.get("content-length")
    if given is None or not (given.isascii() and given.isdigit()):
        return None
    # int() refuses thousands of digits, zeros as well; a number of 20 is too large whatever follows.
    return int(given.lstrip("0")[:20] or "0")
