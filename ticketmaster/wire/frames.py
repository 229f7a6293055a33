"""The frames of this process: what stands before each record's Avro bytes, by the ids that the process's registry gave its schemas."""

from __future__ import annotations

from collections.abc import Mapping

from ticketmaster.wire.registry import SCHEMA_IDS, frame

FRAME_BYTES = 5


class Frames:
    """A frame of :data:`FRAME_BYTES` for each record. Hot code reads the attribute of its record each time: nobody may keep one."""

    __slots__ = ("area_status", "by_record", "create_event", "create_reservation", "reservation", "reservation_result", "reserve_seat")

    def __init__(self, ids: Mapping[str, int]) -> None:
        """``ids`` are the schema ids by record."""
        self.use(ids)

    def use(self, ids: Mapping[str, int]) -> None:
        """Frames by these schema ids from now on."""
        self.by_record = by_record = {record: frame(schema_id) for record, schema_id in ids.items()}
        self.area_status = by_record["AreaStatus"]
        self.create_event = by_record["CreateEvent"]
        self.create_reservation = by_record["CreateReservation"]
        self.reservation = by_record["Reservation"]
        self.reservation_result = by_record["ReservationResult"]
        self.reserve_seat = by_record["ReserveSeat"]


FRAMES = Frames(SCHEMA_IDS)


def use_schema_ids(ids: Mapping[str, int]) -> None:
    """Once, when the process starts, before it writes or reads: the schemas' ids by record are those of a registry."""
    FRAMES.use(ids)
