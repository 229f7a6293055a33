"""What the process says: JSON lines to a file or a pipe, a banner with commands that work to people."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import ticketmaster
from tests.process.client import ask
from tests.process.server import COMMAND, DEADLINE_S, environment, serving
from tests.support.tools import lacking, needs

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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


class Terminal:
    """The user's side of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._shown = ""

    def read_until(self, end: str) -> str:
        """What was shown so far, without colours, once ``end`` was."""
        deadline_s = time.monotonic() + DEADLINE_S
        while end not in (text := _COLOURS.sub("", self._shown).replace("\r\n", "\n")):
            readable, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            assert readable, f"not in {DEADLINE_S} s: {end!r} in {text}"
            self._shown += self._decoder.decode(os.read(self._descriptor, 65_536))
        return text

    def press_ctrl_c(self) -> None:
        """As a user does."""
        os.write(self._descriptor, b"\x03")


@contextmanager
def _on_a_terminal(directory: Path) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        lacking(f"a terminal is needed, and this machine has none to give: {error}")
    termios.tcsetwinsize(theirs, (40, 60))  # narrow: a command must not be broken
    process = subprocess.Popen(
        # The first terminal that a new session opens is its controlling one: without that Ctrl-C is only a character.
        ["/bin/sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *COMMAND, "standalone", "-p", "0", "-d", str(directory)],
        cwd=directory.parent,
        env=environment(TERM="xterm-256color"),
        start_new_session=True,
    )
    try:
        yield Terminal(ours), process
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


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
