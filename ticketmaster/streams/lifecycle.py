"""Where the work on a partition stands, and which moves are legal."""

from __future__ import annotations

from enum import Enum, auto


class PartitionState(Enum):
    """Where the work on one partition stands."""

    CREATED = auto()
    FENCING = auto()
    RESTORING = auto()
    RUNNING = auto()
    CLOSED = auto()


# Fence, then restore, then run, in that order: a predecessor's late commit must fail before its changelog is read to the end.
LEGAL_MOVES: dict[PartitionState, frozenset[PartitionState]] = {
    PartitionState.CREATED: frozenset({PartitionState.FENCING, PartitionState.CLOSED}),
    PartitionState.FENCING: frozenset({PartitionState.RESTORING, PartitionState.FENCING, PartitionState.CLOSED}),
    PartitionState.RESTORING: frozenset({PartitionState.RUNNING, PartitionState.FENCING, PartitionState.CLOSED}),
    PartitionState.RUNNING: frozenset({PartitionState.FENCING, PartitionState.CLOSED}),
    PartitionState.CLOSED: frozenset(),
}


class Lifecycle:
    """The state of one partition's work; each move is checked."""

    def __init__(self, name: str) -> None:
        self.state = PartitionState.CREATED
        self._name = name

    def move_to(self, state: PartitionState) -> None:
        """Moves on, by a legal move."""
        if state not in LEGAL_MOVES[self.state]:
            raise AssertionError(f"{self._name} can't go from {self.state.name} to {state.name}")
        self.state = state
