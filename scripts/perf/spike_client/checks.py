"""Whether the replies are right: distinct ids, every one decided, no seat sold twice, the same seats taken in the server's maps."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from scripts.perf.spike_client import lives
from scripts.perf.spike_client.lives import AtTheEnd
from scripts.perf.spike_client.replies import ID_BYTES, MAY_HAVE_TAKEN, WITHOUT_ID, End, Outcome, Replies
from scripts.perf.spike_client.transport import UnreachableError
from scripts.perf.spike_client.workload import Workload

VIOLATIONS_MAX = 20
# The maps are read from a state that follows the decisions; this is how long it may lag behind.
SETTLE_S = 5.0
SETTLE_PAUSE_S = 0.1


class Area(msgspec.Struct):
    """An area in the reply to GET /v1/event/{event}."""

    areaId: str  # noqa: N815 - names on the wire
    rowCount: int  # noqa: N815
    colCount: int  # noqa: N815
    availableSeats: int  # noqa: N815


class Event(msgspec.Struct):
    """The reply to GET /v1/event/{event}."""

    areas: list[Area]


class AreaMap(msgspec.Struct):
    """The reply to GET /v1/event/{event}/area/{areaId}: '.' is free, '#' is taken."""

    availableSeats: int  # noqa: N815
    rows: list[str]


class Reader(Protocol):
    """Reads the server's routes."""

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; raises `UnreachableError`."""


@dataclass(slots=True)
class Violations:
    """What must never happen: all are counted, the first ones are told."""

    texts: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, text: str) -> None:
        """Note one."""
        self.total += 1
        if len(self.texts) < VIOLATIONS_MAX:
            self.texts.append(text)

    def extend(self, others: Violations) -> None:
        """Note all of another list."""
        self.texts += others.texts[: max(0, VIOLATIONS_MAX - len(self.texts))]
        self.total += others.total


class SoldSeats:
    """The owners of an event's seats by the replies: per area one number a seat, that of its first owner, 0 without one.

    `resold` has all owners of a seat that was sold again, by area and place.
    """

    def __init__(self, areas: int, rows: int, cols: int) -> None:
        self.areas = areas
        self.rows = rows
        self.cols = cols
        self.total = 0
        self.resold: dict[tuple[int, int], list[int]] = {}
        self._owners = [array("I", bytes(4 * rows * cols)) for _ in range(areas)]

    def sell(self, area: int, row: int, col: int, owner: int) -> int | None:
        """Give a seat to an owner (> 0). The one who had it already, 0 if it was free, None if there is no such seat."""
        if not (0 <= row < self.rows and 0 <= col < self.cols):
            return None
        place = row * self.cols + col
        before = self._owners[area][place]
        if not before:
            self._owners[area][place] = owner
            self.total += 1
        else:
            self.resold.setdefault((area, place), [before]).append(owner)
        return before

    def rows_of(self, area: int) -> list[str]:
        """The area's map as the server would write it."""
        flat = "".join("#" if owner else "." for owner in self._owners[area])
        return [flat[start : start + self.cols] for start in range(0, len(flat), self.cols)]


def seats_of(number: int, workload: Workload, replies: Replies) -> list[tuple[int, int]]:
    """The seats that a RESERVED request got."""
    if number in replies.odd_seats:
        return replies.odd_seats[number]
    row, col = replies.first_rows[number], replies.first_cols[number]
    return [(row, col + offset) for offset in range(workload.seats[number])]


def check_ids(parts: list[Replies], violations: Violations, *, interrupted: bool) -> None:
    """Every id is distinct; every one is decided, unless the spike was interrupted."""
    seen: set[bytes] = set()
    for replies in parts:
        for number, outcome in enumerate(replies.outcomes):
            if outcome in WITHOUT_ID:
                continue
            value = bytes(replies.ids[ID_BYTES * number : ID_BYTES * (number + 1)])
            if value in seen:
                violations.add(f"id {replies.id_text(number)} was handed out twice")
            seen.add(value)
            if outcome == Outcome.UNDECIDED and not interrupted:
                violations.add(f"reservation {replies.id_text(number)} was accepted and never decided")


