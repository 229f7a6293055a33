"""Consumer groups: who is a member and which partitions it owns, rebalanced as Kafka's eager protocol does it.

A change of members asks every member to rejoin; when all have, or the time for it is over, a new generation begins with
a new assignment. Plain state and decisions; waiting is the consumer's.
"""

from __future__ import annotations

from collections.abc import Callable


def assign(partitions: int, owned: dict[str, set[int]]) -> dict[str, set[int]]:
    """Sticky and even: members keep what they ``owned`` as far as their fair share goes, the rest goes to those with least."""
    share, more = divmod(partitions, len(owned))
    assigned: dict[str, set[int]] = {}
    free = set(range(partitions))
    # Who owns most first: the shares that are one larger go to those who can keep one more.
    for member in sorted(owned, key=lambda name: (-len(owned[name]), name)):
        keep = share + (1 if more and len(owned[member]) > share else 0)
        kept = set(sorted(owned[member] & free)[:keep])
        more -= len(kept) > share
        assigned[member] = kept
        free -= kept
    for partition in sorted(free):
        assigned[min(assigned, key=lambda name: (len(assigned[name]), name))].add(partition)
    return assigned


class Group:
    """The members of one group and their generation."""

    def __init__(self, partitions: int) -> None:
        self.generation = 0
        self._partitions = partitions
        self._owned: dict[str, set[int]] = {}
        self._wake: dict[str, Callable[[], None]] = {}
        self._addresses: dict[str, str] = {}
        self._rejoined: set[str] = set()
        self._rebalancing = False

    def add(self, member: str, wake: Callable[[], None], address: str = "") -> None:
        """A new member, which owns nothing: everybody must rejoin. ``wake`` is called when it should look at the group again."""
        self._owned[member] = set()
        self._wake[member] = wake
        self._addresses[member] = address
        self._rebalance()

    def has(self, member: str) -> bool:
        """Whether it is a member; one that took too long to rejoin is not."""
        return member in self._owned

    def must_rejoin(self, member: str) -> bool:
        """Whether a rebalance waits for this member."""
        return self._rebalancing and member not in self._rejoined

    def rejoin(self, member: str) -> None:
        """A member has given up what it owned and waits for the next generation."""
        self._rejoined.add(member)
        self._complete_if_all_rejoined()

    def remove(self, member: str) -> None:
        """A member is gone: the others must rejoin."""
        if self._owned.pop(member, None) is None:
            return
        self._forget(member)
        self._rejoined.discard(member)
        if self._owned:
            self._rebalance()

    def expel_the_missing(self) -> None:
        """The time to rejoin is over: go on without those who did not."""
        if not self._rebalancing:
            return
        for member in sorted(self._owned.keys() - self._rejoined):
            del self._owned[member]
            self._forget(member)
        self._complete_if_all_rejoined()

    def assigned(self, member: str) -> set[int] | None:
        """What a member owns in the current generation; None while a rebalance goes on."""
        return None if self._rebalancing else self._owned[member]

    @property
    def owners(self) -> dict[int, str]:
        """The address of each partition's owner in the current generation."""
        return {partition: self._addresses[member] for member, owned in self._owned.items() for partition in owned}

    def _forget(self, member: str) -> None:
        del self._wake[member], self._addresses[member]

    def _rebalance(self) -> None:
        self._rebalancing = True
        self._complete_if_all_rejoined()
        self._wake_all()

    def _complete_if_all_rejoined(self) -> None:
        if not self._rebalancing or self._owned.keys() - self._rejoined:
            return
        self._rebalancing = False
        self._rejoined.clear()
        if self._owned:
            self._owned = assign(self._partitions, self._owned)
            self.generation += 1
        self._wake_all()

    def _wake_all(self) -> None:
        for wake in self._wake.values():
            wake()
