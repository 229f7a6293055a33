"""Avro's primitives against fastavro."""

from __future__ import annotations

import io

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, int_width, read_int, read_string, skip_string

LONGS = st.integers(-(2**63), 2**63 - 1)
NEAR_A_WIDTH = st.builds(lambda bits, more: (1 << bits) + more, st.integers(0, 62), st.integers(-2, 2))


def oracle(kind: str, value: int | str) -> bytes:
    """A value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": kind}, value)
    return out.getvalue()


@given(LONGS | NEAR_A_WIDTH)
def test_an_integer_is_written_and_read_as_fastavro_does(value: int) -> None:
    raw = encode_int(value)

    assert raw == oracle("long", value)
    assert read_int(b"?" + raw + b"?", 1) == (value, 1 + len(raw))


@given(st.integers(0, 2**62) | NEAR_A_WIDTH.filter(lambda value: value >= 0))
def test_the_width_of_an_integer_is_known_without_writing_it(value: int) -> None:
    assert int_width(value) == len(encode_int(value))


def test_every_small_integer_is_prepared() -> None:
    assert [read_int(raw, 0)[0] for raw in SMALL_INTS] == list(range(len(SMALL_INTS)))
    assert [int_width(value) for value in range(len(SMALL_INTS))] == [len(raw) for raw in SMALL_INTS]


@given(st.text() | st.text(min_size=60, max_size=70))
def test_a_string_is_written_and_read_as_fastavro_does(text: str) -> None:
    raw = encode_string(text)

    assert raw == oracle("string", text) == encode_string(text.encode())
    assert read_string(b"?" + raw + b"?", 1) == (text.encode(), 1 + len(raw))
    assert skip_string(b"?" + raw + b"?", 1) == 1 + len(raw)


@pytest.mark.parametrize("size", [31, 32, 63, 64, 2_047, 2_048, 8_191, 8_192, 100_000])
@pytest.mark.parametrize("character", "xé東🎸")
def test_a_string_may_be_as_long_as_it_is(size: int, character: str) -> None:
    text = character * size

    assert encode_string(text) == oracle("string", text)
    assert read_string(encode_string(text), 0) == (text.encode(), skip_string(encode_string(text), 0))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff"])
def test_an_integer_that_is_cut_off_is_an_index_error(data: bytes) -> None:
    with pytest.raises(IndexError):
        read_int(data, 0)


def test_an_integer_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="more than 64 bits"):
        read_int(b"\xff" * 10 + b"\x01", 0)