def reserved(parts: list[Replies]) -> Iterator[tuple[int, int, int]]:
    """Worker, number and owner of each reserved request: owner n + 1 is request `n // workers` of worker `n % workers`."""
    for worker, replies in enumerate(parts):
        for number, outcome in enumerate(replies.outcomes):
            if outcome == Outcome.RESERVED:
                yield worker, number, number * len(parts) + worker + 1


def sell_all(shares: list[Workload], parts: list[Replies], sold: SoldSeats, held_us: int | None, violations: Violations) -> None:
    """Put every sold seat where it belongs, and find those that were sold before they can have been given back."""
    for worker, number, owner in reserved(parts):
        area = shares[worker].areas[number]
        for row, col in seats_of(number, shares[worker], parts[worker]):
            if sold.sell(area, row, col, owner) is None:
                name = parts[worker].id_text(number)
                violations.add(f"reservation {name} got seat ({row}, {col}), which area {area} does not have")

    def span(owner: int) -> lives.Span:
        number, worker = divmod(owner - 1, len(parts))
        return lives.span(parts[worker], number, owner, shares[worker].fate(number), held_us)

    def told(owner: int) -> str:
        number, worker = divmod(owner - 1, len(parts))
        end = parts[worker].ends[number]
        return parts[worker].id_text(number) + (f" ({End(end).name})" if end else "")

    for (area, place), owners in sold.resold.items():
        row, col = divmod(place, sold.cols)
        for one, other in lives.conflicts([span(owner) for owner in owners]):
            violations.add(f"area {area} seat ({row}, {col}) was sold twice: to {told(one)} and to {told(other)}")


def check_replies(
    shares: list[Workload], parts: list[Replies], sold: SoldSeats, held_us: int | None = None, *, interrupted: bool
) -> Violations:
    """Everything that the replies alone can show; seats are held for so long, if not for ever."""
    violations = Violations()
    for replies in parts:
        for text in replies.faults:
            violations.add(text)
        violations.total += replies.faults_total - len(replies.faults)
    check_ids(parts, violations, interrupted=interrupted)
    sell_all(shares, parts, sold, held_us, violations)
    return violations


class InTheEnd(NamedTuple):
    """The maps as they should be: seats that are taken, of each area how many more may be, and the areas that got seats back."""

    held: SoldSeats
    unknown: list[int]
    given_back: set[int]


def in_the_end(shares: list[Workload], parts: list[Replies], sold: SoldSeats, held_us: int | None, from_us: int, until_us: int) -> InTheEnd:
    """The seats that are taken while the maps are compared, from one time to another after the start."""
    areas = len(unknown := unknown_seats(shares, parts, sold.areas))
    held, given_back = SoldSeats(areas, sold.rows, sold.cols), set[int]()
    for worker, number, owner in reserved(parts):
        workload, replies = shares[worker], parts[worker]
        area, stands = workload.areas[number], lives.at_the_end(replies, number, held_us, from_us, until_us)
        if stands is not AtTheEnd.TAKEN:
            given_back.add(area)
            unknown[area] += workload.seats[number] if stands is AtTheEnd.UNKNOWN else 0
            continue
        for row, col in seats_of(number, workload, replies):
            held.sell(area, row, col, owner)
    return InTheEnd(held, unknown, given_back)


@dataclass(slots=True)
class Comparison:
    """The server's maps against the replies: what was found, what of it is wrong, and why not if it was not compared.

    `free_runs` is of each area the longest run of free seats in its map, so far as there are maps.
    """

    text: str
    violations: Violations = field(default_factory=Violations)
    unchecked: str | None = None
    free_runs: dict[int, int] = field(default_factory=dict)


def not_compared(why: str) -> Comparison:
    """Nobody knows whether the maps are right."""
    return Comparison(f"not checked: {why}", unchecked=f"the maps were not checked: {why}")


def unknown_seats(shares: list[Workload], parts: list[Replies], areas: int) -> list[int]:
    """Of each area, how many seats may be taken beyond what the replies say: those of requests whose end nobody knows."""
    seats = [0] * areas
    for workload, replies in zip(shares, parts, strict=True):
        for number, outcome in enumerate(replies.outcomes):
            if outcome in MAY_HAVE_TAKEN:
                seats[workload.areas[number]] += workload.seats[number]
    return seats


