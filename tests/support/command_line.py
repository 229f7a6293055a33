"""The program with its arguments, run in the process of the tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from click.testing import CliRunner

from ticketmaster.cli import PREFIX, main


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The options as the program's own command line understands them; nothing runs."""
    command: click.Command = main
    rest = list(arguments)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    return command.make_context(command.name, rest).params


def run_here(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The result of `tests.process.server.run`, without the half second of CPU time that a process takes to begin. For reading."""
    given = {name: None for name in os.environ if name.startswith(f"{PREFIX}_")} | dict(env or {})
    # The folder of temporary files is looked up once in a process.
    with chdir(cwd), patch.object(tempfile, "tempdir", None):
        done = CliRunner().invoke(main, arguments, env=given, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
