"""The books of a sale: sound ones close without a finding, and each way in which they can be wrong is found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.records import Seat, area_status, create_reservation, success
from ticketmaster.audit.books import Books
from ticketmaster.wire.reservations import decided, failed_at_once, processing


def reserved(key: bytes, seats: Sequence[Seat], *, area: str = "A") -> bytes:
    """A reservation that has seats."""
    value = decided(processing(key, create_reservation(count=len(seats), area=area)), success(key.decode(), seats))
    assert value is not None
    return value


class Sale:
    """The records of a sound sale of 2 x 2 seats: two reservations of a seat each, and one that failed."""

    def __init__(self) -> None:
        self.commands = [(key, create_reservation()) for key in (b"r1", b"r2", b"r3")]
        self.decisions = [(b"r1", reserved(b"r1", [(0, 0)])), (b"r2", reserved(b"r2", [(1, 1)]))]
        self.decisions.append((b"r3", failed_at_once(b"r3", create_reservation(), "no")))
        self.areas = [(b"show#A", area_status(2, 2)), (b"show#A", area_status(2, 2, {(0, 0), (1, 1)}))]
        self.area_changelog = list(self.areas)
        self.changelog = [(b"r1", processing(b"r1", create_reservation())), *self.decisions]

    def findings(self) -> list[str]:
        books = Books()
        books.add_commands(self.commands)
        books.add_decisions(self.decisions)
        books.add_areas(self.areas)
        books.add_area_changelog(self.area_changelog)
        books.add_reservation_changelog(self.changelog)
        report = books.close()
        self.totals, found = report.totals, report.findings
        assert all(finding.times >= len(finding.examples) >= 1 for finding in found)
        return [finding.rule for finding in found]


@pytest.fixture
def sale() -> Sale:
    return Sale()


def test_sound_books_close_without_a_finding(sale: Sale) -> None:
    assert sale.findings() == []
    assert sale.totals == (3, 0, 0, 3, 2, 1, 0, 1, 2)


def test_a_command_without_a_decision_is_found(sale: Sale) -> None:
    sale.commands.append((b"r4", create_reservation()))

    assert sale.findings() == ["a command has no decision"]


@pytest.mark.parametrize("poison", [(b"r4", b"\x00nonsense"), (b"r4", b""), (b"", create_reservation())])
def test_a_command_that_nobody_can_read_needs_no_decision(sale: Sale, poison: tuple[bytes, bytes]) -> None:
    sale.commands.append(poison)

    assert sale.findings() == []
    assert (sale.totals.commands, sale.totals.unreadable) == (4, 1)


def test_a_decision_of_another_schema_is_found(sale: Sale) -> None:
    sale.decisions[2] = sale.changelog[3] = (b"r3", b"\x00\x00\x00\x00\x63" + sale.decisions[2][1][5:])

    assert sale.findings() == ["a record can't be read"]


def test_a_second_decision_is_found_even_if_it_is_the_same(sale: Sale) -> None:
    sale.decisions.append(sale.decisions[0])

    assert sale.findings() == ["a reservation was decided more than once"]


def test_a_seat_that_two_reservations_have_is_found(sale: Sale) -> None:
    sale.decisions[1] = sale.changelog[2] = (b"r2", reserved(b"r2", [(0, 0)]))

    assert sale.findings() == ["a seat is in two live reservations", "the seats gone from an area are not those of its live reservations"]


@pytest.mark.parametrize("taken", [set(), {(0, 0)}, {(0, 0), (1, 1), (0, 1)}])
def test_seats_gone_that_are_not_those_reserved_are_found(sale: Sale, taken: set[Seat]) -> None:
    sale.areas.append((b"show#A", area_status(2, 2, taken)))
    sale.area_changelog.append(sale.areas[-1])

    assert sale.findings() == ["the seats gone from an area are not those of its live reservations"]


def test_a_reservation_of_an_area_that_is_not_there_is_found(sale: Sale) -> None:
    sale.decisions.append((b"r4", reserved(b"r4", [(0, 0)], area="nowhere")))
    sale.changelog.append(sale.decisions[-1])

    assert sale.findings() == ["the seats gone from an area are not those of its live reservations"]


def test_copies_that_differ_are_found(sale: Sale) -> None:
    sale.area_changelog.pop()
    sale.changelog.pop()

    assert sale.findings() == [
        "an area's last status is not what the event role has in its changelog",
        "a decision is not what the reservation role has in its changelog",
    ]


def test_records_that_cant_be_read_are_found(sale: Sale) -> None:
    sale.decisions[2] = sale.changelog[3] = (b"r3", b"rubbish")

    assert sale.findings() == ["a record can't be read"]
