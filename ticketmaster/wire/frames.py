"""The frames of this process: what stands before each record's Avro bytes, by the ids that the process's registry gave its schemas."""

from __future__ import annotations

from collections.abc import Mapping

from ticketmaster.wire.registry import SCHEMA_IDS, frame

FRAME_BYTES = 5
# Of a schema that this process's registry did not take: nothing is written by it, and no record has it.
_NO_FRAME = b"\x00\xff\xff\xff\xff"


class Frames:
    """A frame of :data:`FRAME_BYTES` for each record. Hot code reads the attribute of its record each time: nobody may keep one.

    ``has_all``: rules, holds, payments and changes can be used; otherwise the registry did not take the schemas of these.
    """

    __slots__ = (
        "area_status",
        "by_record",
        "change_reservation",
        "create_event",
        "create_event_2",
        "create_event_3",
        "create_reservation",
        "create_reservation_2",
        "event_2",
        "has_all",
        "release_seats",
        "reservation",
        "reservation_2",
        "reservation_result",
        "reservation_result_2",
        "reserve_seat",
        "reserve_seat_2",
    )

    def __init__(self, ids: Mapping[str, int]) -> None:
        """``ids`` are the schema ids by record."""
        self.use(ids)

    def use(self, ids: Mapping[str, int]) -> None:
        """Frames by these schema ids from now on."""
        self.by_record = by_record = dict.fromkeys(SCHEMA_IDS, _NO_FRAME) | {record: frame(number) for record, number in ids.items()}
        self.has_all = _NO_FRAME not in by_record.values()
        self.area_status = by_record["AreaStatus"]
        self.change_reservation = by_record["ChangeReservation"]
        self.create_event = by_record["CreateEvent"]
        self.create_event_2 = by_record["CreateEvent.2"]
        self.create_event_3 = by_record["CreateEvent.3"]
        self.create_reservation = by_record["CreateReservation"]
        self.create_reservation_2 = by_record["CreateReservation.2"]
        self.event_2 = by_record["Event.2"]
        self.release_seats = by_record["ReleaseSeats"]
        self.reservation = by_record["Reservation"]
        self.reservation_2 = by_record["Reservation.2"]
        self.reservation_result = by_record["ReservationResult"]
        self.reservation_result_2 = by_record["ReservationResult.2"]
        self.reserve_seat = by_record["ReserveSeat"]
        self.reserve_seat_2 = by_record["ReserveSeat.2"]


FRAMES = Frames(SCHEMA_IDS)


def use_schema_ids(ids: Mapping[str, int]) -> None:
    """Once, when the process starts, before it writes or reads: the schemas' ids by record are those of a registry."""
    FRAMES.use(ids)
