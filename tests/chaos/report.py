"""What a run has come to: a table for people, JSON for machines."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What one fault has cost, in seconds, and what it broke, if anything."""

    number: int
    kind: str
    # The longest time in which nobody got a decision.
    unavailable_s: float
    # The longest that one buyer took from his first try to the decision.
    wait_s: float
    # How long a ticket process, running or starting, did not say that all is well.
    unhealthy_s: float
    violation: str = ""


@dataclass
class Report:
    """Grows with the run."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    process_kills: int = 0
    broker_kills: int = 0
    acknowledged: int = 0
    decided: int = 0
    seconds: float = 0.0
    # One for each leg: whether it was sound, and its totals.
    audits: list[dict[str, Any]] = field(default_factory=list)
    # What did not add up at the end of a leg, whichever of its faults did it.
    violations: list[str] = field(default_factory=list)
    # Kinds that could not be tried here, and why.
    skipped: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def kinds(self) -> dict[str, dict[str, Any]]:
        """By kind: how often, how bad; seconds."""
        by_kind: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            by_kind[outcome.kind].append(outcome)
        return {
            kind: {
                "times": len(found),
                "unavailable_s_max": round(max(one.unavailable_s for one in found), 2),
                "unavailable_s_median": round(median(one.unavailable_s for one in found), 2),
                "wait_s_max": round(max(one.wait_s for one in found), 2),
                "unhealthy_s_max": round(max(one.unhealthy_s for one in found), 2),
                "violations": sum(bool(one.violation) for one in found),
            }
            for kind, found in sorted(by_kind.items())
        }

    def as_json(self) -> dict[str, Any]:
        """The whole of it."""
        return {
            "seed": self.seed,
            "faults": len(self.outcomes),
            "legs": len(self.audits),
            "seconds": round(self.seconds, 1),
            "process_kills": self.process_kills,
            "broker_kills": self.broker_kills,
            "acknowledged": self.acknowledged,
            "decided": self.decided,
            "violations": [*self.violations, *(f"{one.number} {one.kind}: {one.violation}" for one in self.outcomes if one.violation)],
            "audits": self.audits,
            "kinds": self.kinds(),
            "notes": dict(sorted(self.notes.items())),
            "skipped": self.skipped,
        }

    def text(self) -> str:
        """The same as a table."""
        head = f"{'fault':<45}{'times':>6}{'longest':>9}{'median':>9}{'wait':>9}{'not well':>9}{'violations':>12}"
        rows = [
            f"{kind:<45}{row['times']:>6}{row['unavailable_s_max']:>9.2f}{row['unavailable_s_median']:>9.2f}"
            f"{row['wait_s_max']:>9.2f}{row['unhealthy_s_max']:>9.2f}{row['violations']:>12}"
            for kind, row in self.kinds().items()
        ]
        data = self.as_json()
        totals = [
            f"{name.replace('_', ' ')}: {data[name]}" for name in ("seed", "faults", "legs", "seconds", "process_kills", "broker_kills")
        ]
        totals += [f"acknowledged: {self.acknowledged}", f"decided: {self.decided}", f"violations: {len(data['violations'])}"]
        others = [f"{times} × {note}" for note, times in sorted(self.notes.items())]
        others += [f"left out: {kind}: {reason}" for kind, reason in self.skipped.items()]
        return "\n".join([head, *rows, ", ".join(totals), *others])
