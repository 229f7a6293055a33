"""One line on stderr for whatever goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import click

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_NOT_CHECKED = 3
EXIT_INTERRUPTED = 130


class BenchError(Exception):
    """The server or the load client did not do what they should: there are no figures to trust."""

    exit_code = EXIT_WRONG


class NotCheckedError(BenchError):
    """Whether they did could not be found out."""

    exit_code = EXIT_NOT_CHECKED


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends it as Ctrl-C does: nothing stays behind."""
    raise KeyboardInterrupt


def run_command(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command; whatever goes wrong is one line on stderr and an exit code."""
    signal.signal(signal.SIGTERM, interrupt)
    try:
        code: int | None = command.main(arguments, prog_name="bench", standalone_mode=False)
    except click.ClickException as error:
        return complain(error.format_message(), EXIT_USAGE)
    except BenchError as error:
        return complain(str(error), error.exit_code)
    except (OSError, subprocess.SubprocessError) as error:
        return complain(str(error), EXIT_WRONG)
    except (KeyboardInterrupt, click.Abort):
        return complain("interrupted", EXIT_INTERRUPTED)
    return code or 0


def complain(text: str, code: int) -> int:
    """One line on stderr."""
    sys.stderr.write(f"bench: {' '.join(text.split())}\n")
    return code
