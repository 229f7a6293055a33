"""What lives in other processes: their owners are asked, each once at a time, and again when a partition has another owner.

All that is known of what was asked elsewhere is here. Whatever carries the questions tells what became of each, once. Requests stay in the
lists of those who use this, with deadlines of their own; they look again for what failed, if that is of use. So whatever becomes of an
owner, no request is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ticketmaster.broker.port import Assignment, Headers

# Asks the process at an address for a reservation. Each question is told once, later: by an answer or by a failure.
Ask = Callable[[str, bytes], None]


class Post(NamedTuple):
    """What the owner is asked to do: the path behind that of all reservations, the body, and headers, of a trace."""

    path: bytes
    body: bytes
    headers: Headers


class AskOwner(Protocol):
    """As :data:`Ask`; or asks the process to do something. Then what is told has the name that is given here in place of the id."""

    def __call__(self, address: str, key: bytes, post: Post | None = None, /) -> None:
        """Asks."""


class Forwarding:
    """Which process holds each partition, and what it has been asked."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        # Addresses of the owners of partitions that are not this process's.
        self._owners: dict[int, str] = {}
        # The owner that was asked last for each, and has not told.
        self._asked: dict[bytes, str] = {}
        # A dictionary, which has an order.
        self._failed: dict[bytes, None] = {}

    def lives_elsewhere(self, partition: int) -> bool:
        """Whether another process is known to hold a partition."""
        return partition in self._owners

    def on_assigned(self, assignment: Assignment) -> None:
        """Partitions have moved: whatever is awaited must be looked for anew."""
        owned = set(assignment.partitions)
        self._owners = {partition: address for partition, address in assignment.owners.items() if address and partition not in owned}

    def look(self, key: bytes, partition: int) -> None:
        """Asks the owner, if that is another process and it has not been asked yet."""
        address = self._owners.get(partition)
        if address and self._asked.get(key) != address:
            self._asked[key] = address
            self._ask(address, key)

    def answered(self, key: bytes) -> None:
        """The answer has come."""
        self._asked.pop(key, None)

    def failed(self, key: bytes) -> None:
        """The owner has not answered, or not to the end."""
        self._asked.pop(key, None)
        self._failed[key] = None

    def take_failed(self) -> list[bytes]:
        """What failed since the last time."""
        failed, self._failed = list(self._failed), {}
        return failed
