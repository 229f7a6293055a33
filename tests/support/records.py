"""Records made by hand: their bytes come from fastavro alone, so that they judge the byte-level codec and never repeat its mistakes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ticketmaster.wire import avro

Seat = tuple[int, int]


def seat_fields(seats: Sequence[Seat]) -> list[dict[str, int]]:
    """An array of ``Seat``."""
    return [{"row": row, "col": col} for row, col in seats]


def create_reservation(
    kind: str = "RANDOM", count: int = 1, seats: Sequence[Seat] = (), *, user: str = "ann", event: str = "show", area: str = "A"
) -> bytes:
    """A framed ``CreateReservation``."""
    fields = {"userId": user, "eventId": event, "areaId": area, "numOfSeats": count, "type": kind, "seats": seat_fields(seats)}
    return avro.encode("CreateReservation", fields)


def reserve_seat(
    reservation_id: str, kind: str = "RANDOM", count: int = 1, seats: Sequence[Seat] = (), *, event: str = "show", area: str = "A"
) -> bytes:
    """A framed ``ReserveSeat``."""
    fields = {
        "reservationId": reservation_id,
        "eventId": event,
        "areaId": area,
        "numOfSeats": count,
        "type": kind,
        "seats": seat_fields(seats),
    }
    return avro.encode("ReserveSeat", fields)


def success(reservation_id: str, seats: Sequence[Seat], hold: tuple[int, int] | None = None) -> bytes:
    """A framed ``ReservationResult`` that gives seats, with a hold (seconds, at most) in its second form."""
    fields = {"reservationId": reservation_id, "result": "SUCCESS", "seats": seat_fields(seats)}
    if hold is None:
        return avro.encode("ReservationResult", fields)
    return avro.encode("ReservationResult.2", fields | {"holdSeconds": hold[0], "holdSecondsMax": hold[1]})


def change(kind: str, **fields: object) -> bytes:
    """A framed ``ChangeReservation``."""
    return avro.encode("ChangeReservation", {"changeId": "change-1", "change": kind} | fields)


def release_seats(reservation_id: str, seats: Sequence[Seat], *, event: str = "show", area: str = "A") -> bytes:
    """A framed ``ReleaseSeats``."""
    fields = {"reservationId": reservation_id, "eventId": event, "areaId": area, "seats": seat_fields(seats)}
    return avro.encode("ReleaseSeats", fields)


def failure(reservation_id: str, code: str, message: str) -> bytes:
    """A framed ``ReservationResult`` that refuses."""
    fields = {"reservationId": reservation_id, "result": "FAILED", "seats": None, "errorCode": code, "errorMessage": message}
    return avro.encode("ReservationResult", fields)


def area_fields(
    rows: int, cols: int, taken: Collection[Seat] = (), *, price: int = 10, event: str = "show", area: str = "A"
) -> dict[str, Any]:
    """The fields of an ``AreaStatus`` in which all seats but ``taken`` are free."""
    return {
        "eventId": event,
        "areaId": area,
        "price": price,
        "rowCount": rows,
        "colCount": cols,
        "availableSeats": rows * cols - len(taken),
        "seats": [[{"row": row, "col": col, "isAvailable": (row, col) not in taken} for col in range(cols)] for row in range(rows)],
    }


def area_status(rows: int, cols: int, taken: Collection[Seat] = (), *, price: int = 10, event: str = "show", area: str = "A") -> bytes:
    """A framed ``AreaStatus``; see :func:`area_fields`."""
    return avro.encode("AreaStatus", area_fields(rows, cols, taken, price=price, event=event, area=area))


def create_event(name: str, areas: Sequence[tuple[str, int, int, int]], hold: tuple[int, int] | None = None) -> bytes:
    """A framed ``CreateEvent``; ``areas`` are (area id, price, rows, columns). With a hold it has its second form."""
    fields: dict[str, Any] = {
        "artist": "",
        "eventName": name,
        "reservationOpeningTime": 0,
        "reservationClosingTime": 0,
        "eventStartTime": 0,
        "eventEndTime": 0,
        "areas": [{"areaId": area, "price": price, "rowCount": rows, "colCount": cols} for area, price, rows, cols in areas],
    }
    if hold is None:
        return avro.encode("CreateEvent", fields)
    return avro.encode("CreateEvent.2", fields | {"holdSeconds": hold[0], "holdSecondsMax": hold[1]})
