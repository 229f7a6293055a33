"""``CreateEvent`` and the areas it announces; ``Event``, which has what holds for all of them; ``ChangeEvent`` and ``CancelEvent``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ticketmaster.domain.event import Area, Event
from ticketmaster.domain.rules import CHANGEABLE, EventChange, EventRules, Status
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES

_NS_PER_MS = 1_000_000
# Whatever the limits of the gateway that took the event: an AreaStatus of more would fit no record.
_SEATS_PER_AREA_MAX = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def encode_event(event: Event) -> bytes:
    """The framed ``CreateEvent`` of an event, in the first form that has all it has; times are cut to milliseconds."""
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
        "seatsPerUserMax": event.seats_per_user_max,
    }
    form = "CreateEvent.3" if event.seats_per_user_max else "CreateEvent.2" if event.hold_seconds else "CreateEvent"
    return avro.encode(form, fields)


class Announcement(NamedTuple):
    """An event that is announced, and the rules that it asks for."""

    event_id: str
    areas: list[Area]
    rules: EventRules


def read_announcement(value: bytes) -> Announcement:
    """The event of a framed ``CreateEvent`` in any form. InvalidRecord where it is none."""
    fields = avro.decode(_form_of(value), value)
    rules = _rules(fields)
    if rules.hold_seconds < 0 or rules.hold_seconds_max < rules.hold_seconds:
        raise InvalidRecord(f"it holds seats for {rules.hold_seconds} s, and at most for {rules.hold_seconds_max} s")
    if rules.seats_per_user_max < 0:
        raise InvalidRecord(f"a user may have {rules.seats_per_user_max} seats")
    return Announcement(fields["eventName"], _areas(fields), rules)


def _rules(fields: Mapping[str, Any]) -> EventRules:
    """The rules in the fields of a record, as far as it has any."""
    values = {name: fields[field] for name, field in CHANGEABLE.items() if fields.get(field) is not None}
    return EventRules(**_plain(values))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Times as milliseconds, the status as what it is."""
    plain = {name: (value - _EPOCH) // _MS if isinstance(value, datetime) else value for name, value in values.items()}
    status: Any = plain.get("status")
    return plain if status is None else plain | {"status": Status[status]}


def _fields(rules: EventRules) -> dict[str, Any]:
    fields = {field: getattr(rules, name) for name, field in CHANGEABLE.items()}
    return fields | {"status": rules.status.name}


def encode_rules(event_id: str, rules: EventRules) -> bytes:
    """The framed ``Event``: in its second form once somebody has asked for a change."""
    is_second = rules.change_id or rules.checked_revision != (1 if rules.are_checked else 0)
    fields = {
        **_fields(rules),
        "eventName": event_id,
        "revision": rules.revision,
        "checkedRevision": rules.checked_revision,
        "changeId": rules.change_id,
        "changeRefusal": rules.change_refusal,
    }
    return avro.encode("Event.2" if is_second else "Event", fields)


def read_rules_of(event: bytes) -> EventRules:
    """The rules of a framed ``Event`` in either form. InvalidRecord where it is none."""
    if event[:FRAME_BYTES] != FRAMES.event_2:
        fields = avro.decode("Event", event)
        rules = _rules(fields)._replace(revision=fields["revision"])
        return rules._replace(checked_revision=1 if rules.are_checked else 0)
    fields = avro.decode("Event.2", event)
    return _rules(fields)._replace(
        revision=fields["revision"],
        checked_revision=fields["checkedRevision"],
        change_id=fields["changeId"],
        change_refusal=fields["changeRefusal"],
    )


def _form_of(value: bytes) -> str:
    frame = value[:FRAME_BYTES]
    return "CreateEvent.3" if frame == FRAMES.create_event_3 else "CreateEvent.2" if frame == FRAMES.create_event_2 else "CreateEvent"


def _areas(fields: Mapping[str, Any]) -> list[Area]:
    areas = [Area(area["areaId"], area["price"], area["rowCount"], area["colCount"]) for area in fields["areas"]]
    for area in areas:
        if area.row_count < 1 or area.col_count < 1 or area.row_count * area.col_count > _SEATS_PER_AREA_MAX:
            raise InvalidRecord(f"area {area.area_id!r} has {area.row_count} x {area.col_count} seats")
    return areas


def without_areas(value: bytes, count: int) -> bytes:
    """A framed ``CreateEvent`` of any form without its first ``count`` areas. InvalidRecord where it is none."""
    form = _form_of(value)
    fields = avro.decode(form, value)
    return avro.encode(form, {**fields, "areas": fields["areas"][count:]})


def encode_change(change: EventChange) -> bytes:
    """The framed ``ChangeEvent``."""
    values = {field: change.values.get(name) for name, field in CHANGEABLE.items()}
    if change.values.get("status") is not None:
        values["status"] = change.values["status"].name
    head = {"changeId": change.change_id, "eventName": change.event_id, "revision": change.revision}
    return avro.encode("ChangeEvent", {**values, **head})


def read_change(value: bytes) -> EventChange:
    """The change of a framed ``ChangeEvent``. InvalidRecord where it is none."""
    fields = avro.decode("ChangeEvent", value)
    values = _plain({name: fields[field] for name, field in CHANGEABLE.items() if fields[field] is not None})
    for name in ("hold_seconds", "hold_seconds_max", "seats_per_user_max"):
        if values.get(name, 0) < 0:
            raise InvalidRecord(f"{CHANGEABLE[name]} is {values[name]}")
    if not fields["changeId"]:
        raise InvalidRecord("it has no changeId")
    return EventChange(fields["changeId"], fields["eventName"], fields["revision"], values)


def encode_cancel(event_id: str) -> bytes:
    """The framed ``CancelEvent``."""
    return avro.encode("CancelEvent", {"eventName": event_id})


def read_cancel(value: bytes) -> str:
    """The event of a framed ``CancelEvent``. InvalidRecord where it is none."""
    event_id: str = avro.decode("CancelEvent", value)["eventName"]
    return event_id
