"""The overlay: a transaction's writes are seen at once, and reach the store only when they are committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import NAME, done
from ticketmaster.errors import Fatal
from ticketmaster.state.memory import MemoryStores, MemoryTable
from ticketmaster.state.overlay import Overlay, Overlays
from ticketmaster.state.port import Steps, Update


class NotedTable(MemoryTable):
    """Notes look-ups."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        return super().get(key)


class NotedStore(MemoryStores):
    """One store that notes look-ups and writes, and fails these if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.only = NotedTable()
        self.writes: list[tuple[dict[bytes, bytes | None], int]] = []
        self.failing = False

    def table(self, name: str) -> MemoryTable:
        return self.only

    @property
    def asked(self) -> list[bytes]:
        return self.only.asked

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.only.items()

    def checkpoint(self) -> int | None:
        return self.only.checkpoint()

    def fill(self, changes: dict[bytes, bytes | None], checkpoint: int) -> None:
        """Puts values there before the test."""
        self.only.write(changes, checkpoint)

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        yield
        if self.failing:
            raise Fatal("the disk is full")
        for update in updates.values():
            self.writes.append((dict(update.changes), update.checkpoint))
            self.only.write(*update)


class OnlyOverlay(Overlay):
    """The overlay of a store that is alone."""

    def __init__(self, stores: MemoryStores) -> None:
        self.overlays = Overlays(stores, (NAME,))
        super().__init__(stores.table(NAME))
        self.overlays[NAME] = self

    def write_behind(self) -> None:
        done(self.overlays.writing_behind())

    def write_all(self) -> None:
        done(self.overlays.writing_all())


@pytest.fixture
def store() -> NotedStore:
    return NotedStore()


@pytest.fixture
def overlay(store: NotedStore) -> OnlyOverlay:
    return OnlyOverlay(store)


def test_the_open_transaction_is_looked_up_first_and_the_store_last(overlay: OnlyOverlay, store: NotedStore) -> None:
    store.fill({b"stored": b"s", b"older": b"s", b"newer": b"s", b"open": b"s"}, 1)
    overlay.put(b"older", b"o")
    overlay.put(b"newer", b"o")
    overlay.put(b"open", b"o")
    overlay.commit(2)
    overlay.write_behind()
    overlay.put(b"newer", b"n")
    overlay.put(b"open", b"n")
    overlay.commit(3)
    overlay.put(b"open", b"x")

    assert [overlay.get(key) for key in (b"stored", b"older", b"newer", b"open")] == [b"s", b"o", b"n", b"x"]
    assert store.asked == [b"stored"]


def test_what_was_just_written_is_not_read_back(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"v")
    overlay.commit(1)
    overlay.write_behind()
    overlay.write_behind()

    assert overlay.get(b"k") == b"v"
    assert (store.asked, [*store.items()]) == ([], [(b"k", b"v")])

    overlay.write_behind()

    assert overlay.get(b"k") == b"v"
    assert store.asked == [b"k"]


def test_a_deleted_key_is_gone_whatever_lies_below(overlay: OnlyOverlay, store: NotedStore) -> None:
    store.fill({b"k": b"v"}, 1)
    overlay.put(b"k", None)

    assert overlay.get(b"k") is None
    overlay.commit(2)
    assert overlay.get(b"k") is None
    overlay.write_behind()
    assert overlay.get(b"k") is None
    overlay.write_behind()
    assert overlay.get(b"k") is None
    assert list(store.items()) == []


def test_a_key_that_was_prefetched_is_not_asked_for_again_until_the_next_write(overlay: OnlyOverlay, store: NotedStore) -> None:
    store.fill({b"a": b"1", b"b": b"1"}, 1)
    overlay.prefetch([b"a", b"b", b"none"])

    assert [overlay.get(key) for key in (b"a", b"b", b"none")] == [b"1", b"1", None]
    assert store.asked == [b"none"]

    overlay.write_behind()
    assert overlay.get(b"a") == b"1"
    assert store.asked == [b"none", b"a"]


def test_reading_ahead_hides_nothing_that_is_newer_than_the_store(overlay: OnlyOverlay, store: NotedStore) -> None:
    keys = [b"stored", b"older", b"newer", b"open"]
    store.fill(dict.fromkeys(keys, b"s"), 1)
    overlay.put(b"older", b"o")
    overlay.commit(2)
    overlay.write_behind()
    overlay.put(b"newer", None)
    overlay.commit(3)
    overlay.put(b"open", b"x")

    overlay.prefetch(keys)

    assert [overlay.get(key) for key in keys] == [b"s", b"o", None, b"x"]
    overlay.write_all()
    overlay.prefetch(keys)
    assert [overlay.get(key) for key in keys] == [b"s", b"o", None, b"s"]


def test_nothing_reaches_the_store_before_it_is_committed(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"v")
    overlay.write_behind()
    overlay.write_behind()

    assert store.writes == []
    assert overlay.open_writes == {b"k": b"v"}


def test_the_open_transaction_is_forgotten_when_all_is_written(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"committed", b"v")
    overlay.commit(4)
    overlay.put(b"open", b"v")
    overlay.write_all()

    assert list(store.items()) == [(b"committed", b"v")]
    assert store.checkpoint() == 4


def test_what_is_committed_while_a_write_is_under_way_is_kept_for_the_next(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"1")
    overlay.commit(1)
    overlay.write_behind()
    steps = overlay.overlays.writing_behind()
    next(steps)
    overlay.put(b"k", b"2")
    overlay.put(b"other", b"2")
    overlay.commit(3)
    done(steps)

    assert (overlay.get(b"k"), overlay.get(b"other")) == (b"2", b"2")
    assert ([*store.items()], store.checkpoint()) == ([(b"k", b"1")], 1)
    overlay.write_behind()
    assert ([*store.items()], store.checkpoint()) == ([(b"k", b"2"), (b"other", b"2")], 3)


def test_a_write_that_is_given_up_is_begun_anew(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"1")
    overlay.commit(1)
    overlay.write_behind()
    steps = overlay.overlays.writing_behind()
    next(steps)
    steps.close()

    assert (overlay.get(b"k"), store.checkpoint()) == (b"1", None)
    overlay.write_behind()
    assert ([*store.items()], store.checkpoint()) == ([(b"k", b"1")], 1)


def test_a_failed_write_keeps_the_values_in_memory(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"v")
    overlay.commit(4)
    overlay.write_behind()
    store.failing = True
    with pytest.raises(Fatal):
        overlay.write_behind()

    assert overlay.get(b"k") == b"v"
    assert store.checkpoint() is None


def test_a_transaction_without_writes_does_not_move_the_position(overlay: OnlyOverlay) -> None:
    overlay.commit(5)
    overlay.commit(None)

    assert overlay.position == 5


def test_the_position_begins_at_the_checkpoint(store: NotedStore) -> None:
    store.fill({b"k": b"v"}, 9)

    assert OnlyOverlay(store).position == 9
    assert OnlyOverlay(MemoryStores()).position is None


def test_a_store_that_is_up_to_date_is_not_written(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.put(b"k", b"v")
    overlay.commit(1)
    overlay.write_behind()
    overlay.write_behind()
    written = len(store.writes)
    overlay.write_behind()

    assert len(store.writes) == written


def test_a_table_takes_records_without_a_transaction(overlay: OnlyOverlay, store: NotedStore) -> None:
    overlay.apply([(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)], 4)

    assert (overlay.get(b"a"), overlay.get(b"b"), overlay.position) == (b"2", None, 4)
    overlay.write_all()
    assert list(store.items()) == [(b"a", b"2")]
    assert store.checkpoint() == 4


@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 20), st.none() | st.sampled_from([b"ann", b"bob"])), max_size=8), max_size=6),
    rows_max=st.integers(1, 9),
    after=st.integers(-1, 21),
)
def test_a_scan_finds_what_a_look_up_of_every_key_would(batches: list[list[tuple[int, bytes | None]]], rows_max: int, after: int) -> None:
    overlay = OnlyOverlay(NotedStore())
    log: dict[bytes, bytes | None] = {}
    for number, batch in enumerate(batches, 1):
        records = [(b"%02d" % key, value) for key, value in batch]
        overlay.apply(records, number)
        log.update(records)
        if number % 2:
            overlay.write_behind()
    begin = b"%02d" % after if after >= 0 else b""
    found, end = overlay.scan(begin, b"ann", rows_max)
    while end is not None:
        items, end = overlay.scan(end, b"ann", rows_max)
        found += items

    assert found == sorted((key, value) for key, value in log.items() if value == b"ann" and key > begin)


_STEP = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.none() | st.integers(0, 9)),
    st.tuples(st.sampled_from(["commit", "write_behind", "crash"]), st.just(0), st.just(0)),
)


@given(steps=st.lists(_STEP, max_size=40))
def test_the_store_is_never_ahead_and_leads_with_the_rest_of_the_log_to_what_was_committed(
    steps: list[tuple[str, int, int | None]],
) -> None:
    store = NotedStore()
    overlay = OnlyOverlay(store)
    log: list[tuple[bytes, bytes | None]] = []
    seen: dict[bytes, bytes | None] = {}
    for what, key_number, value_number in steps:
        key = b"%d" % key_number
        value = None if value_number is None else b"%d" % value_number
        if what == "put":
            overlay.put(key, value)
            seen[key] = value
            assert overlay.get(key) == value
        elif what == "commit":
            log += overlay.open_writes.items()
            overlay.commit(len(log) if overlay.open_writes else None)
        elif what == "write_behind":
            overlay.write_behind()
        else:
            # Only the store survives, and the log.
            at = store.checkpoint() or 0
            store.fill(dict(log[at:]), len(log))
            overlay = OnlyOverlay(store)
            seen = dict(log)
        at = store.checkpoint() or 0
        assert at <= len(log)
        restored: dict[bytes, bytes | None] = {**dict(store.items()), **dict(log[at:])}
        assert {key: value for key, value in restored.items() if value is not None} == {
            key: value for key, value in dict(log).items() if value is not None
        }
        for key, expected in seen.items():
            assert overlay.get(key) == expected


def test_several_stores_are_written_in_one_transaction() -> None:
    written: list[dict[str, Update]] = []

    class Noting(MemoryStores):
        def writing(self, updates: Mapping[str, Update]) -> Steps:
            written.append(dict(updates))
            return super().writing(updates)

    overlays = Overlays(Noting(), ("A", "B", "C"))
    for name, position in (("A", 3), ("B", 5)):
        overlays[name].put(b"k", b"v")
        overlays[name].commit(position)
    assert not overlays.are_written
    done(overlays.writing_behind())
    done(overlays.writing_behind())

    assert written == [{"A": Update({b"k": b"v"}, 3, 3), "B": Update({b"k": b"v"}, 5, 5)}]
    assert overlays.are_written
