"""The benchmark's own rules: what it takes, compares, plans and refuses. Its parts are run by tests/bench."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from scripts.perf.bench_suite import on_kafka, scale
from scripts.perf.bench_suite.capacity import Cluster, Costs, Sale, partition_shares, plan
from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Goal, Kind, Notebook, Results
from scripts.perf.bench_suite.loop_probe import watched as watched_loop
from scripts.perf.bench_suite.processes import Kafka
from tests.support.bench import ALONE, BENCH, bench
from ticketmaster.broker.partitioner import partition_of


async def test_a_step_that_holds_the_loop_is_seen_wherever_it_begins() -> None:
    def work(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    # The garbage of all tests before this one would be a step of its own.
    gc.collect()
    gc.freeze()
    async with watched_loop() as held:
        work(0.1)
        await asyncio.sleep(0)
    assert held.step_cpu_s >= 0.1
    assert held.silence_s >= 0.09
    async with watched_loop() as held:
        await asyncio.sleep(0.01)
    gc.unfreeze()
    assert held.step_cpu_s < 0.05


def test_where_a_peer_is_missing_one_line_says_so(tmp_path: Path) -> None:
    done = bench("run", "--part", "peers", "--runs", "1", env={"TICKETMASTER_CACHE": str(tmp_path)})

    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "peers: skipped: run `scripts/perf/peers/install` first"


def test_two_results_stand_side_by_side(tmp_path: Path) -> None:
    def results(name: str, *values: float) -> Path:
        notes = Notebook((Kind("cost", "µs", Goal(70)),))
        for value in values:
            notes.note("cost", value)
        file = tmp_path / name
        file.write_bytes(msgspec.json.encode(Results("3", "here", 2, 1, name, [0.4], {}, notes.figures(), [], [])))
        return file

    before, after, other = results("before", 100, 110), results("after", 55, 50), results("other", 90, 105)

    assert re.search(r"cost .* 105 µs .* 52.5 µs .* 0.50 × .* apart", bench("compare", before, after).stdout)
    assert "| cost |  | ≤ 70 ✓ | 52.5 µs | 50 – 55 |" in bench("show", "--markdown", after).stdout
    assert "52.5 µs" in bench("show", after).stdout
    assert re.search(r"cost .* 0.93 × .* overlap", bench("compare", before, other).stdout)
    before.write_text("{}")
    broken = bench("compare", before, after)
    assert broken.returncode == 2
    assert "must be results of `bench run --json`" in broken.stderr


def test_the_disk_of_the_topics_is_theirs_alone(tmp_path: Path) -> None:
    data = tmp_path / "broker-1" / "data"
    for name in ("state.user.reservation-0", "state.user.reservation-11", "__transaction_state-3"):
        (data / name).mkdir(parents=True)
        (data / name / "0.log").write_bytes(bytes(1 << 20))

    kafka = Kafka.__new__(Kafka)
    kafka.folder = tmp_path
    assert kafka.topics_bytes() == pytest.approx(2 << 20, rel=0.01)


def test_hops_are_those_of_reservations_that_went_all_the_way() -> None:
    way = ("command.reservation.create_reservation", "command.event.reserve_seat", "response.reservation.result", "state.user.reservation")
    whole, refused = dict(zip(way, (5, 7, 11, 20), strict=True)), {way[0]: 5, way[3]: 6}

    assert scale.hops_ms([whole, refused]) == [[2], [4], [9]]
    with pytest.raises(BenchError, match="no reservation went through all topics"):
        scale.hops_ms([refused])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_interrupted_no_process_and_no_directory_stays_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, str(BENCH), *ALONE, "--runs", "1", "--standalone-requests", "1000000"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "1,000,000 reservations" in line:
                break
        started_s = time.monotonic()
        # The server, the load client and its worker are there.
        while len(children := psutil.Process(process.pid).children(recursive=True)) < 3 and time.monotonic() < started_s + 20:
            time.sleep(0.02)
        assert len(children) >= 3
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("bench: interrupted\n")
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "--runs", "0"], "--runs"),
        (["run", "--requests", "many"], "--requests"),
        (["run", "--part", "half"], "--part"),
        (["run", "--json", "/no/such/directory/x"], "no such directory"),
        (["run", "--bogus"], "No such option '--bogus'"),
        (["run", "extra"], "unexpected extra argument"),
        (["compare", "/no/such/file", "/no/such/file"], "does not exist"),
        (["everything"], "No such command"),
    ],
)
def test_a_bad_option_is_one_clear_line(arguments: list[str], text: str) -> None:
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1


COSTS = Costs(ticket_us=50, reservation_us=20, event_us=10, broker_us=20, topic_bytes=300)
CLUSTER = Cluster(partitions=40, replicas=3, busy_max=0.5, broker_cores=4)


def test_a_sale_takes_as_many_processes_as_it_has_work_for() -> None:
    found = plan(Sale(1_000_000, 20, 1_000, 0), CLUSTER, COSTS)

    assert found.per_s == 50_000
    # 2.5 cores of work at half a core each; 5 processes share 40 partitions evenly.
    assert (found.ticket_processes, found.reservation_processes) == (5, 2)
    # A core's half is 1.0 process at no skew at all.
    assert found.event_processes == 2
    assert 1.0 < found.event_skew < 1.3
    assert found.brokers == 3
    assert found.cores == 5 + 2 + 2 + 3 * 4


def test_a_partition_that_is_too_hot_is_told() -> None:
    one_area = plan(Sale(1_000_000, 20, 1, 0), CLUSTER, COSTS._replace(event_us=30))
    too_few_partitions = plan(Sale(10_000_000, 10, 10_000, 0), CLUSTER, COSTS)

    assert one_area.event_processes == 0
    assert one_area.event_skew == 40
    assert too_few_partitions.ticket_processes == 0


def test_decisions_that_are_asked_for_elsewhere_take_more_ticket_processes_and_nothing_else() -> None:
    kept, half, all_elsewhere = (plan(Sale(1_000_000, 20, 1_000, 0, share), CLUSTER, COSTS) for share in (0, 0.5, 1))

    # 50,000 a second, at half a core each: of 110 µs, (n - 1)/n times, on top of the order's own.
    assert kept.ticket_processes < half.ticket_processes < all_elsewhere.ticket_processes
    assert (kept.reservation_processes, kept.event_processes) == (all_elsewhere.reservation_processes, all_elsewhere.event_processes)
    # With one process there is no other.
    assert plan(Sale(1_000, 20, 100, 0, 1), CLUSTER, COSTS).ticket_processes == 1


def test_shares_are_those_of_the_real_hash_and_sum_up() -> None:
    shares = partition_shares("show", 4, Sale(1, 1, 100, 0))

    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx(
        [sum(partition_of(f"show#{area}".encode(), 4) == number for area in range(100)) / 100 for number in range(4)]
    )
    assert max(partition_shares("show", 4, Sale(1, 1, 100, 2.0))) > max(shares)


def test_what_a_sale_takes_is_told_from_results(tmp_path: Path) -> None:
    kinds = [kind for kind in on_kafka.KINDS if kind.name.startswith("4 partitions: ") or kind.name.startswith("disk")]
    notes = Notebook(tuple(kinds))
    for kind in kinds:
        notes.note(kind.name, 20)
    file = tmp_path / "results.json"
    file.write_bytes(msgspec.json.encode(Results("3", "here", 2, 1, "c", [0.4], {}, notes.figures(), [], [])))

    assert "66,667" in bench("capacity", file).stdout
    found = json.loads(bench("capacity", file, "--json", "--reservations", "10000000", "--partitions", "400").stdout)
    assert found["per_s"] == pytest.approx(666_667, rel=0.001)
    assert found["ticket_processes"] >= 23
