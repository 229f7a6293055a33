"""``CreateEvent`` and the areas it announces; ``Event``, which has what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ticketmaster.domain.event import Area, Event
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.holds import Hold

_NS_PER_MS = 1_000_000
# Whatever the limits of the gateway that took the event: an AreaStatus of more would fit no record.
_SEATS_PER_AREA_MAX = 1_000_000


def encode_event(event: Event) -> bytes:
    """The framed ``CreateEvent`` of an event, in its second form if it has holds; times are cut to milliseconds."""
    fields = {
        "artist": event.artist,
        "eventName": event.event_name,
        "reservationOpeningTime": event.reservation_opening_ns // _NS_PER_MS,
        "reservationClosingTime": event.reservation_closing_ns // _NS_PER_MS,
        "eventStartTime": event.event_start_ns // _NS_PER_MS,
        "eventEndTime": event.event_end_ns // _NS_PER_MS,
        "areas": [
            {"areaId": area.area_id, "price": area.price, "rowCount": area.row_count, "colCount": area.col_count} for area in event.areas
        ],
        "holdSeconds": event.hold_seconds,
        "holdSecondsMax": event.hold_seconds_max,
    }
    return avro.encode("CreateEvent.2" if event.hold_seconds else "CreateEvent", fields)


class Announcement(NamedTuple):
    """An event that is announced."""

    event_id: str
    areas: list[Area]
    hold: Hold
    # The framed Event, as it will be where there is none of this name.
    rules: bytes


def read_announcement(value: bytes) -> Announcement:
    """The event of a framed ``CreateEvent`` in either form. InvalidRecord where it is none."""
    fields = avro.decode(_form_of(value), value)
    hold = Hold(fields.get("holdSeconds", 0), fields.get("holdSecondsMax", 0))
    if hold.seconds < 0 or hold.seconds_max < hold.seconds:
        raise InvalidRecord(f"it holds seats for {hold.seconds} s, and at most for {hold.seconds_max} s")
    event = {
        **fields,
        "holdSeconds": hold.seconds,
        "holdSecondsMax": hold.seconds_max,
        "seatsPerUserMax": 0,
        "status": "OPEN",
        "revision": 1,
    }
    return Announcement(fields["eventName"], _areas(fields), hold, avro.encode("Event", event))


def read_areas(value: bytes) -> tuple[str, list[Area]]:
    """(event name, its areas) of a framed ``CreateEvent`` in either form. InvalidRecord where it is none."""
    fields = avro.decode(_form_of(value), value)
    return fields["eventName"], _areas(fields)


def read_hold(event: bytes) -> Hold:
    """The hold of a framed ``Event``. InvalidRecord where it is none."""
    fields = avro.decode("Event", event)
    return Hold(fields["holdSeconds"], fields["holdSecondsMax"])


def _form_of(value: bytes) -> str:
    return "CreateEvent.2" if value[:FRAME_BYTES] == FRAMES.create_event_2 else "CreateEvent"


def _areas(fields: Mapping[str, Any]) -> list[Area]:
    areas = [Area(area["areaId"], area["price"], area["rowCount"], area["colCount"]) for area in fields["areas"]]
    for area in areas:
        if area.row_count < 1 or area.col_count < 1 or area.row_count * area.col_count > _SEATS_PER_AREA_MAX:
            raise InvalidRecord(f"area {area.area_id!r} has {area.row_count} x {area.col_count} seats")
    return areas


def without_areas(value: bytes, count: int) -> bytes:
    """A framed ``CreateEvent`` of either form without its first ``count`` areas. InvalidRecord where it is none."""
    form = _form_of(value)
    fields = avro.decode(form, value)
    return avro.encode(form, {**fields, "areas": fields["areas"][count:]})
