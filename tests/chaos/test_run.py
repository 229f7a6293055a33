"""The fault suite itself: what is drawn, what is counted, and that a broken promise ends a run and is told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import client

from tests.chaos import launcher, run
from tests.chaos.buyers import Buyers, Purchase
from tests.chaos.faults import KINDS, Scene, flip
from tests.chaos.fleet import Fleet
from tests.chaos.lives import LivedSale
from tests.chaos.network import Network
from tests.chaos.report import Outcome, Report
from tests.chaos.run import OFTEN, Broken, Run, assert_has_seen, schedule
from tests.chaos.slow_disk import slow_disk
from tests.support.kafka import Cluster
from tests.support.tools import needs
from ticketmaster.clock import SystemClock


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2")


def test_the_first_round_has_every_kind_once_and_later_ones_what_happens_often_more_often() -> None:
    drawn = schedule(KINDS, 400, 7)

    assert Counter(drawn[: len(KINDS)]) == Counter(list(KINDS))
    second = Counter(drawn[len(KINDS) : 2 * len(KINDS) + sum(OFTEN.values())])
    assert second == {kind: 1 + OFTEN.get(kind, 0) for kind in KINDS}


def test_a_seed_draws_the_same_faults_again_and_another_one_others() -> None:
    assert schedule(KINDS, 100, 7) == schedule(list(reversed(KINDS)), 100, 7)
    assert schedule(KINDS, 100, 7) != schedule(KINDS, 100, 8)


def test_all_that_is_drawn_more_often_is_a_kind() -> None:
    assert OFTEN.keys() <= KINDS.keys()


def test_a_report_has_the_longest_and_the_median_of_each_kind_and_what_was_broken() -> None:
    report = Report(7, process_kills=3, acknowledged=9, decided=8, skipped={"disk full": "no root"})
    report.outcomes = [
        Outcome(1, "a", 1.0, 5.0, 0.5),
        Outcome(2, "b", 0.1, 0.2, 0.0, "sold twice"),
        Outcome(3, "a", 9.0, 2.0, 0.0),
        Outcome(4, "a", 2.0, 2.0, 0.1),
    ]
    report.audits.append({"sound": True, "totals": {}})

    data = json.loads(json.dumps(report.as_json()))
    assert data["kinds"] == {
        "a": {
            "times": 3,
            "unavailable_s_max": 9.0,
            "unavailable_s_median": 2.0,
            "wait_s_max": 5.0,
            "unhealthy_s_max": 0.5,
            "violations": 0,
        },
        "b": {
            "times": 1,
            "unavailable_s_max": 0.1,
            "unavailable_s_median": 0.1,
            "wait_s_max": 0.2,
            "unhealthy_s_max": 0.0,
            "violations": 1,
        },
    }
    assert data["violations"] == ["2 b: sold twice"]
    assert {name: data[name] for name in ("seed", "faults", "legs", "process_kills", "acknowledged", "decided")} == {
        "seed": 7,
        "faults": 4,
        "legs": 1,
        "process_kills": 3,
        "acknowledged": 9,
        "decided": 8,
    }
    assert "violations: 1" in report.text()
    assert "left out: disk full: no root" in report.text()


async def test_a_broken_promise_is_told_with_seed_number_and_kind(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sold_twice(_: Scene) -> None:
        raise AssertionError("sold twice")

    monkeypatch.setitem(KINDS, "broken", sold_twice)
    run = Run(fleet, Cluster(tmp_path), 5, None)

    with pytest.raises(Broken, match=r"^seed 5, fault 7, broken: AssertionError: sold twice$"):
        await run._fault(7, "broken", Buyers(LivedSale(1), fleet, 1))
    assert run.report.as_json()["violations"] == ["7 broken: AssertionError: sold twice"]


async def test_a_fault_that_nobody_recovers_from_is_a_violation(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Scene) -> None:
        pass

    monkeypatch.setitem(KINDS, "harmless", nothing)
    monkeypatch.setattr(run, "OVER_S", 0.2)

    with pytest.raises(Broken, match=r"fault 1, harmless: AssertionError: not over in 0\.2 s: 2 buyers are not served"):
        await Run(fleet, Cluster(tmp_path), 5, None)._fault(1, "harmless", Buyers(LivedSale(1), fleet, 2))


class Audited(Fleet):
    """Whose sale is unsound while a damaged store is there."""

    damaged: Path
    unsound = False

    def audited(self, timeout_s: float = 0.0) -> tuple[bool, str]:
        sound = not self.unsound and not self.damaged.exists()
        return sound, json.dumps({"sound": sound, "totals": {}, "findings": []})


def test_a_damaged_store_that_the_audit_finds_is_noted_and_anything_else_is_a_violation(tmp_path: Path) -> None:
    fleet = Audited(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2")
    fleet.damaged = tmp_path / "store.db"
    fleet.damaged.touch()
    run = Run(fleet, Cluster(tmp_path), 5, None)
    with pytest.raises(AssertionError, match='"sound": false'):
        run._audit()

    run._scene.flipped.append(fleet.damaged)
    run._audit()
    assert run._scene.notes["audits that found a flipped bit in a store"] == 1
    assert run.report.audits == [{"sound": True, "totals": {}}]

    fleet.damaged.touch()
    fleet.unsound = True
    run._scene.flipped.append(fleet.damaged)
    with pytest.raises(AssertionError, match='"sound": false'):
        run._audit()


@pytest.mark.parametrize(("decisions", "acknowledged"), [(0, 0), (9, 10), (0, 1)])
def test_an_audit_that_has_not_seen_what_was_acknowledged_is_none(decisions: int, acknowledged: int) -> None:
    with pytest.raises(AssertionError, match=f"{acknowledged} were acknowledged"):
        assert_has_seen({"decisions": decisions}, acknowledged)
    assert_has_seen({"decisions": 10}, 10)


@pytest.mark.parametrize(("key", "sound"), [("poison-1", True), ("area-1", False)])
def test_records_that_were_poisoned_on_purpose_may_be_found_and_no_others(tmp_path: Path, key: str, *, sound: bool) -> None:
    class Poisoned(Fleet):
        def audited(self, timeout_s: float = 0.0) -> tuple[bool, str]:
            examples = [{"text": "area poison-7: its frame is 00", "records": []}, {"text": f"area {key}", "records": []}]
            return False, json.dumps({"sound": False, "totals": {}, "findings": [{"rule": "a rule", "times": 2, "examples": examples}]})

    run = Run(Poisoned(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2"), Cluster(tmp_path), 5, None)
    if sound:
        run._audit()
        assert run._scene.notes["audits that named the poisoned records"] == 1
    else:
        with pytest.raises(AssertionError, match="area-1"):
            run._audit()


def test_the_time_without_a_decision_includes_what_comes_before_the_first_and_after_the_last(fleet: Fleet) -> None:
    buyers = Buyers(LivedSale(1), fleet, 1)
    buyers.purchases = [Purchase(0.0, 9.0), Purchase(8.0, 12.0), Purchase(12.5, 13.0), Purchase(14.0, 30.0)]

    assert buyers.silence_s(10.0, 14.0) == 2.0
    assert buyers.silence_s(12.5, 16.0) == 3.0
    assert buyers.silence_s(13.5, 20.0) == 6.5
    assert buyers.wait_s(10.0, 14.0) == 4.0
    assert buyers.wait_s(13.5, 20.0) == 0.0
    buyers._buyers[0].begun_s = 15.0
    assert buyers.wait_s(13.5, 20.0) == 5.0


async def test_a_network_that_is_cut_silently_delivers_later_and_one_that_breaks_refuses_until_it_is_mended() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    async with Network([target]) as network:
        reader, writer = await asyncio.open_connection("127.0.0.1", network.ports[target])
        writer.write(b"1")
        assert await reader.read(1) == b"1"
        network.cut(silent=True)
        writer.write(b"2")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        network.mend()
        assert await reader.read(1) == b"2"

        network.cut(silent=False)
        assert await reader.read(1) == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", network.ports[target])
        assert await reader.read(1) == b""
        writer.close()
        network.mend()
        reader, writer = await asyncio.open_connection("127.0.0.1", network.ports[target])
        writer.write(b"3")
        assert await reader.read(1) == b"3"
        writer.close()
    server.close()


def test_a_shifted_clock_is_the_programs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, getattr(time, name))
    before_ns = time.time_ns()

    launcher.shift_clock(-3_600)

    assert -3_600 <= (SystemClock().now_ns() - before_ns) / 1e9 < -3_500
    assert -3_600 <= time.time() - before_ns / 1e9 < -3_500


async def test_a_program_with_a_network_of_its_own_connects_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[tuple[str, int]] = []

    async def create_conn(host: str, port: int, **_: object) -> None:
        connected.append((host, port))

    monkeypatch.setattr(client, "create_conn", create_conn)
    launcher.go_round({9092: 1234})

    await client.create_conn("a", 9092)
    await client.create_conn("b", 9093)
    assert connected == [("a", 1234), ("b", 9093)]


def test_a_flipped_bit_is_one_bit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")

    flip(file, 1, 4)

    assert file.read_bytes() == b"afc"


def test_a_slow_disk_is_slow_for_sqlite(tmp_path: Path) -> None:
    needs("cc", "a slow disk")
    program = """
import pathlib, sys, time
from ticketmaster.state.port import Update
from ticketmaster.state.sqlite import SqliteStores
stores = SqliteStores(pathlib.Path(sys.argv[1]), ("Store",))
began = time.monotonic()
list(stores.writing({"Store": Update({b"key": b"value"}, 1)}))
print(time.monotonic() - began)
stores.close()
"""

    env = {**os.environ, **slow_disk(tmp_path), "CHAOS_WRITE_US": "200000"}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "state")], capture_output=True, text=True, check=True, env=env)
    # A frame of the write-ahead log at least, its head and its page.
    assert float(done.stdout) > 2 * 0.2
