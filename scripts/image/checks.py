"""What `scripts/image/check` does: one line each of what was done, one of why it could not be begun, or what went wrong."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from scripts.cache import cache_folder, locked
from scripts.errors import MissingError, ScriptError
from scripts.image import building, roles, roots
from scripts.image.dockerfile import base, instructions
from scripts.image.engine import Engine, started
from scripts.image.settings import KEYRING, Settings
from scripts.programs import need

ENTRY = Path(__file__).with_name("check")
ROOT = roles.ROOT
NEEDED = ("unshare", "nsenter", "chroot", "mount", "pivot_root", "apt-get", "apt-config", "dpkg")
# Of mounts and processes: whatever this starts is gone when it ends, however it ends. Of the network: nobody else has ports there.
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
NETWORK = ("unshare", "--net", "--fork", "--kill-child")
MB = 1_000_000
SECONDS_MAX = 900


def main(arguments: list[str] | None = None) -> int:
    """0: all is well, or this is no machine for it."""
    parser = argparse.ArgumentParser(
        prog="check", description="Builds the image, and runs it as each role. It needs root, and Debian's apt."
    )
    parser.add_argument(
        "--tools", metavar="RELEASE", default="trixie", help="the release of Debian whose buildah and podman are used (trixie)"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS_MAX, help=f"that it may take at most ({SECONDS_MAX})")
    parser.add_argument("--if-installed", action="store_true", help="do nothing where an earlier run has not fetched what it needs")
    parser.add_argument("--step", choices=("all", "inside", "run"), default="all", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keeper", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(options.seconds)
    steps = {"all": enter, "inside": inside, "run": run}
    try:
        for line in steps[options.step](options):
            print(f"ok       {line}", flush=True)
    except MissingError as error:
        print(f"skipped  the image: {error}", flush=True)
    except (ScriptError, subprocess.SubprocessError) as error:
        print(f"wrong    {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _too_late(_number: int, _frame: FrameType | None) -> None:
    raise ScriptError("it is not done in time: see --seconds")


def enter(options: argparse.Namespace) -> Iterator[str]:
    """Goes on in namespaces of its own, in place of this process."""
    if os.geteuid():
        raise MissingError("it needs root, to mount and to change the root of programs")
    need(*NEEDED)
    if options.if_installed and not _storage(options).exists():
        raise MissingError("its tools are not here yet, and take minutes to fetch: `make image-check` does it once")
    if not KEYRING.exists():
        raise MissingError("it needs the keys of Debian's archive")
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode:
        raise MissingError("no namespaces may be made here")
    roots.check_python(base(instructions((ROOT / "Dockerfile").read_text())))
    # The next process has a limit of its own.
    signal.alarm(0)
    os.execvp(NAMESPACES[0], [*NAMESPACES, *_again(options, "inside")])  # noqa: S606 - no shell is wanted
    yield ""


def _storage(options: argparse.Namespace) -> Path:
    """Where the engine keeps its layers: the last thing that a first run makes."""
    return cache_folder() / "image" / f"storage-{options.tools}"


def _again(options: argparse.Namespace, step: str, *more: str) -> list[str]:
    return [sys.executable, str(ENTRY), "--tools", options.tools, "--seconds", str(options.seconds), "--step", step, *more]


def inside(options: argparse.Namespace) -> Iterator[str]:
    """Builds the image, and has it run."""
    cache = cache_folder() / "image"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache), _temporary(cache / "temporary") as work:
        wanted, settings = base(instructions((ROOT / "Dockerfile").read_text())), Settings()
        began_s = time.monotonic()
        engine = started(roots.tools(cache, options.tools, settings), _storage(options), ROOT, work)
        yield f"{engine.output('buildah', '--version')}, {_after(began_s)}"
        began_s = time.monotonic()
        engine.clear()
        made = building.provide_base(engine, work, wanted, settings)
        yield f"{wanted.name}: a stand-in {'made' if made else 'found in the cache'}, {_after(began_s)}"
        began_s = time.monotonic()
        building.build(engine, work, wanted, settings)
        yield f"Dockerfile: built, {_after(began_s)}"
        size = building.measure(engine)
        yield f"the image: {size.all / MB:.0f} MB, of which {size.program / MB:.0f} MB are /opt/ticketmaster"
        done = subprocess.run([*NETWORK, *_again(options, "run", "--folder", str(work), "--keeper", str(engine.keeper))], check=False)
        if done.returncode:
            raise ScriptError("it does not run as it must, see above")


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A folder for the time of the context; what a run left that was killed is thrown away."""
    shutil.rmtree(folder, ignore_errors=True)
    # How pip reaches its index may be a secret.
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace) -> Iterator[str]:
    """Runs the image in a network of its own."""
    engine = Engine(options.keeper)
    engine.output("ip", "link", "set", "lo", "up")
    yield from roles.check_help(engine)
    yield from roles.check_standalone(engine)
    yield from roles.check_roles(engine, options.folder)


def _after(began_s: float) -> str:
    return f"{time.monotonic() - began_s:.0f} s"
