"""Follows README.md and docs/quickstart.md on a bare machine, and says of each command what it did."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from scripts.bare.machine import REPOSITORY, add_kafka_packages, command_line, machine
from scripts.bare.readme import GUIDES, TRACEBACK, Command, Expects, Step, Trial, blocks, broken, in_order, tail
from scripts.errors import MissingError
from scripts.kafka.clusters import free_ports

ROOT = Path(__file__).resolve().parents[2]
# Of a command; tests take longer.
_COMMAND_S, _TESTS_S = 600.0, 3600.0
_LOOK_S = 0.2
_STOP_S = 20.0
# Outside of the clone, which stays as a clone is.
_SAID = Path("var/tmp/said")
_KAFKA_PORT = 9092


def say(text: str) -> None:
    """A line of the report."""
    print(f"bare: {text}", flush=True)


def script(step: Step) -> str:
    """What a shell is given: a command, whose output and end go to files of its own."""
    said = f"/{_SAID}/{_name(step)}"
    return f"began=$EPOCHREALTIME\n{{\n{step.text}\n}} </dev/null >{said}.out 2>&1\necho $? $began $EPOCHREALTIME >{said}.end\n"


def _name(step: Step) -> str:
    """Of the files of a step."""
    return step.command.place.replace("/", "-")


class Terminal:
    """A shell on the machine, in the clone. With it all that it has started is gone."""

    def __init__(self, root: Path) -> None:
        # A session of its own: a signal to its group is Ctrl-C.
        command = command_line(root, ["bash"])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self.type(f"cd /{REPOSITORY}\n")

    def type(self, text: str) -> None:
        """Gives it commands."""
        assert self._process.stdin
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    @property
    def is_open(self) -> bool:
        """Whether its shell lives."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def close(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin
        # What was typed and not read goes nowhere.
        with suppress(BrokenPipeError):
            self._process.stdin.close()


class Follower:
    """Works a guide off on a machine: what serves has a terminal of its own, all else shares one, as a reader has them."""

    def __init__(self, root: Path, trial: Trial) -> None:
        self._root = root
        self._trial = trial
        self._stack = ExitStack()
        self._shared: Terminal | None = None
        self.followed = self.failed = 0
        said = root / _SAID
        said.mkdir(exist_ok=True)
        said.chmod(0o777)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What serves is stopped, and that is told; then its terminal is closed.
        self._stack.close()

    def _open(self) -> Terminal:
        terminal = Terminal(self._root)
        self._stack.callback(terminal.close)
        return terminal

    def follow(self, block: Sequence[Command]) -> None:
        """Works a block off; what serves at its end goes on until this ends."""
        steps = [self._trial.step(command) for command in block]
        serves = any(step.expects is Expects.SERVES for step in steps)
        if not serves and not (self._shared and self._shared.is_open):
            self._shared = self._open()
        terminal = self._open() if serves else self._shared
        assert terminal
        for step in steps:
            if step.expects is Expects.LEFT_OUT:
                say(f"{step.command.place}: {step.command.name}: left out: {step.why}")
                continue
            terminal.type(script(step))
            if not self._comes_to_its_end(step, terminal):
                # Nothing behind it can be typed there.
                terminal.close()
                return

    def _said(self, step: Step) -> str:
        file = self._root / _SAID / f"{_name(step)}.out"
        return file.read_text(errors="replace") if file.exists() else ""

    def _ended(self, step: Step) -> int | None:
        file = self._root / _SAID / f"{_name(step)}.end"
        words = file.read_text().split() if file.exists() else []
        return int(words[0]) if words else None

    def _comes_to_its_end(self, step: Step, terminal: Terminal) -> bool:
        """Whether a command does, or serves; tells of it."""
        began_s = time.monotonic()
        within_s = _TESTS_S if step.text.startswith("make test") else _COMMAND_S
        status: int | None = None
        serves = False
        while status is None and not serves and terminal.is_open and time.monotonic() - began_s < within_s:
            time.sleep(_LOOK_S)
            status = self._ended(step)
            serves = step.expects is Expects.SERVES and answers(step.port)
        self._tell(step, "" if serves else broken(step, status, self._said(step)), time.monotonic() - began_s)
        if serves:
            self._stack.callback(self._stop, step, terminal)
        return serves or status is not None

    def _stop(self, step: Step, terminal: Terminal) -> None:
        terminal.interrupt()
        began_s = time.monotonic()
        while self._ended(step) is None and terminal.is_open and time.monotonic() - began_s < _STOP_S:
            time.sleep(_LOOK_S)
        took_s = time.monotonic() - began_s
        wrong = "a traceback" if TRACEBACK in self._said(step) else "" if took_s < _STOP_S else "goes on after Ctrl-C"
        self._tell(Step(Command(step.command.file, step.command.line, f"Ctrl-C of {step.command.name}"), "", Expects.DONE), wrong, took_s)

    def _tell(self, step: Step, wrong: str, took_s: float) -> None:
        self.followed += 1
        self.failed += bool(wrong)
        what = f"{step.command.place}: {step.command.name}"
        if wrong:
            say(f"{what}: FAILED after {took_s:.1f} s: {wrong}\n{tail(self._said(step))}")
        else:
            note = f": {self._said(step).strip()}" if step.expects is Expects.LACKS else ""
            say(f"{what}: {step.expects.value} after {took_s:.1f} s{note}")


def answers(port: int) -> bool:
    """Whether a server says there that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health_check/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the guides work; 1: one does not; 2: usage; 3: it can't be found out here."""
    parser = argparse.ArgumentParser(
        prog="follow", description="Follows README.md and docs/quickstart.md on a bare Debian, and says what each command did."
    )
    parser.add_argument("--quick", action="store_true", help="a smaller sale, without checks and tests")
    parser.add_argument("--kafka", action="store_true", help="install Java and Maven there, and follow the lines for Kafka, too")
    options = parser.parse_args(arguments)
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _follow(machine(ROOT), options)
    except MissingError as reason:
        say(f"skipped: {reason}")
        return 3
    except KeyboardInterrupt:
        return 130


def _follow(root: Path, options: argparse.Namespace) -> int:
    began_s = time.monotonic()
    say(f"{' and '.join(GUIDES)}, as committed, on a bare Debian")
    if options.kafka:
        add_kafka_packages(root)
    elif is_taken(_KAFKA_PORT):
        say(f"something listens on {_KAFKA_PORT}, so that commands for Kafka may find one")
    port, roles_port = free_ports(2)
    trial = Trial(port, roles_port, kafka=options.kafka, whole=not options.quick)
    followed = failed = 0
    for guide in GUIDES:
        with Follower(root, trial) as follower:
            for block in in_order(list(blocks((root / REPOSITORY / guide).read_text(), guide)), kafka=options.kafka):
                follower.follow(block)
        # The end of a guide stops its servers, which counts too.
        followed, failed = followed + follower.followed, failed + follower.failed
    say(f"{followed} commands followed in {time.monotonic() - began_s:.0f} s, {failed} failed")
    return 1 if failed or not followed else 0
