"""The load client's judgement over replies and maps that are made up here, right and wrong ones."""

from __future__ import annotations

import uuid
from array import array

import msgspec
import pytest

from scripts.perf.spike_client.checks import (
    Comparison,
    SoldSeats,
    Violations,
    check_refusals,
    check_replies,
    compare_maps,
    in_the_end,
    unknown_seats,
)
from scripts.perf.spike_client.lives import FOREVER_US, SLACK_US, Held, Span, conflicts
from scripts.perf.spike_client.lives import answered as change_answered
from scripts.perf.spike_client.replies import End, Outcome, Replies, Seat, adjacent, empty, id_bytes
from scripts.perf.spike_client.transport import UnreachableError
from scripts.perf.spike_client.workload import Fate, Workload

AREAS, ROWS, COLS = 2, 3, 4


def answered(*requests: tuple[int, int, int, int]) -> tuple[Workload, Replies]:
    """RESERVED requests as (area, seats, first row, first col)."""
    workload = Workload(array("I", [area for area, *_ in requests]), bytes(seats for _, seats, *_ in requests))
    replies = empty(len(requests))
    for number, (_, _, row, col) in enumerate(requests):
        replies.outcomes[number] = Outcome.RESERVED
        replies.ids[16 * number : 16 * number + 16] = uuid.uuid4().bytes
        replies.first_rows[number], replies.first_cols[number] = row, col
    return workload, replies


def judge(*parts: tuple[Workload, Replies], interrupted: bool = False) -> tuple[Violations, SoldSeats]:
    sold = SoldSeats(AREAS, ROWS, COLS)
    violations = check_replies([workload for workload, _ in parts], [replies for _, replies in parts], sold, interrupted=interrupted)
    return violations, sold


def test_different_seats_and_equal_seats_of_different_areas_are_fine() -> None:
    violations, sold = judge(answered((0, 2, 0, 0), (0, 2, 0, 2)), answered((1, 2, 0, 0)))
    assert violations.total == 0
    assert sold.total == 6
    assert sold.rows_of(0) == ["####", "....", "...."]
    assert sold.rows_of(1) == ["##..", "....", "...."]


def test_a_seat_sold_by_two_workers_names_the_seat_and_both_ids() -> None:
    first, second = answered((1, 1, 2, 3)), answered((0, 1, 0, 0), (1, 2, 2, 2))
    violations, _ = judge(first, second)
    assert violations.texts == [f"area 1 seat (2, 3) was sold twice: to {first[1].id_text(0)} and to {second[1].id_text(1)}"]


def test_a_seat_twice_in_one_reply_is_sold_twice() -> None:
    workload, replies = answered((0, 2, 0, 0))
    replies.odd_seats[0] = [(1, 1), (1, 1)]
    violations, _ = judge((workload, replies))
    assert "area 0 seat (1, 1) was sold twice" in violations.texts[0]


@pytest.mark.parametrize("seat", [(-1, 0), (0, -1), (ROWS, 0), (0, COLS), (10**30, 0)])
def test_a_seat_that_does_not_exist_is_found(seat: tuple[int, int]) -> None:
    workload, replies = answered((0, 1, 0, 0))
    replies.odd_seats[0] = [seat]
    violations, sold = judge((workload, replies))
    assert "which area 0 does not have" in violations.texts[0]
    assert sold.total == 0


def test_an_id_that_is_handed_out_twice_is_found() -> None:
    first, second = answered((0, 1, 0, 0)), answered((0, 1, 0, 1))
    second[1].ids[:] = first[1].ids
    violations, _ = judge(first, second)
    assert violations.texts == [f"id {first[1].id_text(0)} was handed out twice"]


def test_an_undecided_id_is_lost_unless_the_spike_was_interrupted() -> None:
    workload, replies = answered((0, 1, 0, 0))
    replies.outcomes[0] = Outcome.UNDECIDED
    assert judge((workload, replies))[0].texts == [f"reservation {replies.id_text(0)} was accepted and never decided"]
    assert judge((workload, replies), interrupted=True)[0].total == 0


