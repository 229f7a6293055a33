"""scripts/kafka/cluster: its decisions, and one cluster that is really started, crashed and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from scripts.kafka import brokers, kits, registry
from scripts.kafka.brokers import Ports
from scripts.kafka.clusters import PORTS, Plan, Server, free_ports
from scripts.kafka.processes import Process, started, started_by_ps
from tests.support.kafka import SCRIPT, Cluster
from tests.support.kafka_fixtures import StartCluster
from tests.support.tools import needs


def cluster(*arguments: str | Path, path: Path | None = None, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the script as people do."""
    env = dict(os.environ)
    env |= {"PATH": str(path)} if path else {}
    env |= {"TICKETMASTER_CACHE": str(cache)} if cache else {}
    return subprocess.run([sys.executable, SCRIPT, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """A mistake of the user."""
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    for part in parts:
        assert part in line


def program(folder: Path, name: str, shell: str) -> Path:
    """A folder to have as PATH, with one program in it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{shell}\n")
    (folder / name).chmod(0o755)
    return folder


JAVA_17 = """echo 'openjdk version "17.0.15" 2025-04-15' >&2"""


def properties(node: int, ports: dict[int, Ports]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in brokers.properties(node, ports).splitlines())


def states(own: Cluster) -> list[str]:
    done = cluster("status", own.folder, "--json")
    data = json.loads(done.stdout)
    assert f"bootstrap.servers={data['bootstrap_servers']}\n" in Path(data["client_file"]).read_text()
    told = [server["state"] for server in (*data["nodes"], data["registry"])]
    assert done.returncode == any(state != "up" for state in told)
    return told


def test_one_broker_keeps_one_replica_of_everything() -> None:
    told = properties(1, {1: Ports(21_000, 21_001)})

    assert {told[key] for key in told if key.endswith(("replication.factor", ".isr", "insync.replicas"))} == {"1"}
    assert told["controller.quorum.voters"] == "1@127.0.0.1:21001"


def test_three_brokers_keep_three_replicas_of_which_two_must_be_in_sync() -> None:
    told = properties(2, {1: Ports(21_000, 21_001), 2: Ports(22_000, 22_001), 3: Ports(23_000, 23_001)})

    assert {told[key] for key in told if key.endswith("replication.factor")} == {"3"}
    assert {told[key] for key in told if key.endswith((".isr", "insync.replicas"))} == {"2"}
    assert told["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:22001,3@127.0.0.1:23001"
    assert told["listeners"] == "PLAINTEXT://127.0.0.1:22000,CONTROLLER://127.0.0.1:22001"


def test_the_file_gives_back_what_was_written() -> None:
    plan = Plan("id").having(Server("broker-1", (1, 2), Process(3, "now"))).having(Server("broker-2", (4, 5)))

    for each in (plan, plan.having(Server("registry", (6,), Process(7, "then")))):
        assert Plan.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert plan.to_json()["bootstrap_servers"] == "127.0.0.1:1,127.0.0.1:4"


def test_the_brokers_are_read_from_an_answer_with_and_without_racks() -> None:
    answer = (
        struct.pack(">ii", 0, 2) + struct.pack(">ih2sih", 1, 2, b"ab", 9092, -1) + struct.pack(">ih1sih2s", 300, 1, b"c", 9093, 2, b"rr")
    )

    assert brokers.brokers_in(answer) == {1, 300}


def test_a_server_that_hangs_up_or_is_not_there_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert brokers.answering(port) == frozenset()
        thread.join()

    assert brokers.answering(port) == frozenset()


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(6)

    assert len(set(ports)) == 6
    for port in ports:
        assert port in PORTS
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("text", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_402"', 8), ('openjdk version "24" 2025-03-18', 24), ("", 0)],
)
def test_the_version_of_java_is_its_main_one(text: str, version: int) -> None:
    assert kits.java_version(text) == version


def test_java_is_given_what_the_environment_says_besides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apicurio-registry-app-2-runner.jar").touch()
    monkeypatch.setenv(kits.JAVA_OPTIONS, "-XX:TieredStopAtLevel=1 -Xss1m")
    assert kits.java_options() == ["-XX:TieredStopAtLevel=1", "-Xss1m"]
    assert "-Xss1m" in registry.command("java", kits.java_options(), tmp_path, 8081)
    monkeypatch.delenv(kits.JAVA_OPTIONS)
    assert kits.java_options() == []


def test_a_process_of_the_same_id_that_started_at_another_time_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        now = started(child.pid)
        assert now is not None

        assert not Process(child.pid, f"{now}0").send(signal.SIGKILL)
        assert child.poll() is None

        assert Process(child.pid, now).send(signal.SIGKILL)
        # It is dead before anybody has asked for its exit code.
        assert Process(child.pid, now).wait(time.monotonic() + 10)
    assert started(child.pid) is None


def test_ps_tells_the_start_of_a_process_where_there_is_no_proc() -> None:
    needs("ps", "the start of a process")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        assert started_by_ps(child.pid) == started_by_ps(child.pid) != started_by_ps(1)
        child.kill()
    assert started_by_ps(child.pid) is None


def test_without_java_one_line_says_what_to_install(tmp_path: Path) -> None:
    one_line(cluster("install", path=tmp_path, cache=tmp_path / "cache"), "no Java found", "17 or newer")


def test_a_java_that_is_too_old_is_named(tmp_path: Path) -> None:
    path = program(tmp_path / "bin", "java", """echo 'java version "11.0.2"' >&2""")

    one_line(cluster("install", path=path, cache=tmp_path / "cache"), f"{path / 'java'} is Java 11", "17 or newer")


def test_without_maven_one_line_says_what_to_install(tmp_path: Path) -> None:
    one_line(
        cluster("install", path=program(tmp_path / "bin", "java", JAVA_17), cache=tmp_path / "cache"),
        "no mvn found, which is Maven",
        "install what is missing",
    )


def test_a_failure_of_maven_shows_the_end_of_its_output_and_leaves_nothing(tmp_path: Path) -> None:
    path = program(program(tmp_path / "bin", "java", JAVA_17), "mvn", "for i in 1 2 3; do echo line-$i; done; exit 1")

    done = cluster("install", path=path, cache=tmp_path / "cache")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == ["  line-1", "  line-2", "  line-3"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_kit_is_fetched_once_even_after_an_installation_that_was_cut_off(tmp_path: Path) -> None:
    fetch = "for last; do :; done; into=${last#*=}; [ -e $into/left ] && exit 9; echo $* > $into/arguments; [ -e pom.xml ]"
    path = program(program(tmp_path / "bin", "java", JAVA_17), "mvn", fetch)
    cache = tmp_path / "cache"
    (cache / "kafka-4.1.2.partial" / "left").mkdir(parents=True)

    first, second = (cluster("install", path=path, cache=cache) for _ in range(2))

    assert (first.returncode, first.stderr.count("Maven fetches it")) == (0, 2), first.stderr
    assert (second.returncode, second.stderr.count("Maven fetches it")) == (0, 0), second.stderr
    assert sorted(folder.name for folder in cache.iterdir()) == ["kafka-4.1.2", "registry-2.6.13.Final"]


def test_a_start_fetches_what_is_missing_and_only_that(tmp_path: Path) -> None:
    # A Java that starts nothing, so that a start ends once everything has been fetched.
    path = program(tmp_path / "bin", "java", f"""case "$*" in -version) {JAVA_17};; *) echo no disk; exit 1;; esac""")
    program(path, "mvn", ":")
    cache = tmp_path / "cache"

    without, with_registry, again = (
        cluster("start", tmp_path / "folder", *options, path=path, cache=cache) for options in ((), ("--registry",), ())
    )

    assert [done.returncode for done in (without, with_registry, again)] == [1, 1, 1]
    assert [done.stderr.count("Maven fetches it") for done in (without, with_registry, again)] == [1, 1, 0]
    assert all("could not be made" in done.stderr for done in (without, with_registry, again))
    assert sorted(folder.name for folder in cache.iterdir()) == ["kafka-4.1.2", "registry-2.6.13.Final"]


def test_a_start_without_java_or_maven_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    start = ("start", tmp_path / "folder", "--registry")

    one_line(cluster(*start, path=tmp_path, cache=tmp_path / "cache"), "no Java found", "17 or newer")
    path = program(tmp_path / "bin", "java", JAVA_17)
    one_line(cluster(*start, path=path, cache=tmp_path / "cache"), "no mvn found, which is Maven", "install what is missing")


def test_what_is_not_a_cluster_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")

    for command in ("start", "stop", "status"):
        one_line(cluster(command, tmp_path), str(tmp_path), "no cluster")
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_setting_is_a_key_and_a_value(tmp_path: Path) -> None:
    one_line(cluster("start", tmp_path / "new", "--setting", "log.cleaner.backoff.ms"), "--setting", "KEY=VALUE")

    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("installed_kafka")
def test_settings_stay_with_the_cluster_and_come_last(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    try:
        assert cluster("start", folder, "--setting", "log.cleaner.backoff.ms=15000").returncode == 0
        assert cluster("stop", folder).returncode == 0
        assert cluster("start", folder).returncode == 0
        written = (folder / "broker-1" / "server.properties").read_text().splitlines()
    finally:
        cluster("stop", folder, "--kill")

    assert written[-1] == "log.cleaner.backoff.ms=15000"


def test_a_cluster_keeps_its_ports_and_its_schemas_over_a_crash(kafka_cluster: StartCluster) -> None:
    own = kafka_cluster(brokers=1, registry=True)
    servers, url = own.bootstrap_servers, own.registry_url
    schema = {"schema": json.dumps({"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}]})}
    other = {"schema": schema["schema"].replace("int", "string")}
    registered = httpx.post(f"{url}/subjects/a-value/versions", json=schema).json()
    assert httpx.put(f"{url}/config/a-value", json={"compatibility": "FULL"}).status_code == 200
    assert httpx.post(f"{url}/compatibility/subjects/a-value/versions/latest", json=other).json()["is_compatible"] is False

    own.suspend(1)
    assert states(own) == ["silent", "up"]
    own.resume(1)
    own.kill(1)
    assert states(own) == ["down", "up"]
    assert cluster("stop", own.folder).returncode == 0
    own.start_node(1)
    assert states(own) == ["up", "down"]
    own.start_registry()

    assert states(own) == ["up", "up"]
    assert (own.bootstrap_servers, own.registry_url) == (servers, url)
    assert httpx.get(f"{url}/schemas/ids/{registered['id']}").json()["schema"] == schema["schema"]
