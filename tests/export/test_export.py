"""``ticketmaster export`` writes each reservation once, as it stands, goes on where it was interrupted, and runs nobody's formulas."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from tests.support.records import seat_fields
from ticketmaster.bootstrap.export import run_directory_export
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.lineage import Lineage
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.cli import main
from ticketmaster.clock import SystemClock
from ticketmaster.datadir import write_marker
from ticketmaster.export import formats, reading
from ticketmaster.export.formats import as_cell
from ticketmaster.wire import avro, topics

PARTITIONS = 3
TOPIC = topics.USER_RESERVATION.name
COLUMNS = [
    *("reservationId", "userId", "eventId", "areaId", "type", "numOfSeats", "seats", "state", "failedReason"),
    *("holdExpiresAt", "paymentReference", "requestedAt"),
]
# Minted at 1,700,000,000,123 ms, one of an Idempotency-Key, and one of another gateway.
MINTED = "018bcfe5-687b-7000-8000-000000000001"
DERIVED = "00000000-0000-8000-8000-000000000001"
FOREIGN = "ffffffff-ffff-4fff-8fff-ffffffffffff"


def reservation(reservation_id: str, **fields: Any) -> Pair:  # noqa: ANN401 - those of the Avro schema
    """A record, of fastavro's bytes; in its second form with a hold or a payment."""
    value = {"reservationId": reservation_id, "userId": "ann", "eventId": "show", "areaId": "A", "numOfSeats": 2, "numOfSeat": 0}
    value |= {"type": "RANDOM", "seats": seat_fields([(3, 4), (3, 5)]), "state": "RESERVED", "failedReason": ""}
    none = {"holdExpiresAt": 0, "holdExpiresAtMax": 0, "paymentReference": "", "changeId": "", "changeRefusal": ""}
    if fields.keys() & none.keys():
        return reservation_id.encode(), avro.encode("Reservation.2", value | none | fields)
    return reservation_id.encode(), avro.encode("Reservation", value | fields)


HELD = datetime.fromtimestamp(1_700_000_600, UTC)
SEATLESS: dict[str, Any] = {"seats": [], "state": "FAILED", "failedReason": "[NOT_AVAILABLE]: no continuous 2 seats"}