def test_requests_without_an_id_are_no_equal_ids() -> None:
    workload, replies = answered((0, 1, 0, 0), (0, 1, 0, 1), (0, 1, 0, 2))
    replies.outcomes[0], replies.outcomes[1], replies.outcomes[2] = Outcome.FAILED, Outcome.FAILED, Outcome.UNANSWERED
    replies.ids[:] = bytes(48)
    assert judge((workload, replies))[0].total == 0


def test_faulty_replies_count_even_where_they_are_not_told() -> None:
    workload, replies = answered((0, 1, 0, 0))
    for number in range(1_000):
        replies.fault(f"fault {number}")
    violations, _ = judge((workload, replies))
    assert violations.total == 1_000
    assert violations.texts[0] == "fault 0"
    assert len(violations.texts) == 20


def test_seats_are_adjacent_in_one_row_and_in_order_only() -> None:
    assert adjacent([Seat(1, 2)])
    assert adjacent([Seat(1, 2), Seat(1, 3), Seat(1, 4)])
    assert not adjacent([Seat(1, 2), Seat(1, 4)])
    assert not adjacent([Seat(1, 3), Seat(2, 0)])
    assert not adjacent([Seat(1, 3), Seat(1, 2)])
    assert not adjacent([Seat(1, 2), Seat(1, 2)])


def test_an_id_is_a_canonical_uuid_and_survives_its_packing() -> None:
    text = "0190f6a2-7b1c-7def-8123-456789abcdef"
    replies = empty(1)
    replies.ids[:] = id_bytes(text) or b""
    assert replies.id_text(0) == text
    for wrong in ("", text[:-1], text + "0", text.replace("-", "_"), "g" + text[1:], f'"{text[:34]}"', " " + text[1:], "é" + text[1:]):
        assert id_bytes(wrong) is None


class Maps:
    """A server's maps, as strings."""

    def __init__(self, *areas: list[str]) -> None:
        self.areas = list(areas)
        self.replies = 0
        self.settled: list[list[str]] = []

    def get(self, path: str) -> tuple[int, bytes]:
        self.replies += 1
        if "/area/" not in path:
            if self.settled and self.replies > 1:
                self.areas = self.settled
            areas = [
                {"areaId": str(name), "rowCount": len(rows), "colCount": len(rows[0]), "availableSeats": "".join(rows).count(".")}
                for name, rows in enumerate(self.areas)
            ]
            return 200, msgspec.json.encode({"areas": areas})
        rows = self.areas[int(path.rpartition("/")[2])]
        return 200, msgspec.json.encode({"rows": rows, "availableSeats": "".join(rows).count(".")})


class NoMaps:
    """A server that knows the event and no map."""

    def __init__(self, free: int) -> None:
        self.free = free

    def get(self, path: str) -> tuple[int, bytes]:
        area = {"areaId": "0", "rowCount": ROWS, "colCount": COLS, "availableSeats": self.free}
        return (404, b"") if "/area/" in path else (200, msgspec.json.encode({"areas": [area]}))


class Gone:
    """A server that went away."""

    def get(self, path: str) -> tuple[int, bytes]:
        raise UnreachableError("connection refused")


class Garbled:
    """A server that answers something else."""

    def get(self, path: str) -> tuple[int, bytes]:
        return 200, b"<html>"


def sold_seats() -> SoldSeats:
    _, sold = judge(answered((0, 2, 1, 1)))
    return sold


def compare(server: Maps | NoMaps | Gone | Garbled, *unknown: int, settle_s: float = 0.0) -> Comparison:
    return compare_maps(server, "an event", sold_seats(), unknown or (0, 0), settle_s=settle_s)


FREE = ["....", "....", "...."]
SOLD = ["....", ".##.", "...."]
MORE = ["#...", ".##.", "...."]
LESS = ["....", ".#..", "...."]


