"""Avro's binary primitives on plain bytes: zigzag integers and strings (Avro 1.11 specification, "Binary Encoding")."""

from __future__ import annotations

from ticketmaster.errors import InvalidRecord

# What readers raise for bytes that are not the record they should be: past the end, no UTF-8, no such enum, or against a rule.
UNREADABLE = (InvalidRecord, IndexError, ValueError, OverflowError)


def encode_int(value: int) -> bytes:
    """An Avro int or long: zigzag, then 7 bits a byte, the least significant first."""
    if 0 <= value < _SMALL:
        return SMALL_INTS[value]
    return _encode_int(value)


def _encode_int(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL = 8192
SMALL_INTS = tuple(_encode_int(value) for value in range(_SMALL))


def int_width(value: int) -> int:
    """How many bytes :func:`encode_int` gives for a value that is not negative."""
    return (max(1, (value << 1).bit_length()) + 6) // 7


def encode_string(value: str | bytes) -> bytes:
    """An Avro string: its length in bytes, then UTF-8."""
    raw = value.encode() if isinstance(value, str) else value
    size = len(raw)
    return (SMALL_INTS[size] if size < _SMALL else _encode_int(size)) + raw


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """(the integer at ``at``, where it ends). IndexError past the end of ``data``."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    result = byte & 0x7F
    shift = 7
    while True:
        at += 1
        byte = data[at]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at + 1
        shift += 7
        if shift > 63:
            raise InvalidRecord("an integer of more than 64 bits")


def skip_string(data: bytes, at: int) -> int:
    """Where the string at ``at`` ends, which may be behind the end of ``data``."""
    size = data[at]
    if size < 0x80 and not size & 1:
        return at + 1 + (size >> 1)
    length, start = read_int(data, at)
    if length < 0:
        raise InvalidRecord(f"a string of {length} bytes")
    return start + length


def read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """(the UTF-8 bytes of the string at ``at``, where it ends); fewer bytes where it ends behind the end of ``data``."""
    size = data[at]
    if size < 0x80 and not size & 1:
        start = at + 1
        end = start + (size >> 1)
    else:
        length, start = read_int(data, at)
        if length < 0:
            raise InvalidRecord(f"a string of {length} bytes")
        end = start + length
    return data[start:end], end