async def _append(directory: Path, records: Sequence[Pair]) -> None:
    log = directory / "log.db"
    with closing(Lineage(log)) as lineage:
        lineage.begin(SystemClock().random_bits(62))
    broker = EmbeddedBroker(SqliteStorage(log), SystemClock())
    await broker.start()
    try:
        await broker.create_topics([TopicSpec(topic.name, PARTITIONS, topic.compacted) for topic in topics.ALL_TOPICS])
        for key, value in records:
            await broker.producer().send({TopicPartition(TOPIC, partition_of(key, PARTITIONS)): [(key, value)]})
    finally:
        await broker.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory without reservations."""
    path = tmp_path / "data"
    path.mkdir()
    write_marker(path, PARTITIONS)
    return path


def append(directory: Path, *records: Pair) -> None:
    """As a server does that is started and stopped again."""
    asyncio.run(_append(directory, records))


def export(directory: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["export", "-d", str(directory), *more])


def lines(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_reservation_is_written_once_as_it_stands(directory: Path) -> None:
    append(
        directory,
        reservation(MINTED),
        reservation(DERIVED, **SEATLESS),
        reservation(FOREIGN),
        reservation(MINTED, state="PAID", holdExpiresAt=HELD, paymentReference="p-1"),
    )

    shared = {"userId": "ann", "eventId": "show", "areaId": "A", "type": "RANDOM", "numOfSeats": 2}
    shared |= {"seats": [{"row": 3, "col": 4}, {"row": 3, "col": 5}], "state": "RESERVED", "failedReason": ""}
    shared |= dict.fromkeys(["holdExpiresAt", "paymentReference", "requestedAt"])
    told = {"holdExpiresAt": "2023-11-14T22:23:20.000Z", "paymentReference": "p-1", "requestedAt": "2023-11-14T22:13:20.123Z"}
    assert lines(export(directory, "--format", "jsonl")) == [
        shared | SEATLESS | {"reservationId": DERIVED},
        shared | told | {"reservationId": MINTED, "state": "PAID"},
        shared | {"reservationId": FOREIGN},
    ]


def test_columns_of_csv_have_one_order_and_a_line_of_names(directory: Path) -> None:
    append(directory, reservation(MINTED, state="PAID", holdExpiresAt=HELD, paymentReference="7"))

    done = export(directory)

    assert (done.exit_code, done.stderr) == (0, "stdout: 1 reservations of all events\n")
    assert done.stdout_bytes.decode() == (
        f"{','.join(COLUMNS)}\r\n"
        f"{MINTED},ann,show,A,RANDOM,2,A:3-4 3-5,PAID,,2023-11-14T22:23:20.000Z,7,2023-11-14T22:13:20.123Z\r\n"
    )  # fmt: skip


def test_parquet_has_the_same_columns_with_types(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_GROUP_ROWS", 2)
    ids = [f"018bcfe5-687b-7000-8000-{number:012x}" for number in range(5)]
    append(directory, *(reservation(one, holdExpiresAt=HELD) for one in ids))

    done = export(directory, "--format", "parquet", "-o", str(tmp_path / "sold.parquet"))

    assert done.exit_code == 0, done.output
    found = parquet.read_table(tmp_path / "sold.parquet")
    assert found.column_names == COLUMNS
    rows = found.to_pylist()
    assert [row["reservationId"] for row in rows] == ids
    assert rows[0]["seats"] == [{"row": 3, "col": 4}, {"row": 3, "col": 5}]
    assert rows[0]["holdExpiresAt"] == HELD
    assert rows[0]["paymentReference"] is None


def test_an_empty_topic_is_a_table_without_rows(directory: Path, tmp_path: Path) -> None:
    append(directory)

    assert export(directory, "-o", str(tmp_path / "sold.csv")).stdout == f"{tmp_path}/sold.csv: 0 reservations of all events\n"
    assert (tmp_path / "sold.csv").read_text().split("\n") == [",".join(COLUMNS), ""]
    assert export(directory, "--format", "parquet", "-o", str(tmp_path / "sold.parquet")).exit_code == 0
    assert parquet.read_table(tmp_path / "sold.parquet").num_rows == 0
    assert lines(export(directory, "--format", "jsonl")) == []


def test_of_one_event_only_its_reservations_are_written(directory: Path) -> None:
    append(directory, reservation(MINTED), reservation(DERIVED, eventId="show 2", userId="show"), reservation(FOREIGN, eventId="sho"))

    assert [row["reservationId"] for row in lines(export(directory, "--format", "jsonl", "--event", "show"))] == [MINTED]
    assert [row["reservationId"] for row in lines(export(directory, "--format", "jsonl", "--event", "show 2"))] == [DERIVED]


# --- Names of strangers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "＝1", "＋1", "－1", "＠a"])  # noqa: RUF001
def test_what_a_spreadsheet_would_run_becomes_text(text: str) -> None:
    assert as_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "ann", "a=1", "1-2", "O'Neill", " a", "'=1", "été"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert as_cell(text) == text


def test_strange_names_are_one_cell_each(directory: Path) -> None:
    strange: dict[str, Any] = {"userId": '=HYPERLINK("http://x")', "eventId": 'a,"b"\r\nc', "areaId": "-\x00\x1b[31m;é😀"}
    append(directory, reservation(MINTED, **strange))

    names, row = csv.reader(StringIO(export(directory).stdout_bytes.decode(), newline=""))
    (line,) = lines(export(directory, "--format", "jsonl"))

    found = dict(zip(names, row, strict=True))
    assert [found[name] for name in strange] == [f"'{strange['userId']}", strange["eventId"], f"'{strange['areaId']}"]
    assert found["seats"] == f"'{strange['areaId']}:3-4 3-5"
    assert {name: line[name] for name in strange} == strange
    assert export(directory, "--format", "jsonl").stdout.isascii()


def test_what_can_not_be_read_is_left_out_named_and_exit_code_1(directory: Path) -> None:
    key, value = reservation(DERIVED, userId="\x1b[31m")
    assert value is not None
    append(directory, reservation(MINTED), (key, value[:-1]), (FOREIGN.encode(), b"\x00garbage"))

    done = export(directory, "--format", "jsonl", "--event", "show")

    assert [json.loads(line)["reservationId"] for line in done.stdout.splitlines()] == [MINTED]
    assert done.exit_code == 1
    told = done.stderr.splitlines()
    assert [line.startswith("left out, as it can't be read: reservation ") for line in told] == [True, True, False]
    assert DERIVED in told[0]
    assert FOREIGN in told[1]


# --- Interrupted -------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """As a signal does, at a moment of the test's choice."""


def interrupting(at: int) -> Callable[[str], None]:
    told: list[str] = []

    def show(text: str) -> None:
        told.append(text)
        if len(told) == at:
            raise Interrupted

    return show


