"""A reservation's words are positions in Avro enums, and a decision is final."""

from __future__ import annotations

import pytest

from ticketmaster.domain.reservation import LEGAL_MOVES, ErrorCode, Refusal, ReservationType, State, failed_reason
from ticketmaster.wire.registry import load_schema


def symbols(record: str, field: str) -> list[str]:
    """The symbols of an enum field of a schema, whether or not it may be null."""
    (kind,) = (entry["type"] for entry in load_schema(record)["fields"] if entry["name"] == field)
    enum = kind[1] if isinstance(kind, list) else kind
    names: list[str] = enum["symbols"]
    return names


def test_the_words_stand_in_the_order_of_the_avro_enums() -> None:
    assert [(kind.name, kind.value) for kind in ReservationType] == [(name, at) for at, name in enumerate(symbols("Reservation", "type"))]
    assert [(state.name, state.value) for state in State] == [(name, at) for at, name in enumerate(symbols("Reservation", "state"))]
    codes = symbols("ReservationResult", "errorCode")
    assert [(code.name, code.value) for code in ErrorCode] == [(name, at) for at, name in enumerate(codes)]


@pytest.mark.parametrize(
    ("state", "next_states"),
    [
        (State.PROCESSING, {State.RESERVED, State.FAILED, State.CANCELLED}),
        (State.RESERVED, {State.PAID, State.CANCELLED}),
        (State.FAILED, set()),
        (State.PAID, {State.CANCELLED}),
        (State.CANCELLED, set()),
    ],
)
def test_a_state_leads_only_where_it_may(state: State, next_states: set[State]) -> None:
    assert LEGAL_MOVES[state] == next_states


def test_every_state_has_its_moves() -> None:
    assert set(LEGAL_MOVES) == set(State)


def test_a_refusal_is_told_with_its_code_in_brackets() -> None:
    refusal = Refusal(ErrorCode.NOT_AVAILABLE, "no continuous 3 seats at area A in event golden")

    assert failed_reason(refusal) == "[NOT_AVAILABLE]: no continuous 3 seats at area A in event golden"
