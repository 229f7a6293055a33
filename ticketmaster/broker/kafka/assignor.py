"""Who runs which partitions: sticky by what a member runs, then by what it has state of on its disk.

aiokafka asks an assignor for ``name``, ``metadata``, ``assign`` and ``on_assignment`` only, so an instance per consumer does: each
keeps its own memory. Members send JSON (address, epoch, owned and stored partitions) with their subscription; the leader sends the
addresses of all back with everybody's assignment, so that every member knows where each partition lives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from ticketmaster.broker.kafka.private import (
    AbstractPartitionAssignor,
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

_VERSION = 0


class Claim(msgspec.Struct, frozen=True):
    """What a member says when it joins. ``epoch`` counts the assignments it knows of: of two claims the newer one is true."""

    address: str = ""
    epoch: int = 0
    owned: list[int] = []
    stored: list[int] = []


class _Spread(msgspec.Struct, frozen=True):
    """What the leader tells everybody: (address, partitions) by member id. Two members may share an address."""

    epoch: int = 0
    members: dict[str, tuple[str, list[int]]] = {}


def assign(partitions: int, claims: Mapping[str, Claim]) -> dict[str, list[int]]:
    """Partitions by member id: even to within one; of those who claim a partition the best claim wins, while its member has room.

    The best claim is that of the newest owner, then that of a member with state on its disk.
    """
    members = sorted(claims)
    room_max = -(-partitions // len(members))
    tasks: dict[str, list[int]] = {member: [] for member in members}
    free = dict.fromkeys(range(partitions))
    newest_first = sorted(members, key=lambda member: -claims[member].epoch)
    claimed = [(tasks[member], claims[member].owned) for member in newest_first]
    claimed += [(tasks[member], claims[member].stored) for member in members]
    for owned, wanted in claimed:
        for partition in wanted:
            if partition in free and len(owned) < room_max:
                owned.append(partition)
                del free[partition]
    for partition in free:
        min(tasks.values(), key=len).append(partition)
    while True:
        most, least = max(tasks.values(), key=len), min(tasks.values(), key=len)
        if len(most) - len(least) <= 1:
            return {member: sorted(owned) for member, owned in tasks.items()}
        least.append(most.pop())


class StickyAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """The assignor of one consumer. A task is a partition number, the same in all topics of the group."""

    name = "ticketmaster-sticky"
    version = _VERSION

    def __init__(self, address: str, stored: Callable[[], Collection[int]]) -> None:
        """``address`` is where others reach this member; ``stored`` says of which partitions it has state on its disk."""
        self._address = address
        self._stored = stored
        self._epoch = 0
        self._owned: list[int] = []
        self.owners: dict[int, str] = {}
        # aiokafka logs what its assignor raises, and goes on or dies of it: it is kept for the member's next poll.
        self.failure: Exception | None = None

    def metadata(self, topics: Collection[str]) -> Any:
        try:
            claim = msgspec.json.encode(Claim(self._address, self._epoch, self._owned, sorted(self._stored())))
        except Exception as failure:  # noqa: BLE001
            self.failure = failure
            claim = msgspec.json.encode(Claim(self._address))
        return ConsumerProtocolMemberMetadata(_VERSION, sorted(topics), claim)

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._assigned(cluster, members)
        except Exception as failure:
            self.failure = failure
            # Raised, so that no other member is told an assignment that is none.
            raise

    def _assigned(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        claims = {member: _claim(metadata.user_data) for member, metadata in members.items()}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for meta in members.values() for topic in meta.subscription}
        tasks = assign(max(counts.values(), default=0), claims)
        spread = _Spread(
            1 + max(claim.epoch for claim in claims.values()), {member: (claims[member].address, owned) for member, owned in tasks.items()}
        )
        user_data = msgspec.json.encode(spread)
        return {
            member: ConsumerProtocolMemberAssignment(
                _VERSION,
                [(topic, [task for task in tasks[member] if task < counts[topic]]) for topic in sorted(metadata.subscription)],
                user_data,
            )
            for member, metadata in members.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        try:
            self._take(assignment)
        except Exception as failure:  # noqa: BLE001
            self.failure = failure

    def _take(self, assignment: Any) -> None:
        # A group whose leader is another program's assigns without telling more.
        spread = msgspec.json.decode(assignment.user_data or b"{}", type=_Spread)
        self._epoch = spread.epoch
        self._owned = sorted({partition for _, partitions in assignment.assignment for partition in partitions})
        self.owners = {partition: address for address, owned in spread.members.values() for partition in owned}


def _claim(user_data: bytes) -> Claim:
    try:
        return msgspec.json.decode(user_data or b"{}", type=Claim)
    except msgspec.MsgspecError:
        return Claim()
