"""Names that others rely on."""

from __future__ import annotations

from ticketmaster.wire import topics
from ticketmaster.wire.registry import SCHEMA_IDS, forms_of


def test_topics_have_the_names_records_and_clean_up_of_the_contract() -> None:
    assert [topic[:3] for topic in topics.ALL_TOPICS] == [
        ("command.event.create_event", "CreateEvent", False),
        ("command.reservation.create_reservation", "CreateReservation", False),
        ("command.event.reserve_seat", "ReserveSeat", False),
        ("response.reservation.result", "ReservationResult", False),
        ("state.event.area_status", "AreaStatus", True),
        ("state.user.reservation", "Reservation", True),
        ("event-service-KSTREAM-TOTABLE-0000000002-repartition", "AreaStatus", False),
        ("event-service-AreaStatus-changelog", "AreaStatus", True),
        ("reservation-service-Reservation-changelog", "Reservation", True),
        ("event-service-Holder-changelog", "", True),
        ("command.reservation.change_reservation", "ChangeReservation", False),
        ("command.event.release_seats", "ReleaseSeats", False),
        ("state.event", "Event", True),
        ("event-service-RuledArea-repartition", "", False),
        ("event-service-AreaRules-changelog", "", True),
        ("reservation-service-Deadline-changelog", "", True),
        ("command.event.change_event", "ChangeEvent", False),
        ("command.reservation.cancel_event", "CancelEvent", False),
        ("reservation-service-UserSeats-changelog", "", True),
    ]


def test_what_is_decided_by_time_goes_by_the_clock_of_the_log() -> None:
    windows, holds = (topics.CREATE_EVENT, topics.CREATE_RESERVATION), (topics.RESERVATION_RESULT, topics.USER_RESERVATION)

    assert [topic for topic in topics.ALL_TOPICS if topic.timed_by_log] == [*windows, *holds, topics.CHANGE_RESERVATION]


def test_application_ids_are_those_of_the_contract() -> None:
    assert (topics.TICKET_SERVICE, topics.RESERVATION_SERVICE, topics.EVENT_SERVICE) == (
        "ticket-service",
        "reservation-service",
        "event-service",
    )


def test_every_topic_carries_a_registered_record_or_bytes_of_our_own() -> None:
    records = {topic.record for topic in topics.ALL_TOPICS if topic.record}

    assert {form for record in records for form in forms_of(record)} == set(SCHEMA_IDS)