def test_equal_maps_agree() -> None:
    comparison = compare(Maps(SOLD, FREE))
    assert comparison.violations.total == 0
    assert comparison.text == "2 areas and 2 seat maps agree with the replies"
    assert comparison.unchecked is None
    assert comparison.free_runs == {0: 4, 1: 4}


def test_a_seat_that_was_sold_and_is_free_in_the_map_is_wrong_in_any_case() -> None:
    for unknown in (0, 100):
        comparison = compare(Maps(LESS, FREE), unknown, 0)
        assert "area 0 seat (1, 2) is free in the map, not so by the replies" in comparison.violations.texts
        assert "area 0 has 11 free seats in the event, 10 by the replies" in comparison.violations.texts


def test_a_taken_seat_that_nobody_got_is_wrong_unless_a_request_of_its_area_broke() -> None:
    assert "area 0 seat (0, 0) is taken in the map, not so by the replies" in compare(Maps(MORE, FREE)).violations.texts
    assert compare(Maps(MORE, FREE), 0, 4).violations.total
    comparison = compare(Maps(MORE, FREE), 1, 0)
    assert comparison.violations.total == 0
    assert "1 more seats are taken, by requests whose end nobody knows" in comparison.text


def test_no_more_seats_may_be_gone_than_the_broken_requests_asked_for() -> None:
    more = ["###.", ".##.", "...."]
    assert compare(Maps(more, FREE), 3, 0).violations.total == 0
    assert "area 0 has 7 free seats in the event, 10 by the replies" in compare(Maps(more, FREE), 2, 0).violations.texts
    assert "area 0 seat (0, 2) is taken in the map, not so by the replies" in compare(Maps(more, FREE), 2, 0).violations.texts


def test_what_may_be_taken_beyond_the_replies_is_what_broken_requests_asked_for() -> None:
    workload, replies = answered((0, 4, 0, 0), (0, 3, 0, 0), (1, 2, 0, 0), (1, 1, 0, 0), (1, 4, 0, 0))
    for number, outcome in enumerate((Outcome.RESERVED, Outcome.UNKNOWN, Outcome.UNDECIDED, Outcome.UNREACHED, Outcome.FAILED)):
        replies.outcomes[number] = outcome
    assert unknown_seats([workload], [replies], 2) == [3, 3]


def test_whoever_is_refused_what_is_free_in_the_end_was_refused_wrongly() -> None:
    workload, replies = answered((0, 3, 0, 0), (0, 4, 0, 0), (1, 3, 0, 0))
    replies.outcomes[:] = bytes([Outcome.REFUSED] * 3)
    violations = Violations()
    check_refusals([workload], [replies], {0: 3}, violations)
    assert violations.texts == [f"reservation {replies.id_text(0)} was refused 3 seats of area 0, which has 3 free ones side by side"]


def test_maps_may_lag_a_little_behind_the_decisions() -> None:
    server = Maps(FREE, FREE)
    server.settled = [SOLD, FREE]
    assert compare(server, settle_s=5).violations.total == 0


def test_a_missing_area_and_a_wrong_size_are_found() -> None:
    assert compare(Maps(SOLD)).violations.texts == ["area 1 is not in the event as it was created"]
    assert compare(Maps([*SOLD, "...."], FREE)).violations.texts == ["area 0 is not in the event as it was created"]


def test_without_seat_maps_the_free_seats_are_compared_and_nothing_is_sound() -> None:
    comparison = compare(NoMaps(10), 0)
    assert comparison.text == "not checked: 1 areas agree; GET /v1/event/an%20event/area/0 answers 404"
    assert comparison.unchecked
    assert compare(NoMaps(9), 0).violations.texts == ["area 0 has 9 free seats in the event, 10 by the replies"]


def test_a_server_that_is_gone_is_not_compared() -> None:
    comparison = compare(Gone())
    assert (comparison.text, comparison.violations.total) == ("not checked: connection refused", 0)
    assert comparison.unchecked == "the maps were not checked: connection refused"


