"""Java's properties format: examples from the documentation of ``java.util.Properties``, and whatever anybody may write."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.config.properties import parse_properties, read_properties
from ticketmaster.errors import UsageError

FILE = Path("some.properties")


def parsed(text: str) -> dict[str, str]:
    return {key: found.value for key, found in parse_properties(text, FILE).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Truth = Beauty", {"Truth": "Beauty"}),
        (" Truth:Beauty", {"Truth": "Beauty"}),
        ("Truth\t\t\t:Beauty", {"Truth": "Beauty"}),
        ("fruits  apple, banana, \\\n        cantaloupe, \\\r\n   kiwi", {"fruits": "apple, banana, cantaloupe, kiwi"}),
        ("cheeses", {"cheeses": ""}),
        ("# a=b\n  ! c=d\n\n \t\n", {}),
        ("a=b#c", {"a": "b#c"}),
        ("a\\=b\\:c\\ d=e", {"a=b:c d": "e"}),
        ("tab=\\t|newline=\\n", {"tab": "\t|newline=\n"}),
        ("path=C:\\\\new\\q", {"path": "C:\\newq"}),
        ("snow=\\u2603 \\uD83C\\uDFAB", {"snow": "☃ 🎫"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=ends with a backslash \\\\\nb=2", {"a": "ends with a backslash \\", "b": "2"}),
        ("a=\\\n# no comment", {"a": "# no comment"}),
        ("a=b \\", {"a": "b "}),
        ("a = b  ", {"a": "b  "}),
        ("=b", {"": "b"}),
        ("a==b", {"a": "=b"}),
    ],
)
def test_it_reads_what_java_reads(text: str, expected: dict[str, str]) -> None:
    assert parsed(text) == expected


def test_a_key_knows_the_line_it_begins_on() -> None:
    found = parse_properties("# one\na=1\\\n  2\\\n  3\n\nb=4", FILE)

    assert {key: str(each.place) for key, each in found.items()} == {"a": "some.properties:2", "b": "some.properties:6"}


def test_a_malformed_escape_is_an_error_that_names_the_line() -> None:
    with pytest.raises(UsageError, match=r"^some\.properties:2: "):
        parse_properties("a=1\nb=\\u12", FILE)


def escaped(text: str) -> str:
    """As Java's ``Properties.store`` writes it."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_what_is_stored_is_read_again(properties: dict[str, str]) -> None:
    assert parsed("\n".join(f"{escaped(key)}={escaped(value)}" for key, value in properties.items())) == properties


@given(st.text(st.sampled_from("ab\\u0 \t=:#!\n\r")))
def test_whatever_it_reads_it_either_understands_or_says_where_it_does_not(text: str) -> None:
    if re.search(r"(?<!\\)(\\\\)*\\u(?![0-9a-fA-F]{4})", text):
        # The rest of the line may be a comment, or end in the middle of the escape.
        with contextlib.suppress(UsageError):
            parse_properties(text, FILE)
        return
    found = parse_properties(text, FILE)
    assert all(1 <= each.place.line <= len(text) + 1 for each in found.values())


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"a=\xff")

    for file, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory"), (binary, "UTF-8")):
        with pytest.raises(UsageError, match=reason) as raised:
            read_properties(file)
        assert str(file) in str(raised.value)


def test_the_mark_that_some_editors_put_first_is_no_part_of_a_key(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"\xef\xbb\xbfa=1")

    assert list(read_properties(file)) == ["a"]


def test_a_value_is_not_shown_where_a_property_is() -> None:
    assert "secret" not in repr(parse_properties("password=secret", FILE))
