"""``ticketmaster audit`` and ``trace`` on data directories of the real server: stopped, killed, running, and spoilt on purpose."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from tests.process.client import ask
from tests.process.sale import Sale
from tests.process.server import Server, one_clear_line, run, serving, wait_until
from tests.support.command_line import run_here
from ticketmaster.audit.rules import Rule
from ticketmaster.bootstrap.audit import in_lines
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.broker.port import TopicPartition
from ticketmaster.cli.audit import audit
from ticketmaster.clock import SystemClock
from ticketmaster.wire import topics

PARTITIONS = 3
DECISIONS = topics.USER_RESERVATION.name
TOTAL = re.compile(r"^(\w+(?: \w+)?) +([\d,]+)$", re.MULTILINE)


class Sold(Sale):
    """A sale that is over; it knows what the books must come to."""

    def expected(self) -> dict[str, int]:
        reserved = sum(b'"RESERVED"' in body for body in self.decisions.values())
        return {"commands": len(self.answered), "decisions": len(self.decisions), "reserved": reserved}


async def sell(address: str, purchases: int) -> Sold:
    sale = Sold(1, areas=3)
    await sale.announce(address, "concert")
    for _ in range(purchases):
        reply = await ask(address, "POST", "/v1/event/concert/reservation", body := sale._request())
        sale.answered[reply.body.decode()] = body
    await sale.check(address)
    return sale


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sold]:
    """A data directory that a server has left in order. Don't write to it: copy it."""
    directory = tmp_path_factory.mktemp("sold") / "data"
    with serving(directory, "--partitions", str(PARTITIONS)) as (_, address):
        sale = asyncio.run(sell(address, 60))
    return directory, sale


@pytest.fixture
def copied(sold: tuple[Path, Sold], tmp_path: Path) -> Path:
    """To be spoilt."""
    return Path(shutil.copytree(sold[0], tmp_path / "data"))


def audited(directory: Path, by: Callable[..., CompletedProcess[str]] = run_here) -> tuple[int, dict[str, Any]]:
    done = by("audit", "-d", str(directory), "--json", cwd=directory.parent)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file, but for those that SQLite makes to read."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


# --- Sound directories --------------------------------------------------------------------------------------------------------


def test_a_stopped_directory_is_sound_and_stays_as_it_is(sold: tuple[Path, Sold]) -> None:
    directory, sale = sold
    before = contents(directory)

    code, document = audited(directory)

    assert (code, document["sound"], document["findings"]) == (0, True, [])
    assert {name: document["totals"][name] for name in sale.expected()} == sale.expected()
    # Of the event role four (areas, holders, rules, events), of the reservation role three, of the ticket role one.
    assert document["stores"] == 8 * PARTITIONS
    assert [(area["event_id"], area["area_id"], area["capacity"]) for area in document["areas"]] == [
        ("concert", f"area-{number}", 1_200) for number in range(3)
    ]
    gone = sale.sold()
    assert [area["sold"] for area in document["areas"]] == [len(gone["concert", f"area-{number}"]) for number in range(3)]
    failed = sum(sum(area["failed"].values()) for area in document["areas"])
    assert failed == document["totals"]["failed"] == len(sale.decisions) - document["totals"]["reserved"]
    assert contents(directory) == before


def test_a_long_audit_says_how_far_it_is_without_a_terminal(sold: tuple[Path, Sold], monkeypatch: pytest.MonkeyPatch) -> None:
    # By its module: the package has a command of this name.
    monkeypatch.setattr(import_module("ticketmaster.cli.audit"), "_LINE_INTERVAL_S", 0.0)
    done = CliRunner().invoke(audit, ["-d", str(sold[0]), "--json"])

    assert json.loads(done.stdout)["sound"]
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"reading: [1-9]\d* records, \d+ %", lines[0])
    assert "checking" in lines
    assert lines[-1].startswith(f"comparing a store with {DECISIONS}-")


def test_progress_is_a_line_every_few_seconds_and_none_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now_s = 0.0
    monkeypatch.setattr(SystemClock, "monotonic_s", lambda _: now_s)
    on_progress = in_lines(said.append, 5.0)
    for second in range(0, 23, 2):
        now_s = float(second)
        on_progress("reading", 1_000 * second, 100, second)

    assert said == ["reading: 6,000 records, 6 %", "reading: 12,000 records, 12 %", "reading: 18,000 records, 18 %"]


