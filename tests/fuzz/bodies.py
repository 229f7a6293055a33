"""Bodies that break JSON, or the rules of those who read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

# Behind this, drawing costs more than it finds.
_GROWN_BYTES_MAX = 200_000


class Raw(str):
    """Text that stands in the body as it is, JSON or not."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """An object whose keys may come twice."""

    __slots__ = ()


RAW = [
    *("1e999980", "-1e999980", "1e-999980", "1E400", "-0", "-0.0", "0e0", "1e0", "1.5", "9007199254740993", "2147483647", "2147483648"),
    *("-2147483648", "-2147483649", "18446744073709551616", "253402300799.999999999", "253402300800", "-62135596801", "1e11"),
    *("1" + "0" * 5_000, "0." + "0" * 5_000 + "1", "-" + "9" * 400, "1e" + "9" * 400),
    *("01", "+1", ".5", "1.", "0x10", "1_000", "NaN", "Infinity", "-Infinity", "-", "1e", "tru", "nul", "undefined", "'a'"),
    *("null", "true", "false", "[]", "{}", "[null]", "[[]]", '{"row":0,"col":0}', '""', '"A"', '"concert"', '"SELF_PICK"', '"random"'),
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\u12"', '"\\x41"', '"\\', '"\x00"', '"\x1f"', '"a\nb"'),
    *('"#"', '"a#b"', '"/"', '".."', '"' + "n" * 255 + '"', '"' + "n" * 256 + '"', '"' + "é" * 128 + '"', '"\ufeff"', '"\u202e"'),
    *('"2026-01-31T20:00:00Z"', '"2026-02-30T20:00:00Z"', '"0000-01-01"', '"9999-12-31T23:59:59.999999999Z"', '"20260131T200000"'),
    *('"2026-01-31T20:00:00+99:99"', '"2026-W01"', '"-1"', '"' + "9" * 5_000 + '"', '"٣"', '"1e5"'),
]
KEYS = [
    "",
    "eventName",
    "EVENTNAME",
    "areas",
    "areaId",
    "userId",
    "numOfSeats",
    "numOfSeat",
    "seats",
    "type",
    "__proto__",
    "é",
    "\x00",
    "a" * 5_000,
]


def dump(node: object, *, ascii_only: bool = True) -> str:
    """JSON, but for what is Raw."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, Members):
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=ascii_only)}:{dump(one, ascii_only=ascii_only)}" for key, one in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(dump(one, ascii_only=ascii_only) for one in node) + "]"
    return json.dumps(node, ensure_ascii=ascii_only)


def _load(body: bytes) -> Any:  # noqa: ANN401 - what JSON may hold
    try:
        return json.loads(body, object_pairs_hook=Members)
    except (ValueError, RecursionError):
        return None


def _places(node: object, found: list[tuple[list[Any], int]]) -> list[tuple[list[Any], int]]:
    """Every list and object with each of its indexes."""
    if isinstance(node, list):
        for index, one in enumerate(node):
            found.append((node, index))
            _places(one[1] if isinstance(node, Members) else one, found)
    return found


def _put(holder: list[Any], index: int, value: object) -> None:
    holder[index] = (holder[index][0], value) if isinstance(holder, Members) else value


def _replace(random: Random, holder: list[Any], index: int) -> None:
    _put(holder, index, Raw(random.choice(RAW)))


def _remove(_random: Random, holder: list[Any], index: int) -> None:
    del holder[index]


def _duplicate(random: Random, holder: list[Any], index: int) -> None:
    """A key twice, or an element: the second one as it is or with another value."""
    holder.insert(random.randrange(len(holder) + 1), holder[index])
    if random.random() < 0.5:
        _replace(random, holder, random.randrange(len(holder)))


def _rename(random: Random, holder: list[Any], index: int) -> None:
    if isinstance(holder, Members):
        holder[index] = (random.choice(KEYS), holder[index][1])
    else:
        holder.append(Raw(random.choice(RAW)))


def _nest(random: Random, holder: list[Any], index: int) -> None:
    depth = random.choice([1, 2, 50, 127, 128, 129, 900, 1_100, 10_000])
    opening, closing = random.choice([("[", "]"), ('{"a":', "}"), ('{"areas":[', "]}")])
    missing = random.choice([0, 0, 0, 1, depth])
    _put(holder, index, Raw(opening * depth + "0" + closing * (depth - missing)))


def _repeat(random: Random, holder: list[Any], index: int) -> None:
    """More elements or members than anybody wants."""
    holder.extend([holder[index]] * random.choice([1, 20, 21, 1_000, 1_001]))


def _grow(random: Random, holder: list[Any], index: int) -> None:
    _put(holder, index, random.choice(["x", "é", "\U0001f39f", "\x00", "\\", '"']) * random.choice([63, 64, 255, 256, 10_000]))


_ON_NODES: list[Callable[[Random, list[Any], int], None]] = [
    *(_replace, _replace, _replace, _replace, _remove, _duplicate, _duplicate, _rename, _nest, _repeat, _grow)
]


def json_nodes(random: Random, body: bytes) -> bytes:
    """One to three places of the document changed."""
    node = _load(body)
    if not isinstance(node, list) or not _places(node, []):
        return random.choice(RAW).encode("utf-8", "surrogatepass")
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = _places(node, [])
        if places:
            random.choice(_ON_NODES)(random, *random.choice(places))
    return dump(node, ascii_only=random.random() < 0.5).encode("utf-8", "surrogatepass")[:_GROWN_BYTES_MAX]


def flipped(random: Random, body: bytes) -> bytes:
    """Bits turned over."""
    changed = bytearray(body or b"{}")
    for _ in range(random.choice([1, 1, 2, 8])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncated(random: Random, body: bytes) -> bytes:
    """The beginning."""
    return body[: random.randrange(len(body) + 1)]


def spliced(random: Random, body: bytes) -> bytes:
    """A piece moved, repeated, or of something else."""
    start, end = sorted(random.randrange(len(body) + 1) for _ in range(2))
    foreign = [
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf5\x80\x80\x80",
        b"\xe6\x9d",
        b"//",
        b"/**/",
        b",",
        b"]",
        b"}",
        b"\\",
    ]
    piece = random.choice([body[start:end], random.choice(foreign), random.randbytes(random.randrange(1, 20))])
    at = random.randrange(len(body) + 1)
    return body[:at] + piece + body[at:]


def encoded(random: Random, body: bytes) -> bytes:
    """Another encoding, or marks and blanks around it."""
    text = body.decode("utf-8", "replace")
    kind = random.randrange(6)
    if kind == 0:
        return b"\xef\xbb\xbf" + body
    if kind == 1:
        return text.encode(random.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"]), "replace")
    if kind == 2:
        return text.encode("latin-1", "replace")
    if kind == 3:
        return random.choice([b" \t\r\n", b"\x00", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8"]) * random.choice([1, 100]) + body
    if kind == 4:
        return body + random.choice([b"\x00", b" ", b"{}", b",", b"\n" * 5_000, b"//", body])
    return body.replace(b'"', b"'")
