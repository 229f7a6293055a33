"""What a state store promises: values and the offset they stand for change together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.conftest import OpenStateStore
from ticketmaster.state.memory import MemoryStore
from ticketmaster.state.port import StateStore
from ticketmaster.state.sqlite import SqliteStore


def test_a_new_store_is_empty_and_never_was_complete(store: StateStore) -> None:
    assert store.get(b"k") is None
    assert list(store.items()) == []
    assert store.checkpoint() is None


def test_a_write_is_read_back(store: StateStore) -> None:
    store.write({b"k": b"v", b"empty": b""}, 7)

    assert store.get(b"k") == b"v"
    assert store.get(b"empty") == b""
    assert store.get(b"other") is None
    assert store.checkpoint() == 7


def test_a_later_write_replaces_and_deletes(store: StateStore) -> None:
    store.write({b"a": b"1", b"b": b"1", b"c": b"1"}, 3)
    store.write({b"a": b"2", b"b": None, b"unknown": None}, 6)

    assert list(store.items()) == [(b"a", b"2"), (b"c", b"1")]
    assert store.get(b"b") is None
    assert store.checkpoint() == 6


def test_a_deleted_key_may_come_back(store: StateStore) -> None:
    store.write({b"k": b"1"}, 1)
    store.write({b"k": None}, 2)
    store.write({b"k": b"2"}, 3)

    assert store.get(b"k") == b"2"


def test_a_write_may_move_the_checkpoint_only(store: StateStore) -> None:
    store.write({b"k": b"v"}, 1)
    store.write({}, 5)

    assert (store.get(b"k"), store.checkpoint()) == (b"v", 5)


def test_items_are_in_the_order_of_their_keys(store: StateStore) -> None:
    keys = [b"b", b"a", b"\xff", b"", b"\x00", b"ab", b"B"]
    store.write(dict.fromkeys(keys, b"v"), 1)

    assert [key for key, _ in store.items()] == sorted(keys)


def test_a_store_opened_again_has_what_was_written(open_store: OpenStateStore) -> None:
    store = open_store()
    store.write({b"a": b"1", b"z": b"26"}, 9)
    store.close()

    again = open_store()
    assert list(again.items()) == [(b"a", b"1"), (b"z", b"26")]
    assert (again.get(b"z"), again.checkpoint()) == (b"26", 9)
    again.close()


def test_a_cleared_store_is_new(open_store: OpenStateStore) -> None:
    store = open_store()
    store.write({b"k": b"v"}, 9)
    store.clear()
    assert (store.get(b"k"), list(store.items()), store.checkpoint()) == (None, [], None)

    store.write({b"a": b"1"}, 2)
    store.close()
    again = open_store()
    assert (list(again.items()), again.checkpoint()) == ([(b"a", b"1")], 2)
    again.close()


_KEYS = st.binary(max_size=3)
_CHANGES = st.dictionaries(_KEYS, st.none() | st.binary(max_size=3), max_size=8)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=40)
@given(rounds=st.lists(_CHANGES, max_size=6), asked=st.lists(_KEYS, max_size=8))
def test_a_store_equals_a_dictionary(kind: str, rounds: list[dict[bytes, bytes | None]], asked: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        open_store: Callable[[], StateStore] = MemoryStore if kind == "memory" else lambda: SqliteStore(Path(folder) / "state.db")
        store = open_store()
        model: dict[bytes, bytes] = {}
        for checkpoint, changes in enumerate(rounds):
            store.write(changes, checkpoint)
            for key, value in changes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
            assert list(store.items()) == sorted(model.items())
            assert [store.get(key) for key in asked] == [model.get(key) for key in asked]
            assert store.checkpoint() == checkpoint
        store.close()
