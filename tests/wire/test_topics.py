"""Names that others rely on."""

from __future__ import annotations

from ticketmaster.wire import topics
from ticketmaster.wire.registry import SCHEMA_IDS


def test_topics_have_the_names_records_and_clean_up_of_the_contract() -> None:
    assert [tuple(topic) for topic in topics.ALL_TOPICS] == [
        ("command.event.create_event", "CreateEvent", False),
        ("command.reservation.create_reservation", "CreateReservation", False),
        ("command.event.reserve_seat", "ReserveSeat", False),
        ("response.reservation.result", "ReservationResult", False),
        ("state.event.area_status", "AreaStatus", True),
        ("state.user.reservation", "Reservation", True),
        ("event-service-KSTREAM-TOTABLE-0000000002-repartition", "AreaStatus", False),
        ("event-service-AreaStatus-changelog", "AreaStatus", True),
        ("event-service-Holder-changelog", "", True),
        ("reservation-service-Reservation-changelog", "Reservation", True),
    ]


def test_application_ids_are_those_of_the_contract() -> None:
    assert (topics.TICKET_SERVICE, topics.RESERVATION_SERVICE, topics.EVENT_SERVICE) == (
        "ticket-service",
        "reservation-service",
        "event-service",
    )


def test_every_topic_but_that_of_holders_carries_a_registered_record() -> None:
    assert {topic.record for topic in topics.ALL_TOPICS if topic != topics.HOLDER_CHANGELOG} == set(SCHEMA_IDS)
