"""What a spike comes to: one of three, and never "sound" where nothing was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from scripts.perf.spike_client.replies import End

# Fewer decisions than this say too little about the others.
DECIDED_SHARE_MIN = 0.9


class Verdict(StrEnum):
    """Whether the server did right."""

    SOUND = "sound"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"

    @property
    def exit_code(self) -> int:
        """As the exit codes of `ticketmaster` have it: 1 does not add up, 3 could not be found out."""
        return {Verdict.SOUND: 0, Verdict.WRONG: 1, Verdict.NOT_CHECKED: 3}[self]


def verdict(violations: int, unchecked: Sequence[str]) -> Verdict:
    """Wrong if anything is; sound only if everything was checked."""
    if violations:
        return Verdict.WRONG
    return Verdict.NOT_CHECKED if unchecked else Verdict.SOUND


def changes_unanswered(ends: Counter[End], *, interrupted: bool) -> list[str]:
    """Whether too few payments and cancellations were answered."""
    asked, unknown = sum(ends.values()) - ends[End.LEFT], ends[End.UNKNOWN]
    if interrupted or unknown <= asked * (1 - DECIDED_SHARE_MIN):
        return []
    return [f"{unknown:,} of {asked:,} payments and cancellations were not answered"]


def left_unchecked(requests: int, reserved: int, refused: int, unreached: int, maps: str | None, *, interrupted: bool) -> list[str]:
    """Why nobody can call it sound; nothing if one can. `maps`: why the server's maps were not compared."""
    decided = reserved + refused
    found = []
    if interrupted:
        found.append("interrupted: what was under way is not judged")
    elif maps:
        found.append(maps)
    if not reserved:
        found.append("nothing was sold")
    if not interrupted and decided < requests * DECIDED_SHARE_MIN:
        found.append(f"{requests - decided:,} of {requests:,} requests were not decided")
    if unreached:
        found.append(f"nobody answered for {unreached:,} ids when their decisions were asked for")
    return found