def test_a_garbled_map_is_a_violation() -> None:
    assert compare(Garbled()).violations.total == 1


# --- The whole life ------------------------------------------------------------------------------------------------------------

SECOND_US = 1_000_000
HOLD_US = 10 * SECOND_US


def lived(*requests: tuple[float, float, Fate, End]) -> tuple[Workload, Replies]:
    """RESERVED requests for one seat, all the same one, as (asked at, decided at, fate, end), in seconds."""
    workload, replies = answered(*[(0, 1, 0, 0)] * len(requests))
    for number, (asked_s, decided_s, _, end) in enumerate(requests):
        replies.decided_at_us[number] = int(decided_s * SECOND_US)
        replies.decision_us[number] = int((decided_s - asked_s) * SECOND_US)
        replies.ends[number] = end
    return Workload(workload.areas, workload.seats, bytes(fate for _, _, fate, _ in requests)), replies


def twice(*requests: tuple[float, float, Fate, End], held_us: int | None = HOLD_US) -> int:
    """How often the seat was sold too early."""
    part = lived(*requests)
    return check_replies([part[0]], [part[1]], SoldSeats(AREAS, ROWS, COLS), held_us, interrupted=False).total


LEFT, PAID, CANCELLED = (Fate.LEAVE, End.LEFT), (Fate.PAY, End.PAID), (Fate.CANCEL, End.CANCELLED)
TOO_LATE, NOT_ANSWERED = (Fate.PAY, End.EXPIRED), (Fate.PAY, End.UNKNOWN)


@pytest.mark.parametrize(
    "requests",
    [
        [(0, 1, *LEFT), (9, 10, *LEFT), (19, 21, *PAID)],
        [(0, 1, *CANCELLED), (1, 1.1, *CANCELLED), (1.1, 1.2, *PAID)],
        [(0, 1, *TOO_LATE), (9, 10, *PAID)],
        [(0, 1, *NOT_ANSWERED), (9, 10, *PAID)],
        # Its decision was told so late that its hold was over then.
        [(0, 12, *LEFT), (10, 11, *PAID)],
        # A hold that may have ended a little before, as the clocks are.
        [(0, 1, *LEFT), (9, 10 - SLACK_US / SECOND_US, *PAID)],
    ],
)
def test_a_seat_may_be_sold_again_once_it_can_have_been_given_back(requests: list[tuple[float, float, Fate, End]]) -> None:
    assert twice(*requests) == 0
    assert twice(*reversed(requests)) == 0


@pytest.mark.parametrize(
    "requests",
    [
        [(0, 1, *LEFT), (8, 9, *LEFT)],
        [(0, 1, *PAID), (20, 21, *LEFT)],
        [(0, 1, *PAID), (20, 21, *CANCELLED)],
        [(0, 1, *PAID), (20, 21, *PAID)],
        [(0, 1, *NOT_ANSWERED), (8, 9, *PAID)],
        [(0, 1, *TOO_LATE), (8, 9, *PAID)],
        [(0, 1, *LEFT), (5, 6, *CANCELLED)],
        # The first two go together, the third with neither.
        [(0, 1, *CANCELLED), (1, 2, *PAID), (2, 3, *CANCELLED)],
    ],
)
def test_a_seat_that_is_sold_again_while_it_is_held_or_paid_is_found(requests: list[tuple[float, float, Fate, End]]) -> None:
    assert twice(*requests) == 1
    assert twice(*reversed(requests)) == 1


def test_without_holds_only_cancelled_seats_may_be_sold_again() -> None:
    assert twice((0, 1, *CANCELLED), (100, 101, *LEFT), held_us=None) == 0
    assert twice((0, 1, *LEFT), (100, 101, *LEFT), held_us=None) == 1
    assert twice((0, 1, *NOT_ANSWERED), (100, 101, *LEFT), held_us=None) == 1


