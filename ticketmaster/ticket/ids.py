"""Reservation ids: UUID version 7 (RFC 9562, section 5.7, with a counter in rand_a), in the order they are minted.

The order makes every index they go into cheap; 62 random bits an id keep them from being guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from struct import Struct

from ticketmaster.broker.partitioner import begun, partition_of, partition_of_end
from ticketmaster.clock import Clock

_COUNTER_BITS = 12
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_POOL = Struct(">512Q")
_POOL_BITS = _POOL.size * 8
_NODE_MASK = (1 << 48) - 1
_VARIANT = 0x8000
_END = 4
_ENDS_MAX = 65_536

is_reservation_id: Callable[[str], re.Match[str] | None] = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
).fullmatch
"""Whether a text has the form of a UUID, of whatever version: other gateways mint other ones."""


def canonical_id(text: str) -> str | None:
    """A reservation id as it is minted, stored and hashed: in lower case. It is read in either case; None: the text is no id."""
    return text.lower() if is_reservation_id(text) else None


class IdMint:
    """Makes ids that only grow, even when the clock goes back; of given partitions only, if so told."""

    def __init__(self, clock: Clock, partitions: int) -> None:
        self._clock = clock
        self._partitions = partitions
        self._owned: frozenset[int] = frozenset()
        self._avoided: set[int] = set()
        # Those that ids are minted for; any, if these are none.
        self._wanted: frozenset[int] = frozenset()
        self._last = 0
        # How ids of this millisecond begin.
        self._head, self._head_ms = b"", -1
        self._pool: Iterator[int] = iter(())

    def own(self, partitions: Collection[int]) -> None:
        """From now on ids are of these partitions; of any, if these are none or all."""
        self._owned = frozenset(partitions) if len(partitions) < self._partitions else frozenset()
        self._choose()

    def avoid(self, partition: int) -> None:
        """Mints no ids of a partition, as long as there is another one: of those that it owns, else of all."""
        self._avoided.add(partition)
        self._choose()

    def use_again(self, partition: int) -> None:
        """The partition is as good as the others."""
        self._avoided.discard(partition)
        self._choose()

    def _choose(self) -> None:
        if not self._avoided:
            self._wanted = self._owned
            return
        every = frozenset(range(self._partitions))
        self._wanted = ((self._owned or every) - self._avoided) or (every - self._avoided) or self._owned

    def mint(self) -> tuple[bytes, int]:
        """(a new id, its partition)."""
        if not self._wanted:
            key = self._next()
            return key, partition_of(key, self._partitions)
        return self._mint_of(self._wanted)

    def mint_of(self, partition: int) -> bytes:
        """A new id of a partition, whoever owns it."""
        return self._mint_of((partition,))[0]

    def _mint_of(self, wanted: Collection[int]) -> tuple[bytes, int]:
        key = self._next()
        # The last four characters are the hash's last block: with others in their place, the rest of the hash stays the same.
        head, state = key[:-_END], begun(key)
        for _ in range(_ENDS_MAX):
            end = key[-_END:]
            partition = partition_of_end(state, int.from_bytes(end, "little"), self._partitions)
            if partition in wanted:
                return key, partition
            key = head + b"%04x" % (self._random() & 0xFFFF)
        # Of so many ends one is owned, but for less than once in 10 to the 28th of a thousand partitions.
        raise AssertionError(f"no id is of any of these partitions: {sorted(wanted)}")

    def _next(self) -> bytes:
        # Milliseconds and counter as one number: a counter that runs over borrows from the next millisecond.
        stamp = self._clock.now_ms() << _COUNTER_BITS
        if stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        milliseconds, number = stamp >> _COUNTER_BITS, self._random()
        if milliseconds != self._head_ms:
            # time_high, time_low, version: the same for all ids of a millisecond, of which a spike mints many.
            self._head, self._head_ms = b"%08x-%04x-7" % (milliseconds >> 16, milliseconds & 0xFFFF), milliseconds
        # Behind them the counter, variant and 14 random bits, 48 random bits.
        return b"%b%03x-%04x-%012x" % (self._head, stamp & _COUNTER_MASK, _VARIANT | number >> 50, number >> 2 & _NODE_MASK)

    def _random(self) -> int:
        """64 bits. Asking the operating system for each id would cost more than all the rest of it."""
        number = next(self._pool, None)
        if number is None:
            self._pool = iter(_POOL.unpack(self._clock.random_bits(_POOL_BITS).to_bytes(_POOL.size, "big")))
            number = next(self._pool)
        return number