@pytest.fixture
def sold(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Some on each partition; an export commits what it has read partition by partition."""
    monkeypatch.setattr(reading, "_COMMIT_RECORDS", 1)
    ids = [f"018bcfe5-687b-7000-8000-{number:012x}" for number in range(40)]
    append(directory, *map(reservation, ids))
    assert {partition_of(one.encode(), PARTITIONS) for one in ids} == set(range(PARTITIONS))
    return ids


def begun(directory: Path, target: Path, event: str | None = None) -> None:
    """An export that is interrupted when it has read two of the three partitions."""
    with pytest.raises(Interrupted):
        run_directory_export(directory, event, "jsonl", target, interrupting(2))
    assert not target.exists()
    with closing(sqlite3.connect(f"{target}.partial")) as connection:
        found = connection.execute("SELECT count(*) FROM reservation").fetchone()[0]
    assert 0 < found < 40


def told_while_reading(directory: Path, target: Path, event: str | None = None) -> tuple[bool, list[str]]:
    told: list[str] = []
    found = run_directory_export(directory, event, "jsonl", target, told.append)
    assert list(target.parent.glob(f"{target.name}?*")) == []
    return found.went_on, told


def test_an_interrupted_export_goes_on_where_it_was(directory: Path, tmp_path: Path, sold: list[str]) -> None:
    target = tmp_path / "sold.jsonl"
    begun(directory, target)
    # The server is started, sells and stops meanwhile.
    append(directory, reservation(sold[0], state="PAID", paymentReference="p-1"), reservation(FOREIGN))

    went_on, told = told_while_reading(directory, target)

    assert went_on
    assert target.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["reservationId"] for row in rows] == [*sold, FOREIGN]
    assert [row["state"] for row in rows] == ["PAID", *["RESERVED"] * 40]
    assert f"reading: {42 - sum(partition_of(one.encode(), PARTITIONS) < 2 for one in sold)} records, 100 %" in told


def test_an_export_that_is_killed_while_it_writes_leaves_no_half_table(directory: Path, tmp_path: Path, sold: list[str]) -> None:
    target = tmp_path / "sold.jsonl"
    target.write_text("the last one")

    class FullDisk(OSError):
        strerror = "No space left on device"

    def fail(*_: object) -> None:
        raise FullDisk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_FORMATS", {"csv": lambda: fail})
        done = export(directory, "-o", str(target))

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"Error: {target} can't be written: No space left on device; what was read is kept, run it again"]
    assert target.read_text() == "the last one"
    assert told_while_reading(directory, target)[0]
    assert len(target.read_text().splitlines()) == len(sold)


def another_event(_: Path) -> str | None:
    return "show"


def another_log(directory: Path) -> str | None:
    (directory / "log.db").unlink()
    append(directory, *(reservation(f"018bcfe5-687b-7000-8000-{number:012x}") for number in range(40)))
    return None


def an_older_log_that_went_on(directory: Path) -> str | None:
    """The log of a backup from before the export: its run is not known there."""
    with closing(sqlite3.connect(directory / "log.db")) as connection:
        connection.execute("UPDATE run SET id = id + 1")
        connection.commit()
    return None


@pytest.mark.parametrize("change", [another_event, another_log, an_older_log_that_went_on])
@pytest.mark.usefixtures("sold")
def test_what_was_read_of_something_else_is_thrown_away(directory: Path, tmp_path: Path, change: Callable[[Path], str | None]) -> None:
    target = tmp_path / "sold.jsonl"
    begun(directory, target)

    went_on, told = told_while_reading(directory, target, change(directory))

    assert not went_on
    assert "reading: 40 records, 100 %" in told
    assert len(target.read_text().splitlines()) == 40


def test_ctrl_c_is_one_line_that_says_how_to_go_on(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ticketmaster.bootstrap.export.run_directory_export", interrupt)

    done = export(directory, "-o", str(tmp_path / "x"))

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: it was interrupted: run it again, it goes on where it was\n"


# --- Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--event", ""], "--event': is empty"),
        (["--format", "xls"], "'xls' is not one of"),
        (["-c", "client.properties"], "give either -c or -d"),
        (["-o", "nowhere/sold.csv"], "there is no directory"),
        (["-o", "."], "it is no file"),
        (["-o", "/dev/null"], "it is no file"),
        (["-d", "nowhere"], "is no data directory"),
    ],
)
def test_a_mistake_is_one_clear_line(directory: Path, more: list[str], part: str) -> None:
    append(directory)

    done = export(directory, *more)

    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert part in line


def test_without_its_library_parquet_says_what_to_install(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(directory)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    done = export(directory, "--format", "parquet", "-o", str(tmp_path / "x"))

    assert done.exit_code == 2
    assert (
        done.stderr
        == "Error: --format parquet needs pyarrow, the extra ticketmaster[parquet], which is not installed: pip install pyarrow\n"
    )
    assert not (tmp_path / "x.partial").exists()


def test_a_file_that_is_not_ours_is_not_taken_for_a_scratch_file(directory: Path, tmp_path: Path) -> None:
    append(directory)
    (tmp_path / "sold.csv.partial").write_text("my thesis")

    done = export(directory, "-o", str(tmp_path / "sold.csv"))

    assert done.exit_code == 2
    assert "sold.csv.partial" in done.stderr
    assert (tmp_path / "sold.csv.partial").read_text() == "my thesis"


def test_two_exports_to_one_file_do_not_meet(directory: Path, tmp_path: Path, sold: list[str]) -> None:
    target, done = tmp_path / "sold.jsonl", list[Result]()

    def export_as_well(_: str) -> None:
        if not done:
            done.append(export(directory, "-o", str(target)))

    found = run_directory_export(directory, None, "jsonl", target, export_as_well)

    assert (done[0].exit_code, "locked" in done[0].stderr) == (2, True)
    assert found.reservations == len(sold)
