"""Parts of the peers: PostgreSQL and Redis of this machine, or Redis from Debian's packages, and a Python with their packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from scripts.cache import cache_folder, new_folder
from scripts.debian import Found, found
from scripts.errors import MissingError

# Of pip, which downloads.
_PIP_TIMEOUT_S: Final = 600
_REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"


class Kit(NamedTuple):
    """Where the parts are. ``postgres`` is the folder of PostgreSQL's programs."""

    python: Path
    postgres: Path
    redis: Found


def installed() -> Kit:
    """All parts. MissingError: one is missing."""
    python = _environment() / "bin" / "python"
    if not python.exists():
        raise MissingError("run `scripts/perf/peers/install` first")
    return Kit(python, _postgres(), _redis())


def install() -> Kit:
    """Fetches what can be fetched. MissingError: something can't."""
    folder = _environment()
    if not folder.exists():
        with new_folder(folder) as partial:
            _pip(partial)
    return installed()


def _environment() -> Path:
    """A virtual environment in the cache, named by what is in it."""
    what = f"{sys.version_info[:2]} {_REQUIREMENTS.read_text()}"
    return cache_folder() / f"peers-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def _pip(folder: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--requirement", str(_REQUIREMENTS))
    for command in ((sys.executable, "-m", "venv", str(folder)), (str(folder / "bin" / "python"), "-m", "pip", "install", *options)):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PIP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise MissingError(f"`{' '.join(command[1:4])} …` has not ended in {_PIP_TIMEOUT_S} s") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise MissingError(f"`{' '.join(command[1:4])} …` failed: {said[-1]}")


def _postgres() -> Path:
    """Debian keeps the server out of PATH, in a folder for each version: the newest counts."""
    own = shutil.which("postgres")
    folders = (
        [Path(own).resolve().parent] if own else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name))
    )
    if not folders or not (folders[-1] / "initdb").exists():
        raise MissingError("no PostgreSQL here: install Debian's package postgresql, or put `postgres` and `initdb` into PATH")
    return folders[-1]


def _redis() -> Found:
    """Debian's `redis-server` is another name of a program in redis-tools."""
    own = shutil.which("redis-server")
    try:
        return Found(own, "") if own else found("redis-check-rdb", "redis-tools")
    except MissingError as error:
        raise MissingError(f"no Redis here: put `redis-server` into PATH ({error})") from error
