"""Profiles of a running process, by py-spy and memray: where its time goes, what it allocates, where each thread stands."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

EXIT_FAILED = 2
# What py-spy writes, by the ending of the file.
FORMATS = {".svg": "flamegraph", ".json": "speedscope", ".txt": "raw"}
FOLDERS = (Path(__file__).resolve().parents[2] / ".venv" / "bin", Path(sys.executable).parent)

# A part of what a tool says, and what it means to people.
REASONS = (
    ("Permission Denied", "no permission to look into process {pid}: run this as root, or as its user with CAP_SYS_PTRACE"),
    ("owned by a different user", "no permission to look into process {pid}: run this as root, or as its user with CAP_SYS_PTRACE"),
    ("Failed to find python version", "process {pid} is not a Python"),
    ("does not seem to be running Python", "process {pid} is not a Python"),
    ("Cannot find a supported lldb or gdb", "memray enters a process through a debugger: install gdb or lldb"),
    (
        "extended state status",
        "this gdb can't enter a process on this processor, whose registers it does not know: use a newer gdb, or lldb",
    ),
    ("No stack counts found", "process {pid} did nothing meanwhile: profile it under load"),
)


class FailedError(Exception):
    """No profile; the text is one line that says why, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; whatever goes wrong is one line on stderr and exit code 2."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except FailedError as error:
        print(f"profile: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="profile", description="Look into a running process of ours. See docs/profiling.md.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    cpu = commands.add_parser("cpu", help="where the time of a process and its workers goes, by py-spy")
    cpu.add_argument(
        "-o", "--output", type=Path, default=Path("cpu.svg"), help=".svg: flame graph, .json: speedscope, .txt: raw (%(default)s)"
    )
    cpu.add_argument("--seconds", type=positive, default=10, help="how long (%(default)s)")
    cpu.add_argument("--rate", type=positive, default=100, help="samples a second (%(default)s)")
    cpu.set_defaults(run=record_cpu)

    memory = commands.add_parser("memory", help="what a process allocates, by memray; needs gdb or lldb")
    memory.add_argument(
        "-o", "--output", type=Path, default=Path("memory.bin"), help="what memray records; an .html beside it (%(default)s)"
    )
    memory.add_argument("--seconds", type=positive, default=10, help="how long (%(default)s)")
    memory.set_defaults(run=record_memory)

    dump = commands.add_parser("dump", help="where every thread of a process and its workers stands now, by py-spy")
    dump.set_defaults(run=dump_threads)

    for command in (cpu, memory, dump):
        command.add_argument("pid", type=positive, metavar="PID", help="the process")
    return root


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def record_cpu(options: argparse.Namespace) -> None:
    """Sample for a while."""
    output = writable(options.output)
    if output.suffix not in FORMATS:
        raise FailedError(f"--output {options.output}: the name must end in one of {', '.join(FORMATS)}")
    # With --subprocesses py-spy says of whatever it can't look into only that it found no Python there.
    tool("py-spy", options.pid, "dump", "--pid", str(options.pid))
    what = ["--format", FORMATS[output.suffix], "--output", str(output), "--duration", str(options.seconds), "--rate", str(options.rate)]
    tool("py-spy", options.pid, "record", "--subprocesses", "--function", "--pid", str(options.pid), *what)
    print(output)


def record_memory(options: argparse.Namespace) -> None:
    """Follow allocations for a while; Ctrl-C ends it early. The process itself writes the file."""
    output, pid = writable(options.output), options.pid
    page = output.with_suffix(".html")
    if page == output:
        raise FailedError(f"--output {options.output}: that is the page's name; give what memray records another ending")
    tool("memray", pid, "attach", "--verbose", "--force", "--output", str(output), str(pid))
    try:
        time.sleep(options.seconds)
    except KeyboardInterrupt:
        print("profile: ended early", file=sys.stderr)
    finally:
        tool("memray", pid, "detach", str(pid))
    print(tool("memray", pid, "stats", str(output)))
    # The page must work where no CDN can be reached.
    tool("memray", pid, "flamegraph", "--force", "--no-web", "--output", str(page), str(output))
    print(page)


def dump_threads(options: argparse.Namespace) -> None:
    """Print every thread's stack."""
    print(tool("py-spy", options.pid, "dump", "--subprocesses", "--pid", str(options.pid)), end="")


def writable(file: Path) -> Path:
    """The file's full path, if there can be such a file."""
    path = file.absolute()
    if not path.parent.is_dir() or path.is_dir():
        raise FailedError(f"--output {file}: no file can be written there")
    return path


def tool(name: str, pid: int, *arguments: str) -> str:
    """Run a profiler on a process; what it prints. Raises `FailedError` with its reason in our words."""
    program = shutil.which(name, path=os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")]))
    if program is None:
        raise FailedError(f"{name} is not installed: run `make setup`, or `pip install '.[perf]'`")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise FailedError(f"there is no process {pid}") from None
    except PermissionError:
        pass  # there is one, of somebody else: the profiler says whether it may look
    try:
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise FailedError(f"{program} can't be run: {error.strerror}") from None
    if done.returncode:
        raise FailedError(reason(name, pid, done.stderr + done.stdout))
    return done.stdout


def reason(name: str, pid: int, said: str) -> str:
    """Why a tool failed, in one line."""
    for part, meaning in REASONS:
        if part in said:
            return meaning.format(pid=pid)
    lines = [line for line in said.splitlines() if line.strip()]
    # py-spy's own line comes before a stack of its own; memray's comes last.
    told = next((line for line in lines if line.startswith("Error: ")), lines[-1] if lines else "it said nothing")
    return f"{name}: {told.removeprefix('Error: ')}"
