"""What an operator gets wrong: exit code 2 and one clear line, never a traceback, and nothing that exists is touched."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.client import ask
from tests.process.server import COMMAND, environment, forget_state, one_clear_line, run, serving


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--prot", "1"], ["No such option", "--prot", "standalone --help"]),
        (["-p", "http"], ["--port", "http", "not a valid integer"]),
        (["-p", "65536"], ["--port", "65536"]),
        (["-p", "-1"], ["--port", "-1"]),
        (["--partitions", "0"], ["--partitions", "0"]),
        (["--partitions", "1.5"], ["--partitions", "1.5"]),
        (["--seats-per-area-max", "0"], ["--seats-per-area-max", "0"]),
        (["--seats-per-area-max", "1000001"], ["--seats-per-area-max", "1000001"]),
        (["--request-body-bytes-max", "1MB"], ["--request-body-bytes-max", "1MB"]),
        (["--seats-per-user-max", "10001"], ["--seats-per-user-max", "10001"]),
        (["--cancel-reservations-max", "0"], ["--cancel-reservations-max", "0"]),
        (["--cancel-rows-max", "100001"], ["--cancel-rows-max", "100001"]),
        (["--rules-wait-ms", "0"], ["--rules-wait-ms", "0"]),
        (["--drain-ms", "-5"], ["--drain-ms", "-5"]),
        (["--log-level", "loud"], ["--log-level", "loud"]),
        (["-s", "0"], ["--selectors", "0"]),
        (["-n", "-1"], ["--max-threads", "-1"]),
        (["--bind", "203.0.113.7"], ["203.0.113.7"]),
        (["--bind", "not an address"], ["not an address"]),
        (["--bind", ""], ["can't listen on"]),
        (["-d", "x" * 5_000], ["can't be used", "File name too long"]),
        (["-d"], ["-d", "requires an argument"]),
        (["-d", ""], ["--state-dir", "is empty"]),
        (["-h", ""], ["--hostname", "no host name"]),
        (["-h", "http://sale.example"], ["--hostname", "no host name"]),
        (["--cors-origin", "shop.example"], ["'shop.example' is no origin", "https://shop.example"]),
        (["--cors-origin", "https://shop.example/"], ["is no origin"]),
        (["--cors-origin", "https://Shop.example"], ["is no origin", "small letters"]),
        (["--cors-origin", "https://shop.example:443"], ["is no origin", "no usual port"]),
        (["--forwarded-allow", "10.0.0.1/8"], ["--forwarded-allow", "has host bits set", "10.0.0.0/8"]),
        (["--forwarded-allow", "proxy"], ["--forwarded-allow", "'proxy'"]),
        (["--requests-per-second-per-client", "-1"], ["--requests-per-second-per-client", "-1"]),
        (["--tokens", ""], ["--tokens", "is empty"]),
        (["--tokens", "nowhere"], ["the tokens can't be read", "nowhere"]),
        (["extra"], ["extra"]),
    ],
)
def test_a_bad_option_is_one_clear_line(tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    one_clear_line(run("standalone", "-p", "0", *arguments, cwd=tmp_path), parts)


@pytest.mark.parametrize(
    ("arguments", "parts"), [(["standalon"], ["No such command", "standalon"]), (["--standalone"], ["No such option", "--standalone"])]
)
def test_an_unknown_command_is_one_clear_line(tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    one_clear_line(run(*arguments, cwd=tmp_path), parts)


def test_a_second_process_on_one_directory_is_told_who_has_it(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (server, address):
        one_clear_line(run("standalone", "-p", "0", "-d", "data", cwd=tmp_path), ["data", f"in use by process {server.pid}", "-d"])
        # And the first one has not noticed.
        assert server.is_running
        assert run("standalone", "-p", "0", "-d", str(tmp_path / "data"), cwd=tmp_path).returncode == 2
        socket.create_connection(("localhost", int(address.rpartition(":")[2]))).close()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (_, address):
        port = address.rpartition(":")[2]
        one_clear_line(run("standalone", "-p", port, "-d", "other", cwd=tmp_path), [f"127.0.0.1:{port}", "in use", "choose another port"])


def test_a_port_that_another_program_shares_is_taken_too(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        one_clear_line(run("standalone", "-p", str(port), "-d", "data", cwd=tmp_path), [f"127.0.0.1:{port}", "in use"])


def _foreign(directory: Path) -> None:
    directory.mkdir()
    (directory / "holiday.jpg").write_bytes(b"\xff\xd8")


def _file(directory: Path) -> None:
    directory.write_text("a file")


def _below_a_file(directory: Path) -> None:
    directory.symlink_to(directory.parent / "file" / "below")
    (directory.parent / "file").write_text("a file")


def _other_format(directory: Path) -> None:
    directory.mkdir()
    (directory / "ticketmaster.json").write_text(json.dumps({"format": 99, "partitions": 1}))


def _garbled_marker(directory: Path) -> None:
    directory.mkdir()
    (directory / "ticketmaster.json").write_bytes(b"\x00\xff garbage")


def _marker_is_a_directory(directory: Path) -> None:
    (directory / "ticketmaster.json").mkdir(parents=True)


def _lock_is_a_directory(directory: Path) -> None:
    (directory / "ticketmaster.lock").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (_foreign, ["holiday.jpg", "-d"]),
        (_file, ["data"]),
        (_below_a_file, ["data"]),
        (_other_format, ["format 99"]),
        (_garbled_marker, ["ticketmaster.json", "can't be read or written"]),
        (_marker_is_a_directory, ["ticketmaster.json", "can't be read or written"]),
        (_lock_is_a_directory, ["can't be used"]),
    ],
)
def test_a_directory_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, make: Callable[[Path], None], parts: list[str]) -> None:
    make(tmp_path / "data")
    before = _contents(tmp_path)
    one_clear_line(run("standalone", "-p", "0", "-d", "data", cwd=tmp_path), parts)
    assert {name: data for name, data in _contents(tmp_path).items() if not name.endswith("ticketmaster.lock")} == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_directory_with_another_number_of_partitions_says_how_to_start(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--partitions", "3"):
        pass
    one_clear_line(run("standalone", "-p", "0", "-d", "data", cwd=tmp_path), ["3 partitions", "--partitions 3"])


def _garbage(log: Path) -> None:
    log.write_bytes(os.urandom(20_000))


def _beginning_overwritten(log: Path) -> None:
    log.write_bytes(b"\0" * 100 + log.read_bytes()[100:])


def _other_programs(log: Path) -> None:
    log.unlink()
    connection = sqlite3.connect(log)
    connection.execute("CREATE TABLE recipe (name TEXT)")
    connection.close()


def _a_directory(log: Path) -> None:
    log.unlink()
    log.mkdir()


def _pages_overwritten(log: Path) -> None:
    data = log.read_bytes()
    assert len(data) > 3 * 4_096
    log.write_bytes(data[:4_096] + b"\xa5" * (len(data) - 4_096))


@pytest.mark.parametrize("damage", [_garbage, _beginning_overwritten, _other_programs, _a_directory, _pages_overwritten])
async def test_a_log_that_is_not_readable_is_named_and_left_as_it_is(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    log = tmp_path / "data" / "log.db"
    with serving(tmp_path / "data") as (_, address):
        await ask(address, "POST", "/v1/event", {"eventName": "concert", "areas": [{"areaId": "A", "rowCount": 200, "colCount": 200}]})
    damage(log)
    before = log.read_bytes() if log.is_file() else None
    one_clear_line(run("standalone", "-p", "0", "-d", "data", cwd=tmp_path), ["log.db"])
    assert (log.read_bytes() if log.is_file() else None) == before


async def test_a_state_that_is_no_database_is_named_and_can_be_deleted(tmp_path: Path) -> None:
    body = {"eventName": "concert", "areas": [{"areaId": "A", "rowCount": 2, "colCount": 2}]}
    with serving(tmp_path / "data") as (_, address):
        await ask(address, "POST", "/v1/event", body)
        wish = {"userId": "ann", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}
        reservation_id = (await ask(address, "POST", "/v1/event/concert/reservation", wish)).body.decode()
        decision = await ask(address, "GET", f"/v1/reservation/{reservation_id}")
    stores = list((tmp_path / "data" / "state").rglob("*.db"))
    assert len(stores) == 3
    for store in stores:
        store.write_bytes(b"garbage" * 1_000)
    done = run("standalone", "-p", "0", "-d", "data", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    failed = [json.loads(line) for line in done.stdout.splitlines() if '"failed"' in line]
    assert len(failed) == 1
    assert any(str(store.relative_to(tmp_path)) in failed[0]["reason"] for store in stores)
    forget_state(tmp_path / "data")
    with serving(tmp_path / "data") as (_, address):
        assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).body == decision.body
        assert (await ask(address, "GET", "/v1/event/concert")).json["availableSeats"] == 2


def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    env = {"TICKETMASTER_STANDALONE_LOG_LEVEL": "debug", "TICKETMASTER_STANDALONE_PARTITIONS": "2"}
    with serving(tmp_path / "data", env=env) as (server, _):
        assert {"event": "task_restored", "task": "event-service-1"}.items() <= _last(
            server.lines(), "task_restored", "event-service-1"
        ).items()
    assert json.loads((tmp_path / "data" / "ticketmaster.json").read_text())["partitions"] == 2


def _last(lines: list[dict[str, object]], event: str, task: str) -> dict[str, object]:
    return [line for line in lines if (line["event"], line.get("task")) == (event, task)][-1]


def test_a_bad_value_in_the_environment_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    done = run("standalone", "-d", "data", cwd=tmp_path, env={"TICKETMASTER_STANDALONE_PORT": "abc"})
    one_clear_line(done, ["TICKETMASTER_STANDALONE_PORT", "abc"])
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("TICKETMASTER_STANDALONE_PORT", ["standalone"], ["not a valid integer"]),
        ("TICKETMASTER_STANDALONE_PROT", ["standalone"], ["did you mean TICKETMASTER_STANDALONE_PORT?"]),
        ("TICKETMASTER_STANDALONE_ZEBRA", ["standalone"], ["unset it"]),
        ("TICKETMASTER_TICKET_REQUEST_LOGGING", ["ticket"], ["not a valid boolean"]),
        ("TICKETMASTER_TOPICS_CREATE_PARTITIONS", ["topics", "create"], ["not a valid integer"]),
        ("TICKETMASTER_TOPICS_PARTITIONS", ["topics", "create"], ["sets no option"]),
        ("TICKETMASTER_WORKER", ["event"], ["unset it"]),
    ],
)
def test_a_wrong_variable_is_one_clear_line_that_names_it(tmp_path: Path, name: str, arguments: list[str], parts: list[str]) -> None:
    one_clear_line(run(*arguments, cwd=tmp_path, env={name: "rubbish"}), [name, *parts])


def test_variables_that_are_nobodys_options_do_no_harm(tmp_path: Path) -> None:
    # A release's number, options of another command, and what Kubernetes sets for a Service "ticketmaster-standalone".
    others = {
        "TICKETMASTER_VERSION": "1.2.3",
        "TICKETMASTER_TICKET_PORT": "rubbish",
        "TICKETMASTER_STANDALONE_SERVICE_HOST": "10.0.0.1",
        "TICKETMASTER_STANDALONE_SERVICE_PORT_HTTP": "80",
        "TICKETMASTER_STANDALONE_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    one_clear_line(run("standalone", "-p", "http", cwd=tmp_path, env=others), ["--port", "http"])


def _directory(file: Path) -> None:
    file.mkdir()


def _binary(file: Path) -> None:
    file.write_bytes(b"\x7fELF\xff\xfe")


def _huge(file: Path) -> None:
    file.write_bytes(b"#" * (1 << 20) + b"\n")


def _device(file: Path) -> None:
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("option", "make", "parts"),
    [
        ("-c", _directory, ["Is a directory"]),
        ("-sc", _binary, ["UTF-8"]),
        ("-pc", _huge, ["1,048,576 bytes"]),
        ("-c", _device, ["1,048,576 bytes"]),
    ],
)
def test_a_file_that_holds_no_properties_is_one_clear_line(
    tmp_path: Path, option: str, make: Callable[[Path], None], parts: list[str]
) -> None:
    make(tmp_path / "client.properties")
    one_clear_line(run("ticket", option, "client.properties", cwd=tmp_path), ["client.properties", *parts])


@pytest.mark.parametrize("arguments", [["--help"], ["standalone", "--help"], ["--version"]])
def test_help_and_version_need_no_directory_and_leave_none(tmp_path: Path, arguments: list[str]) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert max(map(len, done.stdout.splitlines())) <= 110


def test_the_help_names_every_option_with_its_default(tmp_path: Path) -> None:
    text = run("standalone", "--help", cwd=tmp_path, env={"COLUMNS": "110"}).stdout
    for option in ("-p, --port", "-d, --state-dir", "-h, --hostname", "-n, --max-threads", "-r, --request-logging", "-s, --selectors"):
        assert option in text
    assert text.count("[default: ") >= 15


def test_a_directory_whose_log_is_gone_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with serving(directory):
        pass
    for file in directory.glob("log.db*"):
        file.unlink()

    one_clear_line(run("standalone", "-p", "0", "-d", str(directory), cwd=tmp_path), [str(directory), "no log.db", "backup"])


@pytest.mark.parametrize("command", [["topics", "check"], ["schemas", "check"], ["audit"], ["event", "-d", "state"]])
def test_a_proxy_of_another_kind_is_one_clear_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "client.properties").write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=https://login.invalid/token\n"
        "sasl.oauthbearer.client.credentials.client.id=a\nsasl.oauthbearer.client.credentials.client.secret=b\n"
        "schema.registry.url=http://registry.invalid"
    )
    environment = {"ALL_PROXY": "socks5://127.0.0.1:1", "https_proxy": "", "HTTPS_PROXY": "", "http_proxy": "", "HTTP_PROXY": ""}
    done = run(*command, "-c", "client.properties", cwd=tmp_path, env=environment)

    one_clear_line(done, ["ALL_PROXY", "NO_PROXY"])


def test_a_limit_of_open_files_that_leaves_room_for_nobody_is_one_clear_line(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", 'ulimit -n 24 && exec "$@"', "sh", *COMMAND, "standalone", "-p", "0", "-d", "data"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "raise the limit of open files" in done.stderr


async def test_an_operator_sets_how_many_seats_an_event_may_allow_a_user(tmp_path: Path) -> None:
    event = {"eventName": "show", "areas": [{"areaId": "A", "price": 1, "rowCount": 1, "colCount": 1}]}
    with serving(tmp_path / "data", "--seats-per-user-max", "1500") as (_, address):
        allowed, refused = [await ask(address, "POST", "/v1/event", {**event, "seatsPerUserMax": seats}) for seats in (1_500, 1_501)]
    assert (allowed.status, refused.status) == (200, 400)
    assert "from 1 to 1500" in refused.json["detail"]
