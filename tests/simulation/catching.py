"""Looking for the seed that catches a planted bug."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache

import click

from tests.simulation import engine_mutants, kafka_mutants, life_mutants, role_mutants, rules_mutants
from tests.simulation.planting import Plant
from ticketmaster.simulation.simulation import KINDS, Outcome, Size, simulate

SIZE = Size(commands=150, faults=20, steps_max=200_000, rules=False)
KAFKA_SIZE = Size(commands=60, faults=14, steps_max=120_000, kafka=True, rules=False)
SEEDS_MAX = 40
MUTANTS = engine_mutants.MUTANTS | role_mutants.MUTANTS | life_mutants.MUTANTS | rules_mutants.MUTANTS
KAFKA_MUTANTS = kafka_mutants.MUTANTS
# Bugs that were there; planted back in, each is caught.
KAFKA_FOUND = kafka_mutants.FOUND
_PLANTS: dict[str, Plant] = MUTANTS | KAFKA_MUTANTS | KAFKA_FOUND
_SHOWN_BY = engine_mutants.SHOWN_BY | kafka_mutants.SHOWN_BY
# The seed that caught a bug last, where it was not the first: it is tried first. When the program changes, it may be another one.
_SEEN: dict[str, int] = {
    "a change that is refused counts as a revision": 1,
    "a change of an event is made whatever revision it names": 1,
    "only the gateway looks at windows": 8,
    "seats that come for a cancelled reservation are kept": 1,
    "a command is acknowledged before the log has it": 1,
    "nobody knows who holds a seat": 1,
    "a corrupted task is never mended": 1,
    "a damaged store is read as if it were whole": 1,
    "a commit whose outcome is unknown is sent again": 1,
    "a note that can't be written keeps a member from its partitions": 1,
    "offsets are committed outside the transaction": 13,
    "retention deletes what nobody has read": 5,
    "offsets are committed before the records": 5,
    "nobody is fenced": 6,
    "what is read ahead begins behind what is durable, whether that was read or not": 25,
    "an event that is announced again is new": 2,
    "a hold that was extended ends when it would have": 16,
    "the store is not told of an extension": 7,
    "anybody may cancel what is paid": 6,
    "a payment that comes after the end of the hold is made": 3,
    "a change is made outside of the transaction that passes it": 2,
    "a search does not go back to seats that came back": 22,
    "the closing of a window is nobody's matter": 9,
    "a user's seats are counted where the command is, not where the user's are": 2,
    "the reservations of a cancelled event end before the last one was looked at": 3,
    "a cancelled event keeps its seats": 3,
    "one partition is told of a cancelled event": 13,
    "an organiser is told that a change is made which was refused": 7,
    "a gateway overlooks the revision that a change names": 7,
    "areas that are not in memory do not hear of a change of their event": 2,
    "a reader begins a record too late": 1,
    "each producer has a transactional id of its own": 11,
    "offsets are committed in a transaction of their own": 5,
    "a batch that was refused is taken as written": 2,
    "an end that is not answered is taken as done": 14,
    "offsets are asked for without a write in front": 14,
    "whatever comes back is taken for what comes straight back": 11,
    "whoever claims to lead is asked where changelogs end": 19,
    "what is revoked is not awaited": 4,
    "one partition that can't be written fails all": 2,
}
# What a process dies of that calls a planted function with what it does not take.
_MISMADE = re.compile(r"died of (TypeError|AttributeError|NameError)")


def size_for(name: str) -> Size:
    """The size of a run that looks for a planted bug."""
    size = SIZE._replace(rules=name in rules_mutants.MUTANTS) if name in MUTANTS else KAFKA_SIZE
    kinds = _SHOWN_BY.get(name)
    return size._replace(without=tuple(kind for kind in KINDS if kind not in kinds)) if kinds else size


@cache
def _broken_without(seed: int, size: Size) -> list[str]:
    """The rules that a run without any planted bug breaks: many bugs ask for the same one."""
    return simulate(seed, size).violations


def catch(name: str, first: int = 0) -> Outcome | None:
    """A run that catches a planted bug; without it, the same seed must be sound."""
    size, seeds = size_for(name), range(first, first + SEEDS_MAX)
    likely = [seed for seed in (_SEEN.get(name),) if seed in seeds]
    for seed in dict.fromkeys([*likely, *seeds]):
        with _PLANTS[name]():
            outcome = simulate(seed, size)
        if broken := [text for text in outcome.violations if _MISMADE.search(text)]:
            raise AssertionError(f"the bug itself is made wrong: {broken[0]}")
        if outcome.violations:
            if found := _broken_without(seed, size):
                raise AssertionError(f"seed {seed} fails without any planted bug: {found}")
            return outcome
    return None


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(_PLANTS)))
def main(names: Sequence[str]) -> None:
    """Plant each bug, or those named, and print as JSON which seed caught it and what was seen."""
    caught = []
    for name in names or _PLANTS:
        outcome = catch(name)
        seen = {"seed": outcome.seed, "violation": outcome.violations[0]} if outcome else {"seed": None, "violation": ""}
        caught.append({"bug": name, **seen})
    click.echo(json.dumps({"commands_each": SIZE.commands, "faults_each": SIZE.faults, "seeds_max": SEEDS_MAX, "bugs": caught}, indent=2))


if __name__ == "__main__":
    main()
