"""Tokens from the command line to the gateway, as real processes."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest

from tests.process.server import COMMAND, environment, one_clear_line, run, serving, wait_until
from tests.support.records import create_reservation
from tests.support.systems import needs_whole_loopback
from ticketmaster.wire.rules import of_box_office

NAMES = ("--tokens", "tokens.txt")


def create(folder: Path, name: str, *options: str) -> str:
    """A new token."""
    done = run("tokens", "create", name, *NAMES, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "keep the token" in done.stderr
    assert len(done.stdout.split()) == 1
    return done.stdout.strip()


def status(address: str, path: str, token: str = "") -> int:
    """Of a GET."""
    request = urllib.request.Request(f"http://{address}{path}", headers={"authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the scheme is above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_folder_that_another_program_has_locked_is_waited_for_and_then_told(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        one_clear_line(run("tokens", "create", "one", "--scope", "reader", *NAMES, cwd=tmp_path), ["another program has", "locked"])
    finally:
        os.close(descriptor)
    create(tmp_path, "one", "--scope", "reader")


def test_a_token_is_created_used_and_revoked_while_the_gateway_serves(tmp_path: Path) -> None:
    one = create(tmp_path, "one", "--scope", "reader")
    path = tmp_path / "tokens.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with serving(tmp_path / "data", "--tokens", "tokens.txt", "-r") as (server, address):
        assert [status(address, "/v1/event"), status(address, "/v1/event", one)] == [401, 200]

        two = create(tmp_path, "two", "--scope", "seller", "--scope", "reader", "--event", "concert *", "--requests-per-second", "50")
        wait_until(lambda: status(address, "/v1/event", two) == 200, "the second token is taken")
        assert run("tokens", "revoke", "one", *NAMES, cwd=tmp_path).returncode == 0
        wait_until(lambda: status(address, "/v1/event", one) == 401, "the first one is refused")

        path.write_text(path.read_text() + "three\n")
        wait_until(lambda: server.logged("not_reloaded") is not None, "a broken line is told")
        assert "tokens.txt:3: a line has" in (server.logged("not_reloaded") or {})["reason"]
        assert status(address, "/v1/event", two) == 200
    said = server.stdout.read_text() + server.stderr.read_text()
    assert one not in said
    assert two not in said
    assert server.logged("open_to_all") is None


def test_the_list_shows_everything_but_tokens(tmp_path: Path) -> None:
    token = create(tmp_path, "one", "--scope", "seller", "--event", "concert *", "--requests-per-second", "50")
    shown = run("tokens", "list", *NAMES, "--json", cwd=tmp_path)
    assert json.loads(shown.stdout) == [{"name": "one", "scopes": ["seller"], "event": "concert *", "requestsPerSecond": 50}]
    table = run("tokens", "list", *NAMES, cwd=tmp_path).stdout
    assert "concert *" in table
    assert token not in table + (tmp_path / "tokens.txt").read_text()


def test_a_file_keeps_its_comments_its_mode_and_its_link(tmp_path: Path) -> None:
    create(tmp_path, "one", "--scope", "reader")
    path = tmp_path / "tokens.txt"
    real = path.rename(tmp_path / "real.txt")
    path.symlink_to(real.name)
    real.chmod(0o640)
    real.write_text(f"{real.read_text()}\n# mine")
    create(tmp_path, "two", "--scope", "reader")
    assert run("tokens", "revoke", "one", *NAMES, cwd=tmp_path).returncode == 0
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    head, blank, comment, two = real.read_text().splitlines()
    assert (head[0], blank, comment, two[:10]) == ("#", "", "# mine", "two reader")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["real.txt", "tokens.txt"]


def test_tokens_that_are_created_at_once_are_all_there(tmp_path: Path) -> None:
    commands = [
        subprocess.Popen(
            [*COMMAND, "tokens", "create", f"t{number}", *NAMES, "--scope", "reader"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(4)
    ]
    assert [command.wait(30) for command in commands] == [0] * 4
    assert len((tmp_path / "tokens.txt").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["create", "one", *NAMES, "--scope", "reader"], ["has a token one", "revoke it first"]),
        (["create", "a b", *NAMES, "--scope", "reader"], ["1 to 64 letters"]),
        (["create", "two", *NAMES], ["Missing option", "--scope"]),
        (["create", "two", *NAMES, "--scope", "boss"], ["--scope", "boss"]),
        (["create", "two", *NAMES, "--scope", "reader", "--event", ""], ["pattern is empty"]),
        (["create", "two", "--scope", "reader"], ["Missing option", "--tokens"]),
        (["create", "two", "--tokens", "no/where", "--scope", "reader"], ["can't be written", "No such file"]),
        (["revoke", "two", *NAMES], ["has no token two"]),
        (["revoke", "one", "--tokens", "missing"], ["can't be read", "missing"]),
        (["list", "--tokens", "broken"], ["broken:2: ", "a line has"]),
        (["create", "two", "--tokens", "broken", "--scope", "reader"], ["broken:2: ", "a line has"]),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    create(tmp_path, "one", "--scope", "reader")
    (tmp_path / "broken").write_text("# mine\nhalf line\n")
    before = (tmp_path / "tokens.txt").read_text()

    one_clear_line(run("tokens", *arguments, cwd=tmp_path), parts)

    assert (tmp_path / "tokens.txt").read_text() == before


@pytest.mark.parametrize("role", ["standalone", "ticket"])
def test_a_broken_line_at_the_start_names_file_and_line(tmp_path: Path, role: str) -> None:
    (tmp_path / "tokens.txt").write_text("\none reader abc\n")

    one_clear_line(run(role, "-p", "0", "--tokens", "tokens.txt", cwd=tmp_path), ["tokens.txt:2: ", "no SHA-256"])

    assert not (tmp_path / "data").exists()


def test_tokens_of_a_role_need_a_secret_of_its_processes(tmp_path: Path) -> None:
    create(tmp_path, "one", "--scope", "reader")
    one_clear_line(run("ticket", "-p", "0", *NAMES, cwd=tmp_path), ["--tokens needs --peer-secret-file", "/internal/"])
    (tmp_path / "secret").write_text("\nshort\n")
    one_clear_line(run("ticket", "-p", "0", "--peer-secret-file", "secret", cwd=tmp_path), ["secret:2: ", "16 to 256"])


@pytest.mark.parametrize(("bind", "warned"), [("127.0.0.1", 0), ("127.0.0.2", 0), ("0.0.0.0", 1)])  # noqa: S104 - it is what is warned of
def test_a_port_that_is_open_to_all_is_told_once(tmp_path: Path, bind: str, warned: int) -> None:
    needs_whole_loopback()
    with serving(tmp_path / "data", "--bind", bind) as (server, _):
        assert len([line for line in server.lines() if line["level"] == "warning"]) == warned


@pytest.mark.parametrize("options", [(), ("--requests-per-second-per-client", "1000")])
def test_what_processes_ask_each_other_is_nobodys_where_there_is_one_process(tmp_path: Path, options: tuple[str, ...]) -> None:
    with serving(tmp_path / "data", *options) as (_, address):
        path, command = f"/internal/v1/reservation/{uuid4()}", of_box_office(create_reservation())
        asks = [("GET", path), ("HEAD", path), ("GET", "/internal/"), ("OPTIONS", path)]
        # A command is taken as it comes, with what a box office may: past limits and windows.
        asks += [("POST", f"{path}{end}") for end in ("/command", "/change", "/list")]
        assert [sent(address, method, asked, command) for method, asked in asks] == [404] * len(asks)


def sent(address: str, method: str, path: str, body: bytes) -> int:
    """The status of a request."""
    connection = HTTPConnection(address, timeout=20)
    with closing(connection):
        connection.request(method, path, body if method == "POST" else None)
        return connection.getresponse().status
