"""What the process says: JSON lines to a file or a pipe, a banner with commands that work to people."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import ticketmaster
from tests.process.client import ask
from tests.process.server import COMMAND, DEADLINE_S, environment, serving
from tests.support.terminal import Terminal, on_a_terminal
from tests.support.tools import needs


async def test_every_line_on_stdout_is_json_with_its_time_and_level(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "-r", "--log-level", "debug") as (server, address):
        await ask(address, "GET", "/v1/health_check")
        await ask(address, "GET", '/v1/"quoted"\u2028/ä%0a')
    lines = server.lines()
    for line in lines:
        assert line["level"] in {"debug", "info"}
        assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    ready = server.logged("ready")
    assert ready is not None
    assert ready["url"] == f"http://{address}"
    assert ready["docs"] == f"http://{address}/docs"
    assert ready["data_directory"] == str((tmp_path / "data").resolve())
    assert ready["version"] == ticketmaster.__version__
    assert [line["event"] for line in lines].count("request") == 2
    assert server.stderr.read_text() == ""


def read_slowly(*arguments: str, cwd: Path) -> tuple[int, bytes]:
    """(exit code, all that it says) of a program without a buffer, as in many containers, whose pipe is full before it is read."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, env=environment(PYTHONUNBUFFERED="1"), cwd=cwd) as program:
        assert program.stdout
        first = os.read(program.stdout.fileno(), 1)
        time.sleep(1)
        said = first + program.stdout.read()
    return program.returncode, said


async def test_a_document_that_is_longer_than_a_pipe_is_written_whole_even_without_a_buffer(tmp_path: Path) -> None:
    areas = [{"areaId": f"area {number}", "price": 1, "rowCount": 1, "colCount": 1} for number in range(900)]
    with serving(tmp_path / "data") as (_, address):
        assert (await ask(address, "POST", "/v1/event", {"eventName": "concert", "areas": areas})).status == 200
    code, document = read_slowly("audit", "-d", str(tmp_path / "data"), "--json", cwd=tmp_path)

    assert code == 0
    assert len(document) > 1 << 16
    assert len(json.loads(document)["areas"]) == len(areas)


@contextmanager
def _on_a_terminal(directory: Path) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    # Narrow: a command must not be broken.
    command, env = [*COMMAND, "standalone", "-p", "0", "-d", str(directory)], environment(TERM="xterm-256color")
    with on_a_terminal(command, cwd=directory.parent, env=env, columns=60) as shown:
        yield shown


def test_on_a_terminal_the_banner_says_where_and_what_to_try_and_ctrl_c_stops(tmp_path: Path) -> None:
    with _on_a_terminal(tmp_path / "data") as (terminal, process):
        text = terminal.read_until("/area/A\n")
        url = re.search(r"URL +(http://\S+)", text)
        assert url is not None
        assert f"ticketmaster {ticketmaster.__version__}" in text
        assert f"docs  {url[1]}/docs" in text
        assert f"data  {(tmp_path / 'data').resolve()}" in text
        terminal.press_ctrl_c()
        text = terminal.read_until("stopped")
        assert process.wait(DEADLINE_S) == 0
    assert "SIGINT" in text
    assert "Traceback" not in text


def test_the_commands_of_the_banner_work_as_they_are(tmp_path: Path) -> None:
    needs("curl", "a command of the banner")
    with _on_a_terminal(tmp_path / "data") as (terminal, process):
        text = terminal.read_until("/area/A\n")
        commands = re.findall(r"^ {5}(\S(?:\\\n|.)*)$", text, flags=re.MULTILINE)
        assert len(commands) == 4
        # One shell, as a user's: the second command keeps the id for the third.
        script = "set -e\n" + "\necho; echo ---\n".join(commands)
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        process.send_signal(signal.SIGTERM)
        terminal.read_until("stopped")
        assert process.wait(DEADLINE_S) == 0
    assert done.returncode == 0, done.stderr
    event, nothing, decision, area = done.stdout.split("---\n")
    assert '"eventName":"concert"' in event
    assert nothing.strip() == ""
    assert '"state":"RESERVED"' in decision
    assert '"availableSeats":398' in area
