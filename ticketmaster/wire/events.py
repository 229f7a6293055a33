"""``CreateEvent`` and the areas it announces."""

from __future__ import annotations

from ticketmaster.domain.event import Area, Event
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro

_NS_PER_MS = 1_000_000
# Whatever the limits of the gateway that took the event: an AreaStatus of more would fit no record.
_SEATS_PER_AREA_MAX = 1_000_000


def encode_event(event: Event) -> bytes:
    """The framed ``CreateEvent`` of an event; times are cut to milliseconds."""
    return avro.encode(
        "CreateEvent",
        {
            "artist": event.artist,
            "eventName": event.event_name,
            "reservationOpeningTime": event.reservation_opening_ns // _NS_PER_MS,
            "reservationClosingTime": event.reservation_closing_ns // _NS_PER_MS,
            "eventStartTime": event.event_start_ns // _NS_PER_MS,
            "eventEndTime": event.event_end_ns // _NS_PER_MS,
            "areas": [
                {"areaId": area.area_id, "price": area.price, "rowCount": area.row_count, "colCount": area.col_count}
                for area in event.areas
            ],
        },
    )


def read_areas(value: bytes) -> tuple[str, list[Area]]:
    """(event name, its areas) of a framed ``CreateEvent``. InvalidRecord where it is none."""
    fields = avro.decode("CreateEvent", value)
    areas = [Area(area["areaId"], area["price"], area["rowCount"], area["colCount"]) for area in fields["areas"]]
    for area in areas:
        if area.row_count < 1 or area.col_count < 1 or area.row_count * area.col_count > _SEATS_PER_AREA_MAX:
            raise InvalidRecord(f"area {area.area_id!r} has {area.row_count} x {area.col_count} seats")
    return fields["eventName"], areas


def without_areas(value: bytes, count: int) -> bytes:
    """A framed ``CreateEvent`` without its first ``count`` areas. InvalidRecord where it is none."""
    fields = avro.decode("CreateEvent", value)
    return avro.encode("CreateEvent", {**fields, "areas": fields["areas"][count:]})
