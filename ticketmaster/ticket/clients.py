"""Which client a request is from: the address that it came from, or the one that a trusted proxy tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from ticketmaster.ticket.heads import HeaderLines

Network = IPv4Network | IPv6Network
# A network at home or a machine in a cloud has at least so much of IPv6 for itself.
_IPV6_BYTES: Final = 8
# Proxies in a row, and addresses that were looked at: they are few, or no proxy is trusted to tell of more.
_PROXIES_MAX: Final = 16
_KNOWN_MAX: Final = 10_000
_ADDRESS_CHARACTERS_MAX: Final = 100


class _Known(NamedTuple):
    """An address that was looked at."""

    # What is counted together: an address of IPv4, a /64 of IPv6.
    client: bytes
    is_proxy: bool


_NOBODY: Final = _Known(b"", is_proxy=False)


class Clients:
    """Tells clients apart."""

    def __init__(self, proxies: Sequence[Network] = ()) -> None:
        """``proxies`` are trusted: what they tell of where a request came from is taken."""
        self._proxies = proxies
        self._known: dict[str, _Known] = {}

    def client_of(self, peer: str, headers: HeaderLines) -> bytes:
        """Of a request from a peer, address and port as Granian writes them."""
        host = peer[1 : peer.find("]")] if peer[:1] == "[" else peer[: peer.rfind(":")]
        known = self._known.get(host) or self._look(host) or _NOBODY
        return self._forwarded(known, headers) if known.is_proxy else known.client

    def _look(self, text: str) -> _Known | None:
        """None: it is no address."""
        try:
            address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            # All of IPv4 is in one /64 there.
            address = address.ipv4_mapped
        client = address.packed if isinstance(address, IPv4Address) else address.packed[:_IPV6_BYTES]
        known = _Known(client, any(address in network for network in self._proxies))
        if len(self._known) >= _KNOWN_MAX:
            self._known = {}
        self._known[text] = known
        return known

    def _forwarded(self, proxy: _Known, headers: HeaderLines) -> bytes:
        """The client that a proxy tells of. Where two headers disagree, a client may have sent one of them: then it is the proxy itself."""
        # One that is there and can't be read tells nothing, and so disagrees: a client makes it so by a byte that is not ASCII.
        told = {
            self._first_stranger(proxy, addresses(headers.get_all(name)))
            for name, addresses in (("x-forwarded-for", _listed), ("forwarded", _for_parameters))
            if name in headers
        }
        return told.pop() if len(told) == 1 else proxy.client

    def _first_stranger(self, proxy: _Known, addresses: Iterator[str]) -> bytes:
        """From the nearest on: each proxy is trusted to tell of the one before it, and nobody else is."""
        for text in addresses:
            known = self._known.get(text) or (self._look(text) if len(text) <= _ADDRESS_CHARACTERS_MAX else None)
            if known is None:
                break
            proxy = known
            if not known.is_proxy:
                break
        return proxy.client


def _nearest_first(lines: Sequence[str]) -> Iterator[str]:
    # What stands before the last ones is of no use.
    parts = ",".join(lines).rsplit(",", _PROXIES_MAX)
    return reversed(parts if len(parts) <= _PROXIES_MAX else parts[1:])


def _listed(lines: Sequence[str]) -> Iterator[str]:
    """Of X-Forwarded-For."""
    return (_without_port(part.strip()) for part in _nearest_first(lines))


def _for_parameters(lines: Sequence[str]) -> Iterator[str]:
    """Of Forwarded, RFC 7239. No quoted comma is looked for: a client that sends half a quotation must not hide what a proxy adds."""
    for part in _nearest_first(lines):
        pairs = (pair.partition("=") for pair in part.split(";"))
        yield next((_without_port(value.strip().strip('"')) for name, _, value in pairs if name.strip().lower() == "for"), "")


def _without_port(text: str) -> str:
    if text[:1] == "[":
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