def test_for_people_it_prints_the_same(sold: tuple[Path, Sold]) -> None:
    directory, sale = sold
    done = run_here("audit", "-d", str(directory), "--areas", "2", cwd=directory.parent)

    assert (done.returncode, done.stderr) == (0, "")
    totals = {name: int(number.replace(",", "")) for name, number in TOTAL.findall(done.stdout)}
    assert {name: totals[name] for name in sale.expected()} == sale.expected()
    assert audited(directory)[1]["digest"] in done.stdout
    assert "area-1" in done.stdout
    assert "area-2" not in done.stdout
    assert "1 areas more" in done.stdout
    assert "sound" in done.stdout


def test_a_directory_in_use_is_read_as_it_is_at_one_moment(tmp_path: Path) -> None:
    async def load_and_audit(address: str, directory: Path) -> list[tuple[int, dict[str, Any]]]:
        sale = Sale(2, areas=3)
        await sale.announce(address, "concert")
        buying = asyncio.create_task(sale.load(address))
        results = [await asyncio.to_thread(audited, directory, run) for _ in range(3)]
        assert not buying.done(), "the audits did not meet a sale"
        buying.cancel()
        await asyncio.gather(buying, return_exceptions=True)
        return results

    with serving(tmp_path / "data") as (_, address):
        results = asyncio.run(load_and_audit(address, tmp_path / "data"))

    for code, document in results:
        assert (code, document["findings"]) == (0, [])
        assert document["totals"]["commands"] == document["totals"]["decisions"] + document["totals"]["under_way"]
    assert results[-1][1]["totals"]["commands"] > results[0][1]["totals"]["commands"] > 0


def test_what_a_killed_server_has_not_worked_off_is_under_way(tmp_path: Path) -> None:
    async def load(address: str, server: Server) -> None:
        sale = Sale(3, areas=3)
        await sale.announce(address, "concert")
        buying = asyncio.create_task(sale.load(address, buyers=0, hurried=30))
        while len(sale.answered) < 300:
            await asyncio.sleep(0.001)
        server.kill()
        await asyncio.gather(buying, return_exceptions=True)

    directory = tmp_path / "data"
    with serving(directory) as (server, address):
        asyncio.run(load(address, server))

    code, document = audited(directory)

    assert (code, document["findings"]) == (0, [])
    assert document["totals"]["commands"] >= 300
    with serving(directory):
        wait_until(lambda: audited(directory)[1]["totals"]["under_way"] == 0, "all is worked off")
    after = audited(directory)[1]["totals"]
    assert (after["commands"], after["under_way"]) == (document["totals"]["commands"], 0)


def test_a_directory_that_nothing_was_sold_from_is_sound(tmp_path: Path) -> None:
    with serving(tmp_path / "data"):
        pass

    assert audited(tmp_path / "data")[0] == 0


# --- What was spoilt ----------------------------------------------------------------------------------------------------------


