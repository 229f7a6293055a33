"""The exit codes of commands that give a verdict: trouble is never taken for one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.process.server import environment
from ticketmaster.cli import main
from ticketmaster.errors import Fatal, Retriable, UsageError

TROUBLE = [
    Retriable("Kafka went away"),
    Fatal("the log is damaged"),
    asyncio.CancelledError(),
    TimeoutError(),
    OSError(5, "Input/output error"),
    MemoryError(),
    UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"),
    RuntimeError("two\nlines"),
    KeyboardInterrupt(),
]
COMMANDS = {
    "ticketmaster.bootstrap.audit.run_directory_audit": ["audit", "-d", "data"],
    "ticketmaster.bootstrap.audit.run_audit": ["audit"],
    "ticketmaster.bootstrap.trace.run_trace": ["trace", "01a20f72-42ec-7000-96a4-98da257a0cc8"],
    "ticketmaster.bootstrap.topics.run_check": ["topics", "check"],
    "ticketmaster.bootstrap.topics.run_groups": ["topics", "groups"],
    "ticketmaster.bootstrap.schemas.run_check": ["schemas", "check"],
}


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda trouble: type(trouble).__name__)
@pytest.mark.parametrize("function", COMMANDS)
def test_trouble_is_one_line_and_exit_code_3(monkeypatch: pytest.MonkeyPatch, function: str, trouble: BaseException) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(function, fail)

    done = CliRunner().invoke(main, COMMANDS[function])

    assert (done.exit_code, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")


def test_trouble_is_shown_without_its_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Retriable("topic \x1b[31mred can't be read")

    monkeypatch.setattr("ticketmaster.bootstrap.audit.run_audit", fail)

    done = CliRunner().invoke(main, ["audit"], color=True)

    assert done.exit_code == 3
    assert done.stderr == "Error: it could not be found out: topic \\x1b[31mred can't be read\n"


@pytest.mark.parametrize("function", COMMANDS)
def test_a_mistake_stays_one(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise UsageError("another -c")

    monkeypatch.setattr(function, fail)

    done = CliRunner().invoke(main, COMMANDS[function])

    assert (done.exit_code, done.stderr) == (2, "Error: another -c\n")


def test_a_reader_that_goes_away_is_told_from_a_sale_that_does_not_add_up(tmp_path: Path) -> None:
    # A table of areas longer than any pipe's buffer, read by nobody.
    script = (
        "import ticketmaster.bootstrap.audit as audit\n"
        "from ticketmaster.audit.report import AreaReport, Report, Totals\n"
        "areas = [AreaReport('e', str(n), 1, 1, 1, {}) for n in range(20_000)]\n"
        "result = audit.AuditResult(Report(Totals(*[0] * len(Totals._fields)), areas, {}, '', []), 0, [])\n"
        "audit.run_directory_audit = lambda *_: result\n"
        "from ticketmaster.cli import main\n"
        "main(['audit', '-d', 'data', '--areas', '20000'])\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    program.stdout.close()
    _, errors = program.communicate(timeout=30)

    assert program.returncode == 3, errors
    assert len(errors.splitlines()) == 1
