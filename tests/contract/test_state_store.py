"""What a state store promises: values and the offset they stand for change together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.conftest import OpenStateStores
from tests.support.stores import NAME, OnlyStore, write
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.port import Scanned, StateStores, Update
from ticketmaster.state.sqlite import SqliteStores


def test_a_new_store_is_empty_and_never_was_complete(store: OnlyStore) -> None:
    assert store.get(b"k") is None
    assert list(store.items()) == []
    assert store.checkpoint() is None


def test_a_write_is_read_back(store: OnlyStore) -> None:
    store.write({b"k": b"v", b"empty": b""}, 7)

    assert store.get(b"k") == b"v"
    assert store.get(b"empty") == b""
    assert store.get(b"other") is None
    assert store.checkpoint() == 7


def test_a_later_write_replaces_and_deletes(store: OnlyStore) -> None:
    store.write({b"a": b"1", b"b": b"1", b"c": b"1"}, 3)
    store.write({b"a": b"2", b"b": None, b"unknown": None}, 6)

    assert list(store.items()) == [(b"a", b"2"), (b"c", b"1")]
    assert store.get(b"b") is None
    assert store.checkpoint() == 6


def test_a_deleted_key_may_come_back(store: OnlyStore) -> None:
    store.write({b"k": b"1"}, 1)
    store.write({b"k": None}, 2)
    store.write({b"k": b"2"}, 3)

    assert store.get(b"k") == b"2"


def test_a_write_may_move_the_checkpoint_only(store: OnlyStore) -> None:
    store.write({b"k": b"v"}, 1)
    store.write({}, 5)

    assert (store.get(b"k"), store.checkpoint()) == (b"v", 5)


def test_items_are_in_the_order_of_their_keys(store: OnlyStore) -> None:
    keys = [b"b", b"a", b"\xff", b"", b"\x00", b"ab", b"B"]
    store.write(dict.fromkeys(keys, b"v"), 1)

    assert [key for key, _ in store.items()] == sorted(keys)


def test_a_store_opened_again_has_what_was_written(open_stores: OpenStateStores) -> None:
    store = OnlyStore(open_stores())
    store.write({b"a": b"1", b"z": b"26"}, 9)
    store.close()

    again = OnlyStore(open_stores())
    assert list(again.items()) == [(b"a", b"1"), (b"z", b"26")]
    assert (again.get(b"z"), again.checkpoint()) == (b"26", 9)
    again.close()


def test_a_cleared_store_is_new(open_stores: OpenStateStores) -> None:
    store = OnlyStore(open_stores())
    store.write({b"k": b"v"}, 9)
    store.clear()
    assert (store.get(b"k"), list(store.items()), store.checkpoint()) == (None, [], None)

    store.write({b"a": b"1"}, 2)
    store.close()
    again = OnlyStore(open_stores())
    assert (list(again.items()), again.checkpoint()) == ([(b"a", b"1")], 2)
    again.close()


def test_stores_of_a_task_are_written_together_and_know_nothing_of_each_other(open_stores: OpenStateStores) -> None:
    stores = open_stores()
    write(stores, {NAME: Update({b"k": b"1"}, 3), "Side": Update({b"k": b"2", b"l": b"2"}, 7)})
    write(stores, {"Side": Update({b"l": None}, 8)})
    stores.close()

    again = open_stores()
    found = [(dict(again.table(name).items()), again.table(name).checkpoint()) for name in (NAME, "Side")]
    assert found == [({b"k": b"1"}, 3), ({b"k": b"2"}, 8)]
    assert again.table(NAME).get(b"l") is None
    again.clear()
    assert [again.table(name).checkpoint() for name in (NAME, "Side")] == [None, None]
    again.close()


def test_a_store_knows_how_far_its_log_must_go(open_stores: OpenStateStores) -> None:
    stores = open_stores()
    assert stores.table(NAME).reach() == 0
    write(stores, {NAME: Update({b"k": b"1"}, 3, 9), "Side": Update({b"k": b"2"}, 7)})
    stores.close()

    again = open_stores()
    assert [again.table(name).reach() for name in (NAME, "Side")] == [9, 7]
    write(again, {NAME: Update({}, 9, 9)})
    assert again.table(NAME).reach() == 9
    again.clear()
    assert again.table(NAME).reach() == 0
    again.close()


def test_a_write_that_is_given_up_between_two_steps_has_changed_nothing(stores: StateStores) -> None:
    before = {b"%04d" % number: b"1" for number in range(2_000)}
    write(stores, {NAME: Update(before, 1), "Side": Update({b"k": b"1"}, 1)})
    steps = stores.writing({NAME: Update({**dict.fromkeys(before, b"2"), b"0001": None}, 2), "Side": Update({b"k": b"2"}, 2)})
    next(steps)
    steps.close()

    assert dict(stores.table(NAME).items()) == before
    assert [stores.table(name).checkpoint() for name in (NAME, "Side")] == [1, 1]
    write(stores, {NAME: Update({b"0001": None}, 2)})
    assert stores.table(NAME).get(b"0001") is None


def test_what_was_written_is_found_right(stores: StateStores) -> None:
    write(stores, {NAME: Update({b"%d" % number: b"v" for number in range(10)}, 1), "Side": Update({b"": b"v"}, 1)})

    slices = 0
    while stores.check(4):
        slices += 1
    assert slices <= 5


_KEYS = st.binary(max_size=3)
_CHANGES = st.dictionaries(_KEYS, st.none() | st.binary(max_size=3), max_size=8)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=40)
@given(rounds=st.lists(_CHANGES, max_size=6), asked=st.lists(_KEYS, max_size=8))
def test_a_store_equals_a_dictionary(kind: str, rounds: list[dict[bytes, bytes | None]], asked: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = OnlyStore(MemoryStores() if kind == "memory" else SqliteStores(Path(folder) / "state.db", (NAME,)))
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


def test_a_scan_finds_what_has_a_part_piece_by_piece(store: OnlyStore) -> None:
    store.write({b"%02d" % number: b"user ann" if number % 3 else b"user\x00bob" for number in range(10)}, 1)
    table = store.stores.table(NAME)

    assert table.scan(b"", b"ann", 4) == Scanned([(b"01", b"user ann"), (b"02", b"user ann")], b"03")
    assert table.scan(b"03", b"ann", 4) == Scanned([(b"04", b"user ann"), (b"05", b"user ann"), (b"07", b"user ann")], b"07")
    assert table.scan(b"07", b"ann", 4) == Scanned([(b"08", b"user ann")], None)
    assert table.scan(b"05", b"ann", 4) == Scanned([(b"07", b"user ann"), (b"08", b"user ann")], None)
    assert [key for key, _ in table.scan(b"", b"\x00", 99).items] == [b"00", b"03", b"06", b"09"]
    assert table.scan(b"09", b"ann", 4) == Scanned([], None)


def test_a_scan_of_nothing_finds_nothing(store: OnlyStore) -> None:
    assert store.stores.table(NAME).scan(b"", b"ann", 4) == Scanned([], None)


def test_a_scan_sees_rows_that_were_replaced_and_not_those_that_are_gone(store: OnlyStore) -> None:
    store.write({b"a": b"ann", b"b": b"ann", b"c": b"bob"}, 1)
    store.write({b"a": b"bob", b"b": None, b"c": b"ann"}, 2)

    assert store.stores.table(NAME).scan(b"", b"ann", 9) == Scanned([(b"c", b"ann")], None)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 100, 123])
def test_many_keys_are_looked_up_as_each_of_them_would_be(store: OnlyStore, count: int) -> None:
    keys = [b"%04d" % number for number in range(count)]
    # Every third one is none of the store's, some are above all that it has.
    store.write({key: b"of " + key for number, key in enumerate(keys) if number % 3}, 1)
    asked = [*reversed(keys), b"9999", *keys[:2]]

    found = store.stores.table(NAME).get_all(asked)

    assert found == {key: value for key in asked if (value := store.get(key)) is not None}
