"""A program on a terminal, and its user."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.process.server import DEADLINE_S
from tests.support.tools import lacking

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The user's side of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._shown = ""

    def read_until(self, end: str) -> str:
        """Waits for ``end``; returns all text so far, without colours."""
        deadline_s = time.monotonic() + DEADLINE_S
        while end not in (text := _COLOURS.sub("", self._shown).replace("\r\n", "\n")):
            readable, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            assert readable, f"not in {DEADLINE_S} s: {end!r} in {text}"
            self._shown += self._decoder.decode(os.read(self._descriptor, 65_536))
        return text

    def type(self, keys: str) -> None:
        """As a user does."""
        os.write(self._descriptor, keys.encode())

    def press_ctrl_c(self) -> None:
        """As a user does."""
        self.type("\x03")


@contextmanager
def on_a_terminal(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int
) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """The program at work on a terminal of its own; it is killed at the end."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        lacking(f"a terminal is needed, and this machine has none to give: {error}")
    termios.tcsetwinsize(theirs, (40, columns))
    process = subprocess.Popen(
        # The first terminal that a new session opens is its controlling one: without that Ctrl-C is only a character.
        ["/bin/sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command],
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    try:
        yield Terminal(ours), process
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)
