"""How far a command has come, on stderr: a line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ticketmaster.clock import SystemClock

# A terminal is told as often as a person can see, a file or a log as often as a person wants to read it.
_TERMINAL_S = 0.1
_FILE_S = 10.0


@contextmanager
def shown_progress() -> Iterator[Callable[[str], None]]:
    """Takes what there is to say as often as one likes; what a command does in less than some seconds is not said to a file."""
    clock, terminal = SystemClock(), sys.stderr.isatty()
    interval_s = _TERMINAL_S if terminal else _FILE_S
    due_s = clock.monotonic_s() + (0.0 if terminal else interval_s)

    def show(text: str) -> None:
        nonlocal due_s
        now_s = clock.monotonic_s()
        if now_s < due_s:
            return
        due_s = now_s + interval_s
        if terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        else:
            click.echo(text, err=True)

    try:
        yield show
    finally:
        if terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
