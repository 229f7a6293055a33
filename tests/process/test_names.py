"""What strangers call their things does nothing to an operator's terminal, nor do locale and surroundings."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.kafka.clusters import free_ports
from tests.process.client import Lost, ask
from tests.process.server import COMMAND, ROOT, environment, run, serving, wait_until

EVENT, AREA, USER = "show \x1b]0;owned\x07\u202e \u00e9", "A\x9b31m", "mallory\x1b[2J\u009d"
RAW = ("\x1b", "\x07", "\x9b", "\u009d", "\u202e")


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data directory with a sale in it, and the id of its reservation."""
    folder = tmp_path_factory.mktemp("names")

    async def sell(address: str) -> str:
        area = {"areaId": AREA, "price": 1, "rowCount": 1, "colCount": 2}
        assert (await ask(address, "POST", "/v1/event", {"eventName": EVENT, "areas": [area]})).status == 200
        body = {"userId": USER, "eventId": EVENT, "areaId": AREA, "numOfSeats": 1, "type": "RANDOM"}
        path = "/v1/event/" + "".join(f"%{byte:02X}" for byte in EVENT.encode()) + "/reservation"
        reservation_id = (await ask(address, "POST", path, body)).body.decode()
        assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).json["state"] == "RESERVED"
        return reservation_id

    with serving(folder / "data") as (_, address):
        reservation_id = asyncio.run(sell(address))
    return folder / "data", reservation_id


def test_names_are_shown_and_not_sent(sold: tuple[Path, str]) -> None:
    directory, reservation_id = sold
    for command in (["audit"], ["trace", reservation_id]):
        done = run(*command, "-d", str(directory), cwd=directory.parent)
        assert (done.returncode, done.stderr) == (0, "")
        assert not any(raw in done.stdout for raw in RAW)
        assert "show \\x1b]0;owned\\x07\\u202e \u00e9" in done.stdout
        assert "A\\x9b31m" in done.stdout


