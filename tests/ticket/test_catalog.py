"""Events and areas as the gateway shows them."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from tests.support.records import area_status
from ticketmaster.ticket import catalog as catalogs
from ticketmaster.ticket.bodies import AreaView, EventList, EventSummary, EventView, Page, SeatMapView
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.renderings import Rendered
from ticketmaster.wire.area_status import AreaImage

V = TypeVar("V")


def read(document: Rendered | None, kind: type[V]) -> V:
    """What a document says."""
    assert document
    return msgspec.json.decode(document.body, type=kind)


def listed(catalog: Catalog, page: Page) -> EventList:
    return read(catalog.list_events(page), EventList)


def catalog_of(*areas: tuple[str, str]) -> Catalog:
    """A catalog of areas of 2 x 3 seats."""
    catalog = Catalog(lambda: True)
    catalog.apply([(f"{event}#{area}".encode(), area_status(2, 3, event=event, area=area)) for event, area in areas])
    return catalog


def test_an_empty_catalog_has_nothing_to_show() -> None:
    catalog = Catalog(lambda: True)

    assert listed(catalog, Page(10, "")) == EventList([], None)
    assert catalog.event("show") is None
    assert catalog.seat_map("show", "A") is None
    assert not catalog.has_areas("show", [])


def test_an_event_has_its_areas_in_the_order_of_their_ids() -> None:
    catalog = Catalog(lambda: True)
    catalog.apply([(b"show#B", area_status(1, 2, {(0, 1)}, price=80, area="B")), (b"show#A", area_status(3, 4, price=1_200))])

    assert read(catalog.event("show"), EventView) == EventView("show", 14, 13, [AreaView("A", 1_200, 3, 4, 12), AreaView("B", 80, 1, 2, 1)])
    assert catalog.event("shown") is None


def test_a_newer_status_replaces_the_last_one() -> None:
    catalog = catalog_of(("show", "A"), ("show", "B"))

    catalog.apply([(b"show#A", area_status(2, 3, {(0, 0)})), (b"show#A", area_status(2, 3, {(0, 0), (1, 2)}))])

    assert listed(catalog, Page(10, "")) == EventList([EventSummary("show", 2, 12, 10)], None)
    assert read(catalog.seat_map("show", "A"), SeatMapView) == SeatMapView("show", "A", 10, 2, 3, 4, ["#..", "..#"])
    assert read(catalog.seat_map("show", "B"), SeatMapView) == SeatMapView("show", "B", 10, 2, 3, 6, ["...", "..."])
    assert catalog.seat_map("show", "C") is None


def test_a_tombstone_changes_nothing() -> None:
    catalog = catalog_of(("show", "A"))

    catalog.apply([(b"show#A", None), (b"other#A", None)])

    assert catalog.has_areas("show", ["A"])
    assert catalog.event("other") is None


def test_names_may_hold_anything_an_event_name_may_not() -> None:
    catalog = catalog_of(("zoë 東京", "A#1"), ("zoë 東京", "/"))

    assert catalog.has_areas("zoë 東京", ["A#1", "/"])
    assert not catalog.has_areas("zoë 東京", ["A#1", "A"])
    view = read(catalog.seat_map("zoë 東京", "A#1"), SeatMapView)
    assert (view.eventId, view.areaId) == ("zoë 東京", "A#1")


def test_events_are_listed_in_the_order_of_their_names_page_by_page() -> None:
    names = ["delta", "alpha", "echo", "bravo", "charlie"]
    catalog = catalog_of(*((name, "A") for name in names))
    pages = []
    after: str | None = ""
    while after is not None:
        page = listed(catalog, Page(2, after))
        pages.append([event.eventName for event in page.events])
        after = page.next

    assert pages == [["alpha", "bravo"], ["charlie", "delta"], ["echo"]]


def test_the_last_page_has_no_next_one_even_when_it_is_full() -> None:
    catalog = catalog_of(("a", "A"), ("b", "A"))

    assert listed(catalog, Page(2, "")).next is None
    assert listed(catalog, Page(1, "")).next == "a"
    assert listed(catalog, Page(1, "a")).next is None
    assert listed(catalog, Page(1, "b")) == EventList([], None)


def test_a_page_may_begin_behind_a_name_that_does_not_exist() -> None:
    catalog = catalog_of(("a", "A"), ("c", "A"))

    assert [event.eventName for event in listed(catalog, Page(5, "b")).events] == ["c"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every status that a catalog has read the seats of."""
    values: list[bytes] = []

    class Noted(AreaImage):
        @classmethod
        def parse(cls, value: bytes):  # type: ignore[no-untyped-def] # noqa: ANN206 - as AreaImage's
            values.append(value)
            return AreaImage.parse(value)

    monkeypatch.setattr(catalogs, "AreaImage", Noted)
    return values


def test_a_seat_map_is_rendered_once_a_version_however_many_ask(parsed: list[bytes]) -> None:
    catalog = catalog_of(("show", "A"), ("show", "B"))

    first = [catalog.seat_map("show", "A") for _ in range(100)]
    # Another area's seats are another map.
    catalog.apply([(b"show#B", area_status(2, 3, {(0, 0)}, area="B"))])
    same = catalog.seat_map("show", "A")
    catalog.apply([(b"show#A", area_status(2, 3, {(0, 0)}))])
    changed = [catalog.seat_map("show", "A") for _ in range(100)]

    assert len(parsed) == 2
    assert all(one is first[0] for one in [*first, same])
    assert all(one is changed[0] for one in changed)
    assert first[0]
    assert changed[0]
    assert first[0].tag != changed[0].tag


def test_events_and_their_list_are_rendered_anew_when_one_of_their_areas_has_changed() -> None:
    catalog = catalog_of(("show", "A"), ("other", "A"))
    show, other, page = catalog.event("show"), catalog.event("other"), catalog.list_events(Page(10, ""))
    assert catalog.event("show") is show
    assert catalog.list_events(Page(10, "")) is page

    catalog.apply([(b"show#A", area_status(2, 3, {(0, 0)}))])

    assert catalog.event("other") is other
    assert read(catalog.event("show"), EventView).availableSeats == 5
    assert [event.availableSeats for event in listed(catalog, Page(10, "")).events] == [6, 5]


def test_the_same_seats_have_the_same_tag_in_every_process() -> None:
    one, other = catalog_of(("show", "A")).seat_map("show", "A"), catalog_of(("before", "A"), ("show", "A")).seat_map("show", "A")

    assert one
    assert one == other
