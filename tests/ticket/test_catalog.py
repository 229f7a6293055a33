"""Events and areas as the gateway shows them."""

from __future__ import annotations

from tests.support.records import area_status
from ticketmaster.ticket.bodies import AreaView, EventList, EventSummary, EventView, Page, SeatMapView
from ticketmaster.ticket.catalog import Catalog


def catalog_of(*areas: tuple[str, str]) -> Catalog:
    """A catalog of areas of 2 x 3 seats."""
    catalog = Catalog()
    catalog.apply([(f"{event}#{area}".encode(), area_status(2, 3, event=event, area=area)) for event, area in areas])
    return catalog


def test_an_empty_catalog_has_nothing_to_show() -> None:
    catalog = Catalog()

    assert catalog.list_events(Page(10, "")) == EventList([], None)
    assert catalog.event("show") is None
    assert catalog.seat_map("show", "A") is None
    assert not catalog.has_areas("show", [])


def test_an_event_has_its_areas_in_the_order_of_their_ids() -> None:
    catalog = Catalog()
    catalog.apply([(b"show#B", area_status(1, 2, {(0, 1)}, price=80, area="B")), (b"show#A", area_status(3, 4, price=1_200))])

    assert catalog.event("show") == EventView("show", 14, 13, [AreaView("A", 1_200, 3, 4, 12), AreaView("B", 80, 1, 2, 1)])
    assert catalog.event("shown") is None


def test_a_newer_status_replaces_the_last_one() -> None:
    catalog = catalog_of(("show", "A"), ("show", "B"))

    catalog.apply([(b"show#A", area_status(2, 3, {(0, 0)})), (b"show#A", area_status(2, 3, {(0, 0), (1, 2)}))])

    assert catalog.list_events(Page(10, "")) == EventList([EventSummary("show", 2, 12, 10)], None)
    assert catalog.seat_map("show", "A") == SeatMapView("show", "A", 10, 2, 3, 4, ["#..", "..#"])
    assert catalog.seat_map("show", "B") == SeatMapView("show", "B", 10, 2, 3, 6, ["...", "..."])
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
    view = catalog.seat_map("zoë 東京", "A#1")
    assert view is not None
    assert (view.eventId, view.areaId) == ("zoë 東京", "A#1")


def test_events_are_listed_in_the_order_of_their_names_page_by_page() -> None:
    names = ["delta", "alpha", "echo", "bravo", "charlie"]
    catalog = catalog_of(*((name, "A") for name in names))
    pages = []
    after: str | None = ""
    while after is not None:
        page = catalog.list_events(Page(2, after))
        pages.append([event.eventName for event in page.events])
        after = page.next

    assert pages == [["alpha", "bravo"], ["charlie", "delta"], ["echo"]]


def test_the_last_page_has_no_next_one_even_when_it_is_full() -> None:
    catalog = catalog_of(("a", "A"), ("b", "A"))

    assert catalog.list_events(Page(2, "")).next is None
    assert catalog.list_events(Page(1, "")).next == "a"
    assert catalog.list_events(Page(1, "a")).next is None
    assert catalog.list_events(Page(1, "b")) == EventList([], None)


def test_a_page_may_begin_behind_a_name_that_does_not_exist() -> None:
    catalog = catalog_of(("a", "A"), ("c", "A"))

    assert [event.eventName for event in catalog.list_events(Page(5, "b")).events] == ["c"]
