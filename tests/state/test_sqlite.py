"""The state store in a file: quick about keys that can't be there, and of no harm when it is damaged."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import NAME, OnlyStore, done, write
from ticketmaster.errors import Fatal, TaskCorrupted, UsageError
from ticketmaster.state import sqlite
from ticketmaster.state.port import Update
from ticketmaster.state.sqlite import SqliteStores, reading_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def opened(path: Path) -> OnlyStore:
    """A store by itself."""
    return OnlyStore(SqliteStores(path, (NAME,)))


def connection_of(store: OnlyStore) -> sqlite3.Connection:
    """What the store speaks to SQLite by."""
    assert isinstance(store.stores, SqliteStores)
    return store.stores._connection


@pytest.fixture
def store(path: Path) -> Iterator[OnlyStore]:
    store = opened(path)
    yield store
    store.close()


def queries_of(store: OnlyStore) -> list[str]:
    """The statements that the store runs from now on."""
    statements: list[str] = []
    connection_of(store).set_trace_callback(statements.append)
    return statements


def damage(path: Path, *, first_page: int = 2) -> None:
    """Overwrites every page from ``first_page`` on; the header stays. All is in the file itself: the store was closed."""
    with sqlite3.connect(path) as database:
        ((page_bytes,),) = database.execute("PRAGMA page_size").fetchall()
    database.close()
    content = path.read_bytes()
    at = page_bytes * (first_page - 1)
    path.write_bytes(content[:at] + b"\xa5" * (len(content) - at))


def filled(path: Path) -> None:
    """A store of many pages, closed."""
    store = opened(path)
    store.write({b"key-%06d" % number: bytes(100) for number in range(2_000)}, 2_000)
    store.close()


def test_a_key_above_the_highest_is_answered_without_a_query(store: OnlyStore) -> None:
    store.write({b"b": b"1", b"d": b"1"}, 1)
    statements = queries_of(store)

    assert [store.get(key) for key in (b"da", b"e", b"\xff")] == [None, None, None]
    assert statements == []
    assert [store.get(key) for key in (b"a", b"d")] == [None, b"1"]
    assert len(statements) == 2


def test_the_highest_key_moves_with_writes_and_is_found_again_when_the_file_is_opened(store: OnlyStore, path: Path) -> None:
    store.write({b"b": b"1"}, 1)
    store.write({b"c": b"2", b"a": b"2"}, 2)
    assert store.get(b"c") == b"2"
    store.write({b"c": None}, 3)
    assert store.get(b"b") == b"1"

    again = opened(path)
    statements = queries_of(again)
    assert again.get(b"b") == b"1"
    assert again.get(b"bb") is None
    assert len(statements) == 1
    again.close()


def test_a_cleared_store_forgets_the_highest_key(store: OnlyStore) -> None:
    store.write({b"z": b"1"}, 1)
    store.clear()
    statements = queries_of(store)

    assert store.get(b"y") is None
    assert statements == []


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_however_many_are_written_at_once_all_are_there(store: OnlyStore, count: int) -> None:
    values: dict[bytes, bytes | None] = {b"%03d" % number: b"new" for number in range(count)}
    store.write(dict.fromkeys(list(values)[::2], b"old"), 1)
    store.write(dict(reversed(values.items())), 2)

    assert dict(store.items()) == values
    assert store.checkpoint() == 2


def test_a_write_is_whole_or_nothing(store: OnlyStore) -> None:
    store.write({b"a": b"1"}, 1)
    connection_of(store).execute("CREATE TRIGGER t BEFORE DELETE ON state BEGIN SELECT RAISE(ABORT, 'refused'); END")

    with pytest.raises(Fatal, match=r"state\.db can't be written: refused"):
        store.write({b"a": None, b"b": b"2"}, 2)
    assert list(store.items()) == [(b"a", b"1")]
    assert store.checkpoint() == 1


@pytest.mark.parametrize(("rows", "bytes_each", "steps_expected"), [(4_000, 100, 8), (40, 100_000, 4), (501, 1, 2), (0, 0, 0)])
def test_a_write_is_made_in_steps_of_so_many_rows_and_bytes(store: OnlyStore, rows: int, bytes_each: int, steps_expected: int) -> None:
    changes: dict[bytes, bytes | None] = {b"%06d" % number: bytes(bytes_each) for number in range(rows)}

    assert len(list(store.stores.writing({NAME: Update(changes, 1)}))) == steps_expected
    assert (dict(store.items()), store.checkpoint()) == (changes, 1)


def test_nobody_else_sees_a_write_before_its_last_step(store: OnlyStore, path: Path) -> None:
    store.write({b"0000": b"1"}, 1)
    steps = store.stores.writing({NAME: Update({b"%04d" % number: b"2" for number in range(3_000)}, 2)})
    next(steps)

    with reading_store(path, 0, NAME, in_use=True) as (checkpoint, items):
        assert (checkpoint, list(items)) == (1, [(b"0000", b"1")])
    done(steps)
    with reading_store(path, 0, NAME, in_use=True) as (checkpoint, items):
        assert (checkpoint, len(list(items))) == (2, 3_000)


def test_a_damaged_page_is_told_and_clear_makes_the_file_anew(path: Path) -> None:
    filled(path)
    store = opened(path)
    page = path.read_bytes().index(b"key-001000") // 4096
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)
    # Out of its cache.
    connection_of(store).execute("PRAGMA shrink_memory")

    with pytest.raises(TaskCorrupted, match=r"state\.db can't be read"):
        store.get(b"key-001000")
    with pytest.raises(TaskCorrupted, match=r"state\.db can't be read"):
        list(store.items())
    with pytest.raises(TaskCorrupted, match=r"state\.db can't be read"):
        store.stores.table(NAME).scan(b"", b"v", 10_000)
    with pytest.raises(TaskCorrupted, match=r"state\.db"):
        store.write({b"key-001000": b"new"}, 2_001)
    store.clear()
    assert (list(store.items()), store.checkpoint()) == ([], None)
    store.write({b"k": b"v"}, 3)
    store.close()

    again = opened(path)
    assert (list(again.items()), again.checkpoint()) == ([(b"k", b"v")], 3)
    again.close()


def test_a_file_whose_tables_are_damaged_is_opened_and_can_be_restored(path: Path) -> None:
    filled(path)
    damage(path)

    # The changelog has it all: nobody need delete a file by hand.
    store = opened(path)
    assert store.checkpoint() is None
    store.write({b"k": b"v"}, 1)
    assert store.get(b"k") == b"v"
    store.close()


def test_a_full_disk_is_fatal(store: OnlyStore) -> None:
    pages = connection_of(store).execute("PRAGMA page_count").fetchone()[0]
    connection_of(store).execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(Fatal, match=r"state\.db can't be written: database or disk is full"):
        store.write({b"%d" % number: bytes(1_000) for number in range(50)}, 1)
    assert (list(store.items()), store.checkpoint()) == ([], None)


def test_another_programs_file_is_refused_and_left_alone(path: Path) -> None:
    content = b"not a database, but long enough to be taken for one" * 100
    path.write_bytes(content)

    with pytest.raises(UsageError, match=r"state\.db can't be used as a database"):
        opened(path)
    assert path.read_bytes() == content


def test_no_flipped_bit_changes_what_is_read(path: Path) -> None:
    choice = random.Random(7)
    written = {b"key-%06d" % number: choice.randbytes(200) for number in range(300)}
    store = opened(path)
    store.write(written, 300)
    store.close()
    content = path.read_bytes()
    outcomes = set()
    for _ in range(400):
        # Behind the file's header, which says that it is a database of ours at all.
        damaged = bytearray(content)
        damaged[choice.randrange(100, len(content))] ^= 1 << choice.randrange(8)
        path.write_bytes(damaged)
        outcomes.add(_read(path, written))

    assert {"what was written", "begun anew"} <= outcomes
    assert outcomes <= {"what was written", "damage was found", "begun anew", "refused"}


def test_a_key_that_has_changed_is_found_behind_the_work_and_nothing_is_answered_from_then_on(path: Path) -> None:
    store = opened(path)
    store.write({b"key-%06d" % number: b"value" for number in range(300)}, 300)
    store.close()
    content = path.read_bytes()
    # It can neither be found nor be missed, and a command that was decided long ago would be decided again.
    path.write_bytes(content.replace(b"key-000123", b"key-000133"))

    store = opened(path)
    assert store.get(b"key-000299") == b"value"
    assert store.stores.check(100)
    with pytest.raises(TaskCorrupted, match="not what was written"):
        store.stores.check(100)
    with pytest.raises(TaskCorrupted, match="not what was written"):
        store.get(b"key-000299")
    with pytest.raises(TaskCorrupted, match="not what was written"):
        store.stores.table(NAME).scan(b"key-000200", b"v", 10)
    with pytest.raises(TaskCorrupted, match="not what was written"):
        store.write({b"k": b"v"}, 301)
    store.clear()
    assert (list(store.items()), store.checkpoint(), store.stores.check(100)) == ([], None, False)
    store.close()


def test_a_store_is_opened_without_reading_its_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    read: list[bytes] = []

    def counted(rows: Iterator[tuple[bytes, bytes, int]], _: Path) -> Iterator[tuple[bytes, bytes]]:
        for key, value, _sum in rows:
            read.append(key)
            yield key, value

    monkeypatch.setattr(sqlite, "_checked", counted)

    store = opened(path)
    assert len(read) <= 2
    store.close()


def test_the_write_ahead_log_is_copied_by_another_thread(path: Path) -> None:
    store = opened(path)
    wal = Path(f"{path}-wal")
    for number in range(60):
        store.write({b"%04d" % number: bytes(200_000)}, number)
        assert isinstance(store.stores, SqliteStores)
        if store.stores._copying:
            store.stores._copying.result()
    assert wal.stat().st_size < 6 << 20
    store.close()


def test_a_file_of_an_earlier_release_has_its_store_and_gets_the_others(path: Path) -> None:
    filled(path)

    stores = SqliteStores(path, (NAME, "Side"))
    assert stores.table(NAME).checkpoint() == 2_000
    assert stores.table("Side").checkpoint() is None
    write(stores, {"Side": Update({b"k": b"v"}, 1)})
    stores.close()
    # And back.
    store = opened(path)
    assert store.checkpoint() == 2_000
    store.close()


def _read(path: Path, written: dict[bytes, bytes]) -> str:
    """The outcome of reading a file, in words."""
    try:
        store = opened(path)
    except UsageError:
        return "refused"
    try:
        found = dict(store.items())
        assert {key: store.get(key) for key in found} == found
        if (found, store.checkpoint()) == (written, 300):
            return "what was written"
        return "begun anew" if (found, store.checkpoint()) == ({}, None) else "something else"
    except TaskCorrupted:
        return "damage was found"
    finally:
        store.close()


def test_a_store_of_a_release_without_checksums_is_begun_anew(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as database:
        database.executescript(
            "DROP TABLE state; DROP TABLE checkpoint; CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, next_offset INTEGER);"
            "INSERT INTO state VALUES (x'61', x'31'); INSERT INTO checkpoint VALUES (0, 1)"
        )
    database.close()

    store = opened(path)
    assert (list(store.items()), store.checkpoint()) == ([], None)
    store.write({b"k": b"v"}, 1)
    assert (store.get(b"k"), store.checkpoint()) == (b"v", 1)
    store.close()
