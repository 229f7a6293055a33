"""JSON documents with their entity tags, kept while what they show stays as it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from msgspec import UNSET, Struct

from ticketmaster.ticket.bodies import encode_json

_KEPT_BYTES_MAX = 16 << 20
# What an entry takes besides its document: the tag, the keys and their places in dictionaries, generously.
_ENTRY_BYTES = 1_000
# Parts of a document's name: what it is, and which.
Key = tuple[object, ...]


class Rendered(NamedTuple):
    """A document, and its entity tag, which is the same in every process."""

    body: bytes
    tag: str


def rendered(view: Struct) -> Rendered:
    """The document of a view. The tag of an event with rules ends in its revision, by which a change may ask for that one."""
    body, revision = encode_json(view), getattr(view, "revision", UNSET)
    return Rendered(body, f'"{blake2b(body, digest_size=12).hexdigest()}{"" if revision is UNSET else f".{revision}"}"')


class Renderings:
    """The documents asked for last, each in its last version: however many ask for one, it is rendered once a version."""

    def __init__(self, kept_bytes_max: int = _KEPT_BYTES_MAX) -> None:
        self._kept_bytes_max = kept_bytes_max
        # Those first that were longest not asked for.
        self._kept: OrderedDict[Key, tuple[int, Rendered]] = OrderedDict()
        self.kept_bytes = 0

    def get(self, key: Key, version: int, render: Callable[[], Struct]) -> Rendered:
        """The document of this name in this version, from ``render`` where it is not there."""
        found = self._kept.pop(key, None)
        if found is None or found[0] != version:
            if found is not None:
                self.kept_bytes -= _size(key, found[1])
            found = (version, rendered(render()))
            self.kept_bytes += _size(key, found[1])
        self._kept[key] = found
        while self.kept_bytes > self._kept_bytes_max:
            oldest, (_, document) = self._kept.popitem(last=False)
            self.kept_bytes -= _size(oldest, document)
        return found[1]


def _size(key: Key, document: Rendered) -> int:
    # A name is kept as text, of up to 4 bytes a character.
    return len(document.body) + sum(4 * len(part) for part in key if isinstance(part, str)) + _ENTRY_BYTES