def spoil(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def of_topic(topic: str) -> str:
    return f"(SELECT id FROM partition WHERE topic = '{topic}')"  # noqa: S608 - a test's own


def test_lost_decisions_are_found_with_their_records(sold: tuple[Path, Sold], copied: Path) -> None:
    _, sale = sold
    spoil(copied / "log.db", f"DELETE FROM batch WHERE partition_id IN {of_topic(DECISIONS)}")  # noqa: S608

    code, document = audited(copied)

    assert (code, document["sound"]) == (1, False)
    found = {finding["rule"]: finding for finding in document["findings"]}
    undecided = found[Rule.UNDECIDED]
    assert undecided["times"] == len(sale.answered)
    for example in undecided["examples"]:
        assert example["text"] in sale.answered
        command = example["records"][0]
        assert command["topic"] == topics.CREATE_RESERVATION.name
        assert_has(copied, command, example["text"])
    told = run_here("audit", "-d", str(copied), cwd=copied.parent)
    assert told.returncode == 1
    assert f"WRONG  {Rule.UNDECIDED}: {len(sale.answered)} times" in told.stdout
    assert re.search(r"command\.reservation\.create_reservation-\d @ \d+", told.stdout)


def assert_has(directory: Path, record: dict[str, Any], key: str) -> None:
    """The record that an example names is the one of this key."""
    with closing(LogSnapshot(directory / "log.db")) as log:
        batch = log.read(TopicPartition(record["topic"], record["partition"]), record["offset"])[0]
    assert batch.records[batch.offsets.index(record["offset"])][0] == key.encode()


def test_a_store_that_is_not_its_log_is_found_with_the_record(copied: Path) -> None:
    (file, *_) = sorted((copied / "state" / "ticket-service").rglob("Reservation.db"))
    with closing(sqlite3.connect(file)) as connection:
        keys = [key.decode() for (key,) in connection.execute("SELECT key FROM state ORDER BY key LIMIT 2")]
    spoil(file, f"DELETE FROM state WHERE key = CAST('{keys[0]}' AS BLOB)")  # noqa: S608
    # With the checksum that belongs to it: as a defect of ours would leave it, not a disk's.
    checksum = zlib.crc32(b"\0", zlib.crc32(keys[1].encode()))
    spoil(file, f"UPDATE state SET value = x'00', sum = {checksum} WHERE key = CAST('{keys[1]}' AS BLOB)")  # noqa: S608

    code, document = audited(copied)

    (finding,) = document["findings"]
    assert code == 1
    assert str(file) in finding["rule"]
    assert [example["text"] for example in finding["examples"]] == keys
    for example in finding["examples"]:
        (record,) = example["records"]
        assert_has(copied, record, example["text"])


def test_a_damaged_store_is_told_and_left_as_it_is(copied: Path) -> None:
    (file, *_) = sorted((copied / "state" / "event-service").rglob("AreaStatus.db"))
    file.write_bytes(b"no database at all, " * 1_000)

    code, document = audited(copied)

    (finding,) = document["findings"]
    assert code == 1
    assert "can't be read" in finding["rule"]
    assert str(file) in finding["examples"][0]["text"]
    assert file.read_bytes() == b"no database at all, " * 1_000


def test_a_damaged_log_is_one_line(copied: Path) -> None:
    spoil(copied / "log.db", f"UPDATE batch SET vals = x'90' WHERE partition_id IN {of_topic(DECISIONS)}")  # noqa: S608

    done = run_here("audit", "-d", str(copied), cwd=copied.parent)

    # Whether the sale adds up is not known then.
    assert (done.returncode, done.stdout) == (3, "")
    assert "is damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def nothing(directory: Path) -> None:
    shutil.rmtree(directory)


def foreign(directory: Path) -> None:
    (directory / "ticketmaster.json").unlink()


def other_format(directory: Path) -> None:
    (directory / "ticketmaster.json").write_text('{"format":99,"partitions":1}')


def no_marker_but_rubbish(directory: Path) -> None:
    (directory / "ticketmaster.json").write_text("rubbish")


def no_log(directory: Path) -> None:
    (directory / "log.db").unlink()


def no_database(directory: Path) -> None:
    (directory / "log.db").write_bytes(b"rubbish" * 1_000)


def foreign_database(directory: Path) -> None:
    (directory / "log.db").unlink()
    with closing(sqlite3.connect(directory / "log.db")) as connection:
        connection.execute("CREATE TABLE other (x)")


MISTAKES: dict[Callable[[Path], None], str] = {
    nothing: "data",
    foreign: "ticketmaster.json",
    other_format: "99",
    no_marker_but_rubbish: "ticketmaster.json",
}
MISTAKES |= {no_log: "log.db", no_database: "log.db", foreign_database: "log.db"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_what_is_no_data_directory_is_one_clear_line(copied: Path, mistake: Callable[[Path], None]) -> None:
    mistake(copied)

    one_clear_line(run_here("audit", "-d", str(copied), cwd=copied.parent), [MISTAKES[mistake]])


def test_of_no_data_directory_nothing_is_traced(tmp_path: Path) -> None:
    one_clear_line(run_here("trace", str(uuid4()), "-d", str(tmp_path), cwd=tmp_path), ["ticketmaster.json"])


# --- Trace ------------------------------------------------------------------------------------------------------------------


def traced(directory: Path, reservation_id: str) -> dict[str, Any]:
    done = run_here("trace", reservation_id, "-d", str(directory), "--json", cwd=directory.parent)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def of_state(sale: Sold, state: str) -> str:
    return next(key for key, body in sale.decisions.items() if json.loads(body)["state"] == state)


def test_a_reservation_is_traced_from_its_command_to_its_decision(sold: tuple[Path, Sold]) -> None:
    directory, sale = sold
    reservation_id = of_state(sale, "RESERVED")

    document = traced(directory, reservation_id)

    asked, steps = sale.answered[reservation_id], document["steps"]
    assert (document["reservation_id"], document["event_id"], document["area_id"]) == (reservation_id, "concert", asked["areaId"])
    log = topics.RESERVATION_CHANGELOG.name
    assert {step["topic"] for step in steps[-2:]} == {DECISIONS, log}
    assert [step["topic"] for step in steps[:-2]] == [
        topics.CREATE_RESERVATION.name,
        log,
        topics.RESERVE_SEAT.name,
        topics.RESERVATION_RESULT.name,
    ]
    seats = ", ".join(f"({seat['row']}, {seat['col']})" for seat in json.loads(sale.decisions[reservation_id])["seats"])
    assert all(seats in step["text"] for step in steps[3:])
    times = [datetime.fromisoformat(step["time"]) for step in steps]
    assert times == sorted(times)
    assert steps[0]["since_ms"] == 0
    assert sum(step["since_ms"] for step in steps) == round((times[-1] - times[0]).total_seconds() * 1_000)
    assert 1_200 >= steps[0]["free_seats"] >= steps[-1]["free_seats"] + asked["numOfSeats"]
    for step in steps:
        if step["topic"] != topics.RESERVE_SEAT.name:
            assert_has(directory, step, reservation_id)


def test_an_id_is_read_in_upper_case_too(sold: tuple[Path, Sold]) -> None:
    directory, sale = sold
    reservation_id = of_state(sale, "RESERVED")

    assert traced(directory, reservation_id.upper()) == traced(directory, reservation_id)


def test_why_a_reservation_was_refused_is_said(tmp_path: Path) -> None:
    body = {"userId": "ann", "eventId": "concert", "areaId": "nowhere", "numOfSeats": 2, "type": "RANDOM"}

    async def refused(address: str) -> str:
        reservation_id = (await ask(address, "POST", "/v1/event/concert/reservation", body)).body.decode()
        await ask(address, "GET", f"/v1/reservation/{reservation_id}")
        return reservation_id

    with serving(tmp_path / "data", "--partitions", "2") as (_, address):
        reservation_id = asyncio.run(refused(address))
        # While it is in use.
        done = run_here("trace", reservation_id, "-d", str(tmp_path / "data"), cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"reservation {reservation_id}, event concert, area nowhere" in done.stdout
    assert "ann asks for any 2 adjacent seats in concert#nowhere" in done.stdout
    assert "the area refuses: [INVALID_EVENT_AREA]" in done.stdout
    assert "FAILED: [INVALID_EVENT_AREA]" in done.stdout


def test_of_an_unknown_id_there_is_one_line(sold: tuple[Path, Sold]) -> None:
    unknown = str(uuid4())

    done = run_here("trace", unknown, "-d", str(sold[0]), cwd=sold[0].parent)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: no record is about the reservation {unknown}\n"


@pytest.mark.parametrize(
    "malformed", ["", "1", "not-an-id", "018f0000-0000-7000-8000-00000000000g", "018f0000-0000-7000-8000-00000000dead "]
)
def test_a_malformed_id_is_a_mistake(sold: tuple[Path, Sold], malformed: str) -> None:
    one_clear_line(run_here("trace", malformed, "-d", str(sold[0]), cwd=sold[0].parent), [repr(malformed), "UUID"])


def test_kafka_and_a_directory_at_once_are_a_mistake(sold: tuple[Path, Sold]) -> None:
    done = run_here("trace", str(uuid4()), "-d", str(sold[0]), "-c", "client.properties", cwd=sold[0].parent)

    one_clear_line(done, ["either -c or -d"])