def check_refusals(shares: list[Workload], parts: list[Replies], free_runs: dict[int, int], violations: Violations) -> None:
    """Nobody was refused what is still free: where no seat was given back, those that are free in the end were free all the time."""
    for workload, replies in zip(shares, parts, strict=True):
        for number, outcome in enumerate(replies.outcomes):
            area, asked = workload.areas[number], workload.seats[number]
            if outcome == Outcome.REFUSED and asked <= free_runs.get(area, 0):
                what = f"{asked} seats of area {area}, which has {free_runs[area]} free ones side by side"
                violations.add(f"reservation {replies.id_text(number)} was refused {what}")


def compare_maps(reader: Reader, event: str, sold: SoldSeats, unknown: Sequence[int], *, settle_s: float = SETTLE_S) -> Comparison:
    """Compare until the maps agree or have had the time to.

    `unknown`: of each area, how many more seats may be taken than the replies say, by requests whose end nobody knows.
    """
    deadline_s = time.monotonic() + settle_s
    while True:
        try:
            comparison = compare_once(reader, event, sold, unknown)
        except UnreachableError as error:
            comparison = not_compared(str(error))
        except msgspec.MsgspecError as error:
            return Comparison("malformed", Violations([f"the event or the map of an area is malformed: {error}"], 1))
        if not (comparison.violations.total or comparison.unchecked) or time.monotonic() >= deadline_s:
            return comparison
        time.sleep(SETTLE_PAUSE_S)


def compare_once(reader: Reader, event: str, sold: SoldSeats, unknown: Sequence[int]) -> Comparison:
    """One pass over the event and each area's map."""
    path = f"/v1/event/{quote(event, safe='')}"
    status, body = reader.get(path)
    if status != 200:
        return not_compared(f"GET {path} answers {status}")
    available = {area.areaId: area for area in msgspec.json.decode(body, type=Event).areas}
    wrong, extra, free_runs, missing = Violations(), 0, dict[int, int](), dict[int, int]()
    for number, allowed in enumerate(unknown):
        name, expected = str(number), sold.rows_of(number)
        free = sum(row.count(".") for row in expected)
        area = available.get(name)
        if area is None or (area.rowCount, area.colCount) != (sold.rows, sold.cols):
            wrong.add(f"area {name} is not in the event as it was created")
            continue
        if not free - allowed <= area.availableSeats <= free:
            wrong.add(f"area {name} has {area.availableSeats} free seats in the event, {free} by the replies")
        status, body = reader.get(f"{path}/area/{name}")
        if status != 200:
            missing[number] = status
            continue
        found = msgspec.json.decode(body, type=AreaMap)
        extra += compare_area(name, expected, found, allowed, wrong)
        free_runs[number] = max((len(run) for row in found.rows for run in row.split("#")), default=0)
    if wrong.total:
        return Comparison("disagree with the replies", wrong, free_runs=free_runs)
    if missing:
        number, status = next(iter(missing.items()))
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return not_compared(f"{len(unknown)} areas agree; GET {path}/area/{number} answers {status}{more}")
    told = f"; {extra} more seats are taken, by requests whose end nobody knows" if extra else ""
    return Comparison(f"{len(unknown)} areas and {len(free_runs)} seat maps agree with the replies{told}", free_runs=free_runs)


def compare_area(name: str, expected: list[str], found: AreaMap, allowed: int, wrong: Violations) -> int:
    """One area's map; how many seats are taken there beyond the replies, of which so many are allowed."""
    if found.availableSeats != sum(row.count(".") for row in found.rows):
        wrong.add(f"area {name} says {found.availableSeats} free seats and shows another number")
    differences = list(map_differences(expected, found.rows))
    extra = sum(taken for _, _, taken in differences)
    for row, col, taken in differences:
        if not taken or extra > allowed:
            wrong.add(f"area {name} seat ({row}, {col}) is {'taken' if taken else 'free'} in the map, not so by the replies")
    return extra


def map_differences(expected: list[str], found: list[str]) -> Iterator[tuple[int, int, bool]]:
    """Row, column and whether it is taken in the found map, of each seat that differs; a missing seat counts as free."""
    for row in range(max(len(expected), len(found))):
        left = expected[row] if row < len(expected) else ""
        right = found[row] if row < len(found) else ""
        if left != right:
            for col in range(max(len(left), len(right))):
                if left[col : col + 1] != right[col : col + 1]:
                    yield row, col, right[col : col + 1] == "#"
