"""The topics and application ids of the system, as data. Names are those of the system this one is compatible with."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """A topic: its name, the Avro record of its values ("": they are bytes of our own), and whether only a key's last value is kept.

    ``timed_by_log``: a record's time is when the log took it, by one clock a partition, not when somebody sent it. By it is
    decided whether a sale is on, when a hold begins, and whether a payment comes in time; and seen whether a hold ended too early.
    """

    name: str
    record: str
    compacted: bool = False
    timed_by_log: bool = False


TICKET_SERVICE = "ticket-service"
RESERVATION_SERVICE = "reservation-service"
EVENT_SERVICE = "event-service"

CREATE_EVENT = Topic("command.event.create_event", "CreateEvent", timed_by_log=True)
CREATE_RESERVATION = Topic("command.reservation.create_reservation", "CreateReservation", timed_by_log=True)
RESERVE_SEAT = Topic("command.event.reserve_seat", "ReserveSeat")
RESERVATION_RESULT = Topic("response.reservation.result", "ReservationResult", timed_by_log=True)
AREA_STATUS = Topic("state.event.area_status", "AreaStatus", compacted=True)
USER_RESERVATION = Topic("state.user.reservation", "Reservation", compacted=True, timed_by_log=True)

# Ours alone: the original system knows none of them.
CHANGE_RESERVATION = Topic("command.reservation.change_reservation", "ChangeReservation", timed_by_log=True)
RELEASE_SEATS = Topic("command.event.release_seats", "ReleaseSeats")
EVENT = Topic("state.event", "Event", compacted=True)
CHANGE_EVENT = Topic("command.event.change_event", "ChangeEvent")
# To every partition the same record.
CANCEL_EVENT = Topic("command.reservation.cancel_event", "CancelEvent")

# Internal to a role: an event's areas re-keyed to the partition each area lives on, and the changelogs.
AREA_REPARTITION = Topic(f"{EVENT_SERVICE}-KSTREAM-TOTABLE-0000000002-repartition", "AreaStatus")
AREA_CHANGELOG = Topic(f"{EVENT_SERVICE}-AreaStatus-changelog", "AreaStatus", compacted=True)
# The same areas, where their event has rules that the areas keep; ours alone, like the changelogs below it.
RULED_AREA_REPARTITION = Topic(f"{EVENT_SERVICE}-RuledArea-repartition", "")
AREA_RULES_CHANGELOG = Topic(f"{EVENT_SERVICE}-AreaRules-changelog", "", compacted=True)
HOLDER_CHANGELOG = Topic(f"{EVENT_SERVICE}-Holder-changelog", "", compacted=True)
DEADLINE_CHANGELOG = Topic(f"{RESERVATION_SERVICE}-Deadline-changelog", "", compacted=True)
USER_SEATS_CHANGELOG = Topic(f"{RESERVATION_SERVICE}-UserSeats-changelog", "", compacted=True)
RESERVATION_CHANGELOG = Topic(f"{RESERVATION_SERVICE}-Reservation-changelog", "Reservation", compacted=True)

# Those that the original system has, too.
ORIGINAL_TOPICS = (
    CREATE_EVENT,
    CREATE_RESERVATION,
    RESERVE_SEAT,
    RESERVATION_RESULT,
    AREA_STATUS,
    USER_RESERVATION,
    AREA_REPARTITION,
    AREA_CHANGELOG,
    RESERVATION_CHANGELOG,
)
ALL_TOPICS = (
    *ORIGINAL_TOPICS,
    HOLDER_CHANGELOG,
    CHANGE_RESERVATION,
    RELEASE_SEATS,
    EVENT,
    RULED_AREA_REPARTITION,
    AREA_RULES_CHANGELOG,
    DEADLINE_CHANGELOG,
    CHANGE_EVENT,
    CANCEL_EVENT,
    USER_SEATS_CHANGELOG,
)
