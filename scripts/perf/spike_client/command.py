"""The command line of the load client."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from scripts.perf.spike_client import report as figures
from scripts.perf.spike_client.options import AWAIT_HOLDS_DEFAULT_S, IN_FLIGHT_DEFAULT, RELEASE_DEFAULT_S, BadOptionError, complete
from scripts.perf.spike_client.run import WorkerDiedError, spike
from scripts.perf.spike_client.transport import UnreachableError
from scripts.perf.spike_client.verdict import Verdict
from ticketmaster.printable import printable

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Columns of the report in a file or a pipe.
FILE_WIDTH = 200
POSITIVE = click.FloatRange(min=0, min_open=True, max=86_400)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.option("--host", default="localhost:8080", help="The server: host:port or http://host:port.")
@click.option("-a", "--areas", type=click.IntRange(1, 100_000), default=100, help="Areas of the event.")
@click.option("--rows", type=click.IntRange(1, 100_000), default=20, help="Rows of an area.")
@click.option("--cols", type=click.IntRange(1, 100_000), default=20, help="Seats of a row.")
@click.option("-n", "--requests", type=click.IntRange(1, 10_000_000), default=100_000, help="Reservations to ask for.")
@click.option("--seats-max", type=click.IntRange(1, 255), default=4, help="Each asks for 1 to this many adjacent seats.")
@click.option("-c", "--clients", type=click.IntRange(1, 10_000), default=None, show_default="4 with --http2, else one per 64 in flight",
              help="HTTP clients: one connection each with HTTP/2, with HTTP/1.1 as many as it has in flight.")  # fmt: skip
@click.option("--in-flight", type=click.IntRange(1, 100_000), default=IN_FLIGHT_DEFAULT, help="Reservations under way at once.")
@click.option("--processes", type=click.IntRange(1, 256), default=None, show_default="half the cores if -env is local, else all",
              help="Worker processes.")  # fmt: skip
@click.option("--http2", is_flag=True, help="HTTP/2 without TLS, by prior knowledge.")
@click.option("-env", "--env", default="local", help="Where the server runs: a label in the report; `local` leaves it half the cores.")
@click.option("-t", "--sleep", "sleep_s", type=click.FloatRange(0, 86_400), default=0.0, help="Seconds between the event and the spike.")
@click.option("--opens-in", "opens_in_s", type=click.IntRange(0, 86_400), default=0,
              help="Open the sale in so many seconds, and fire at that instant; before it nothing may be sold.")  # fmt: skip
@click.option("--rate", "rate_per_s", type=click.FloatRange(min=0, min_open=True, max=1e6), default=None, show_default="none",
              help="Requests a second, sent by schedule; latencies then count from the scheduled time.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=None, show_default="a new one", help="Repeats an earlier spike's requests.")
@click.option("--timeout-s", type=POSITIVE, default=60.0, help="A reservation's time from its first request to its decision.")
@click.option("--hold-seconds", type=click.IntRange(1, 604_800), default=None, show_default="for ever",
              help="The event holds seats for so long.")  # fmt: skip
@click.option("--pay", type=click.FloatRange(0, 1), default=0.0, help="The share of the reserved ones that are paid at once.")
@click.option("--cancel", type=click.FloatRange(0, 1), default=0.0, help="The share that are cancelled at once; the others are left.")
@click.option("--await-holds-s", type=click.FloatRange(0, 700_000), default=AWAIT_HOLDS_DEFAULT_S,
              help="Wait for holds to end in the end, unless that takes longer: their seats count as taken then.")  # fmt: skip
@click.option("--release-s", type=POSITIVE, default=RELEASE_DEFAULT_S, help="So long seats may take to come back after the last hold.")
@click.option("--json", "json_file", metavar="FILE", default=None, help="Write the report as JSON to FILE, or to stdout with `-`.")
@click.option("--profile", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=None, metavar="FILE",
              help="Write a cProfile of the first worker to FILE.")  # fmt: skip
def command(json_file: str | None, **given: Any) -> int:  # noqa: ANN401 - click's parsed options, one by one
    """Ask for many RANDOM seats of a new event at once, wait for every decision and check that no seat was sold twice.

    With --pay, --cancel and --hold-seconds it plays the whole life of reservations: seats may be sold again once they were
    given back, and paid ones never.

    Exit code: 0 sound; 1 wrong: a seat was sold twice, an id or a payment was lost, somebody was refused what is free, the
    seat maps disagree; 2 bad options; 3 not checked: the server can't be reached, nothing was sold, too little was decided, the maps
    can't be read; 130 after Ctrl-C.
    """
    options = complete(**given)
    # Found out now, not after minutes of load.
    for name, file in (("--json", None if json_file == "-" else json_file), ("--profile", options.profile)):
        if file is not None and (not (path := Path(file).absolute()).parent.is_dir() or path.is_dir()):
            raise BadOptionError(f"{name} {file}: no file can be written there")
    report = spike(options, wide_console(stderr=True))
    figures.show(report, wide_console(stderr=json_file == "-"))
    if json_file:
        # In ASCII: what a server says means nothing to a terminal then.
        text = json.dumps(msgspec.to_builtins(report), indent=2) + "\n"
        if json_file == "-":
            sys.stdout.write(text)
        else:
            Path(json_file).write_text(text, encoding="ascii")
    if report.interrupted and report.verdict is not Verdict.WRONG:
        return EXIT_INTERRUPTED
    return report.verdict.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; whatever goes wrong is one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = command.main(arguments, prog_name="spike", standalone_mode=False)
    except click.ClickException as error:
        return complain(error.format_message(), EXIT_USAGE)
    except BadOptionError as error:
        return complain(str(error), EXIT_USAGE)
    except (UnreachableError, WorkerDiedError, OSError) as error:
        return complain(str(error), Verdict.NOT_CHECKED.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return complain("interrupted", EXIT_INTERRUPTED)
    return code


def wide_console(*, stderr: bool) -> Console:
    """A console that breaks no lines where nobody looks."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=FILE_WIDTH)


def complain(text: str, code: int) -> int:
    """One line on stderr."""
    sys.stderr.write(f"spike: {printable(' '.join(text.split()))}\n")
    return code
