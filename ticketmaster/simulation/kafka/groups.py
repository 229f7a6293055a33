"""Consumer groups of the simulated cluster: joining, syncing, heartbeats, sessions that expire, and offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Final, NamedTuple

from ticketmaster.broker.port import TopicPartition
from ticketmaster.simulation.kafka import codes

# How many commits old the answer of a coordinator may be that has just moved, and has acknowledged no write yet.
_STALE_COMMITS: Final = 25
_INITIAL_DELAYS_S: Final = (0.0, 0.05, 0.5)

Note = Callable[[str], None]
OnCommit = Callable[[str, Mapping[TopicPartition, int]], None]
Later = Callable[[float, Callable[[], None]], object]


class Joined(NamedTuple):
    """The answer to a member that joins. ``members`` are told to the leader."""

    code: int
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    member_id: str = ""
    members: Sequence[tuple[str, str | None, bytes]] = ()


class Synced(NamedTuple):
    """The answer to a member that asks for its assignment."""

    code: int
    assignment: bytes = b""


class JoinRequest(NamedTuple):
    """What a member says that joins."""

    member_id: str
    client_id: str
    session_s: float
    rebalance_s: float
    protocols: Sequence[tuple[str, bytes]]


class Phase(Enum):
    """Of a group."""

    EMPTY = "empty"
    JOINING = "joining"
    SYNCING = "syncing"
    STABLE = "stable"


class _Member:
    def __init__(self, asked: JoinRequest) -> None:
        self.asked = asked
        self.joining: Callable[[Joined], None] | None = None
        self.syncing: Callable[[Synced], None] | None = None
        self.assignment = b""
        # Raised by everything that is heard of it.
        self.heard = 0


class Group:
    """A group and its coordinator."""

    def __init__(self, name: str, random: Random, later: Later, note: Note, on_commit: OnCommit) -> None:
        self.name = name
        self.offsets: dict[TopicPartition, int] = {}
        self._random = random
        self._later = later
        self._note = note
        self._on_commit = on_commit
        self._members: dict[str, _Member] = {}
        self._expected: set[str] = set()
        self._ids = 0
        self._phase = Phase.EMPTY
        self._generation = 0
        self._leader = ""
        self._protocol = ""
        self._rebalances = 0
        # What it answers to who asks for offsets, until it has acknowledged a write.
        self._history: list[dict[TopicPartition, int]] = []
        self._stale: dict[TopicPartition, int] | None = None

    # Offsets.

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets move, for good."""
        self._history = [*self._history[-_STALE_COMMITS:], dict(self.offsets)]
        self.offsets.update(offsets)
        self._on_commit(self.name, offsets)

    def committed(self) -> Mapping[TopicPartition, int]:
        """What it says of its offsets."""
        return self.offsets if self._stale is None else self._stale

    def has_written(self) -> None:
        """A write was acknowledged: it knows from now on what all replicas have."""
        self._stale = None

    def lose_offsets(self) -> None:
        """They have expired."""
        self.offsets.clear()
        self._history.clear()
        self._stale = None

    def move(self) -> None:
        """Another broker coordinates it: nobody who waits is answered, the members ask there."""
        if self._history and self._random.random() < 0.7:
            self._stale = self._random.choice(self._history)
        for member in self._members.values():
            joining, member.joining = member.joining, None
            syncing, member.syncing = member.syncing, None
            if joining:
                joining(Joined(codes.NOT_COORDINATOR))
            if syncing:
                syncing(Synced(codes.NOT_COORDINATOR))
        for member_id, member in self._members.items():
            self._hear(member_id, member)

    # Members.

    def join(self, asked: JoinRequest, answer: Callable[[Joined], None]) -> None:
        """A member joins, or joins again."""
        if not asked.member_id:
            self._ids += 1
            member_id = f"{asked.client_id}-{self.name}-{self._ids:04d}"
            self._expected.add(member_id)
            answer(Joined(codes.MEMBER_ID_REQUIRED, member_id=member_id))
            return
        member = self._members.get(asked.member_id)
        if member is None and asked.member_id not in self._expected:
            answer(Joined(codes.UNKNOWN_MEMBER_ID))
            return
        if not self._common_protocol([*(one.asked for one in self._members.values()), asked]):
            answer(Joined(codes.INCONSISTENT_GROUP_PROTOCOL))
            return
        unchanged = member is not None and member.asked.protocols == asked.protocols
        if member is None:
            self._expected.discard(asked.member_id)
            member = self._members[asked.member_id] = _Member(asked)
        elif member.joining:
            # Its connection broke, and it asks again.
            member.joining(Joined(codes.REBALANCE_IN_PROGRESS))
        member.asked = asked
        member.joining = answer
        self._hear(asked.member_id, member)
        is_leader = asked.member_id == self._leader
        if unchanged and (self._phase is Phase.SYNCING or (self._phase is Phase.STABLE and not is_leader)):
            self._answer_join(asked.member_id, member)
        elif self._phase is not Phase.JOINING:
            self.rebalance("a member joins")
        elif self._all_joined():
            self._end_joining()

    def rebalance(self, reason: str) -> None:
        """Everybody must join again."""
        if self._phase is Phase.JOINING:
            return
        self._note(f"group {self.name} rebalances: {reason}")
        delay_s = self._random.choice(_INITIAL_DELAYS_S) if self._phase is Phase.EMPTY else 0.0
        self._phase = Phase.JOINING
        self._rebalances += 1
        number = self._rebalances
        for member in self._members.values():
            syncing, member.syncing = member.syncing, None
            if syncing:
                syncing(Synced(codes.REBALANCE_IN_PROGRESS))

        def end() -> None:
            if self._phase is Phase.JOINING and self._rebalances == number:
                self._end_joining()

        if not self._members:
            self._phase = Phase.EMPTY
        elif delay_s or not self._all_joined():
            self._later(delay_s or max(member.asked.rebalance_s for member in self._members.values()), end)
        else:
            self._end_joining()

    def _all_joined(self) -> bool:
        return all(member.joining for member in self._members.values())

    def _end_joining(self) -> None:
        """Who has not joined in time is out; the others are told the new generation."""
        self._members = {member_id: member for member_id, member in self._members.items() if member.joining}
        if not self._members:
            self._phase = Phase.EMPTY
            return
        self._phase = Phase.SYNCING
        self._generation += 1
        if self._leader not in self._members:
            self._leader = next(iter(self._members))
        self._protocol = self._common_protocol([member.asked for member in self._members.values()])
        self._note(f"group {self.name} is at generation {self._generation} of {len(self._members)}, led by {self._leader}")
        for member_id, member in self._members.items():
            member.assignment = b""
            self._answer_join(member_id, member)
            self._hear(member_id, member)

    def _answer_join(self, member_id: str, member: _Member) -> None:
        members: list[tuple[str, str | None, bytes]] = []
        if member_id == self._leader:
            members = [(other, None, dict(one.asked.protocols)[self._protocol]) for other, one in self._members.items()]
        answer, member.joining = member.joining, None
        assert answer
        answer(Joined(codes.NONE, self._generation, self._protocol, self._leader, member_id, members))

    def _common_protocol(self, asked: Sequence[JoinRequest]) -> str:
        return next((name for name, _ in asked[0].protocols if all(name in dict(one.protocols) for one in asked)), "")

    def sync(self, member_id: str, generation: int, assignments: Mapping[str, bytes], answer: Callable[[Synced], None]) -> None:
        """A member asks what it is to do; the leader says it for all."""
        code = self._refusal(member_id, generation)
        if code or self._phase is Phase.JOINING:
            answer(Synced(code or codes.REBALANCE_IN_PROGRESS))
            return
        member = self._members[member_id]
        self._hear(member_id, member)
        if self._phase is Phase.STABLE:
            answer(Synced(codes.NONE, member.assignment))
            return
        member.syncing = answer
        if member_id != self._leader:
            return
        self._phase = Phase.STABLE
        self.has_written()
        for other, one in self._members.items():
            one.assignment = assignments.get(other, b"")
            waiting, one.syncing = one.syncing, None
            if waiting:
                waiting(Synced(codes.NONE, one.assignment))

    def heartbeat(self, member_id: str, generation: int) -> int:
        """A member is alive."""
        code = self._refusal(member_id, generation)
        if code:
            return code
        self._hear(member_id, self._members[member_id])
        return codes.REBALANCE_IN_PROGRESS if self._phase is Phase.JOINING else codes.NONE

    def _refusal(self, member_id: str, generation: int) -> int:
        if member_id not in self._members:
            return codes.UNKNOWN_MEMBER_ID
        return codes.NONE if generation == self._generation else codes.ILLEGAL_GENERATION

    def leave(self, member_id: str, reason: str = "leaves") -> int:
        """A member goes, or is thrown out."""
        self._expected.discard(member_id)
        member = self._members.pop(member_id, None)
        if member is None:
            return codes.UNKNOWN_MEMBER_ID
        if member.joining:
            member.joining(Joined(codes.UNKNOWN_MEMBER_ID))
        if member.syncing:
            member.syncing(Synced(codes.UNKNOWN_MEMBER_ID))
        if self._phase is Phase.JOINING:
            if self._all_joined():
                self._end_joining()
        else:
            self.rebalance(f"{member_id} {reason}")
        return codes.NONE

    def expel(self, client_id: str) -> None:
        """The members of a client are thrown out."""
        for member_id in [member_id for member_id, member in self._members.items() if member.asked.client_id == client_id]:
            self.leave(member_id, "is expelled")

    def _hear(self, member_id: str, member: _Member) -> None:
        member.heard += 1
        heard = member.heard

        def expire() -> None:
            if member.heard == heard and self._members.get(member_id) is member:
                if member.joining:
                    # It waits for the others.
                    self._hear(member_id, member)
                else:
                    self.leave(member_id, "is not heard of")

        self._later(member.asked.session_s, expire)