def test_a_seat_that_was_sold_many_times_is_judged_in_a_moment() -> None:
    spans = [Span(number, number, number + 1) for number in range(100_000)]
    assert list(conflicts(spans)) == []
    assert list(conflicts([*spans, Span(50_000, FOREVER_US, 200_000)])) != []


def test_in_the_end_paid_seats_are_taken_and_all_others_free() -> None:
    requests = [LEFT, PAID, CANCELLED, TOO_LATE, NOT_ANSWERED]
    workload, replies = lived(*[(0.0, 1.0, *request) for request in requests])
    for number in range(len(requests)):
        replies.first_rows[number], replies.first_cols[number] = divmod(number, COLS)

    def left(at_s: float) -> tuple[list[str], list[int], set[int]]:
        at_us = int(at_s * SECOND_US)
        found = in_the_end([workload], [replies], SoldSeats(AREAS, ROWS, COLS), HOLD_US, at_us, at_us + SECOND_US)
        return found.held.rows_of(0), found.unknown, found.given_back

    assert left(11) == ([".#..", "....", "...."], [1, 0], {0})
    # While holds are open they are taken; while they end, nobody knows.
    assert left(2) == (["##..", "....", "...."], [1, 0], {0})
    assert left(10) == ([".#..", "....", "...."], [2, 0], {0})


@pytest.mark.parametrize(
    ("fate", "held_s", "status", "code", "state", "end", "told"),
    [
        (Fate.PAY, 1, 200, "", "PAID", End.PAID, ""),
        (Fate.CANCEL, 1, 200, "", "CANCELLED", End.CANCELLED, ""),
        (Fate.PAY, 10, 409, "hold_expired", "", End.EXPIRED, ""),
        (Fate.PAY, 9, 409, "hold_expired", "", End.UNKNOWN, "its hold ended 9.000 s after it was asked for, too early"),
        (Fate.CANCEL, 10, 409, "hold_expired", "", End.UNKNOWN, "CANCEL answered 409 hold_expired"),
        (Fate.PAY, 10, 409, "reservation_failed", "", End.UNKNOWN, "PAY answered 409 reservation_failed"),
        (Fate.PAY, 1, 404, "", "", End.UNKNOWN, "PAY answered 404"),
        (Fate.PAY, 1, 200, "", "RESERVED", End.UNKNOWN, "PAY is answered by 200 with the state RESERVED"),
        (Fate.PAY, 1, 200, "", "CANCELLED", End.UNKNOWN, "PAY is answered by 200 with the state CANCELLED"),
        (Fate.CANCEL, 1, 200, "", "PAID", End.UNKNOWN, "CANCEL is answered by 200 with the state PAID"),
    ],
)
def test_an_answer_to_a_change_is_what_was_asked_for_or_an_allowed_refusal(
    fate: Fate, held_s: int, status: int, code: str, state: str, end: End, told: str
) -> None:
    fields = {"reservationId": "1", "eventId": "e", "areaId": "0", "numOfSeats": 1, "type": "RANDOM", "seats": [], "state": state}
    held = Held(fate, held_s * SECOND_US, HOLD_US)
    assert change_answered(held, status, code, msgspec.json.encode(fields), "1") == (end, told)


def test_a_change_that_is_answered_by_another_reservation_is_found() -> None:
    fields = {"reservationId": "2", "eventId": "e", "areaId": "0", "numOfSeats": 1, "type": "RANDOM", "seats": [], "state": "PAID"}
    end, told = change_answered(Held(Fate.PAY, 0, None), 200, "", msgspec.json.encode(fields), "1")
    assert (end, told) == (End.UNKNOWN, "PAY is answered by reservation 2")
    assert change_answered(Held(Fate.PAY, 0, None), 200, "", b"<html>", "1")[1].startswith("malformed reply to PAY")
    # Without a hold nothing expires.
    assert change_answered(Held(Fate.PAY, 10**12, None), 409, "hold_expired", b"", "1")[1].endswith("too early")