def test_documents_mean_what_they_say_and_are_ascii(sold: tuple[Path, str]) -> None:
    directory, reservation_id = sold
    audit = run("audit", "-d", str(directory), "--json", cwd=directory.parent)
    trace = run("trace", reservation_id, "-d", str(directory), "--json", cwd=directory.parent)

    assert audit.stdout.isascii()
    assert trace.stdout.isascii()
    assert [(area["event_id"], area["area_id"]) for area in json.loads(audit.stdout)["areas"]] == [(EVENT, AREA)]
    assert (json.loads(trace.stdout)["event_id"], json.loads(trace.stdout)["area_id"]) == (EVENT, AREA)


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict"])
def test_any_encoding_will_do(sold: tuple[Path, str], encoding: str) -> None:
    directory, reservation_id = sold
    for command in (["audit"], ["trace", reservation_id], ["audit", "--json"]):
        done = run(*command, "-d", str(directory), cwd=directory.parent, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()


def test_a_mistake_with_a_name_in_it_is_one_line_in_any_encoding(tmp_path: Path) -> None:
    for name in ("none\x1b[2J\nB", "\u00e9\u2026"):
        done = run("audit", "-c", str(tmp_path / name), cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 2
        assert done.stderr.isascii()
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr


# --- Surroundings ------------------------------------------------------------------------------------------------------------------


def bare(*arguments: str, cwd: Path) -> list[str]:
    """A command line without HOME or anything else, whose working directory is deleted under it."""
    quoted = " ".join(f"'{argument}'" for argument in (*COMMAND, *arguments))
    return ["/bin/sh", "-c", f"cd '{cwd}' && rmdir '{cwd}' && exec env -i PATH=/usr/bin:/bin PYTHONPATH='{ROOT}' {quoted}"]


def test_neither_a_home_nor_a_working_directory_is_needed(sold: tuple[Path, str], tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(sold[0], directory)
    gone, output = tmp_path / "gone", tmp_path / "output"
    gone.mkdir()
    with (
        output.open("wb") as said,
        subprocess.Popen(bare("standalone", "-p", "0", "-d", str(directory), cwd=gone), stdout=said, stderr=said) as server,
    ):
        wait_until(lambda: b'"ready"' in output.read_bytes() or server.poll() is not None, "ready")
        server.terminate()
        assert server.wait(30) == 0, output.read_text()
    assert [json.loads(line)["event"] for line in output.read_text().splitlines()] == ["ready", "stopping", "stopped"]

    for asked in (["audit"], ["trace", sold[1]]):
        gone.mkdir()
        done = subprocess.run(bare(*asked, "-d", str(directory), cwd=gone), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["standalone", "-p", "0"], ["audit", "-d", "data"], ["topics", "check", "-c", "client.properties"]])
def test_without_a_working_directory_a_relative_path_is_one_clear_line(tmp_path: Path, arguments: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(bare(*arguments, cwd=gone), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "the working directory is gone: give an absolute path" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_pipe_that_nobody_reads_is_no_traceback(sold: tuple[Path, str], more: list[str]) -> None:
    quoted = " ".join(f"'{argument}'" for argument in (*COMMAND, "audit", "-d", str(sold[0]), *more))
    script = f"{{ {quoted}; echo $? >&2; }} | true"
    done = subprocess.run(["/bin/bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    # Not 0, which would say that somebody was told.
    assert done.stderr in ("1\n", "3\n") or done.stderr.endswith("\n3\n")
    assert "Traceback" not in done.stderr


def test_an_answer_that_can_t_be_written_is_one_line_and_no_verdict(sold: tuple[Path, str]) -> None:
    for command in (["audit"], ["audit", "--json"], ["trace", sold[1]]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*COMMAND, *command, "-d", str(sold[0])], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
            )
        assert done.returncode == 3
        assert done.stderr.endswith("the answer can't be written: No space left on device\n")
        assert done.stderr.count("\n") == 1


async def is_ready(address: str) -> bool:
    try:
        return (await ask(address, "GET", "/v1/health_check")).status == 200
    except (OSError, Lost):
        return False


def streams(redirections: str, *arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    """The program, whose streams are what the shell makes of them."""
    quoted = " ".join(f"'{argument}'" for argument in (*COMMAND, *arguments))
    return subprocess.Popen(["/bin/sh", "-c", f"exec {quoted} {redirections}"], cwd=cwd, env=environment())


@pytest.mark.parametrize("redirections", [">/dev/full", ">/dev/full 2>&1", "<&- >&- 2>&-", "<&-", ">&- 2>/dev/null"])
async def test_whatever_becomes_of_its_streams_a_server_serves_and_ends_in_order(tmp_path: Path, redirections: str) -> None:
    (port,) = free_ports(1)
    server = streams(redirections, "standalone", "-p", str(port), "-d", "data", "-r", cwd=tmp_path)
    try:
        address = f"127.0.0.1:{port}"
        async with asyncio.timeout(30):
            while not await is_ready(address):
                await asyncio.sleep(0.05)
        area = {"areaId": "A", "price": 1, "rowCount": 1, "colCount": 2}
        assert (await ask(address, "POST", "/v1/event", {"eventName": "concert", "areas": [area]})).status == 200
        body = {"userId": "ann", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
        reservation_id = (await ask(address, "POST", "/v1/event/concert/reservation", body)).body.decode()
        assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).json["state"] == "RESERVED"
        server.terminate()
        assert await asyncio.to_thread(server.wait, 30) == 0
    finally:
        server.kill()
    assert run("audit", "-d", "data", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_verdict_that_nobody_wants_to_read_has_its_exit_code(sold: tuple[Path, str], redirections: str) -> None:
    for command, code in ((["audit", "-d", str(sold[0])], 0), (["trace", sold[1], "-d", str(sold[0])], 0), (["audit", "-d", "none"], 2)):
        with streams(redirections, *command, cwd=sold[0].parent) as program:
            assert program.wait(60) == code
