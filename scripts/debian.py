"""Programs from Debian's packages, unpacked into the cache: nothing is installed, and it needs no root and no .venv.

`program` fetches no dependencies: it is for programs that need no libraries but those that every machine has. `found` fetches libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scripts.cache import cache_folder, locked, new_folder
from scripts.errors import MissingError
from scripts.programs import need

PROGRAM_FOLDERS = ("usr/bin", "usr/sbin")


class Found(NamedTuple):
    """A program, and the folders that it finds its libraries in: $LD_LIBRARY_PATH, which may be empty."""

    path: str
    libraries: str

    @property
    def environment(self) -> dict[str, str]:
        """Our own, with the libraries."""
        return {**os.environ, **({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})}


@cache
def found(name: str, *packages: str) -> Found:
    """A program of this machine, else of Debian's packages, with libraries. MissingError: it can't be had; the text is one line."""
    own = shutil.which(name)
    if own:
        return Found(own, "")
    path = str(program(name, *packages))
    libraries = ":".join(_libraries(packages[0], path))
    lacks = re.findall(r"(\S+) => not found", _said("ldd", path, LD_LIBRARY_PATH=libraries))
    if lacks:
        raise MissingError(f"this machine lacks {', '.join(lacks)}, which {name} needs")
    return Found(path, libraries)


def _libraries(package: str, path: str) -> list[str]:
    """Folders with the libraries that this machine lacks, of the packages that a package wants."""
    depends = _said("apt-cache", "depends", "--recurse", "--important", package)
    folders: list[str] = []
    for each in dict.fromkeys(re.findall(r"^(lib[\w.+-]+)$", depends, re.MULTILINE)):
        if "not found" not in _said("ldd", path, LD_LIBRARY_PATH=":".join(folders)):
            break
        if "install ok installed" not in _said("dpkg-query", "-s", each):
            folders += sorted({str(file.parent) for file in unpacked(each).glob("usr/lib/**/*.so*")})
    return folders


def _said(*command: str, **env: str) -> str:
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False).stdout


def program(name: str, *packages: str) -> Path:
    """A program, from the first of these packages that has it: releases of Debian divide programs among packages in different ways."""
    for package in packages:
        for folder in PROGRAM_FOLDERS:
            path = unpacked(package) / folder / name
            if path.is_file():
                return path
    raise MissingError(f"Debian's {' and '.join(packages)} have no `{name}`")


def unpacked(package: str) -> Path:
    """The folder in the cache with what a package holds, as if it were `/`."""
    target = cache_folder() / "debian" / package
    if not target.exists():
        _unpack(target, package)
    return target


def _unpack(target: Path, package: str) -> None:
    """Whoever else unpacks at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent), tempfile.TemporaryDirectory() as name:
        if target.exists():
            return
        with new_folder(target) as folder:
            file = _download(need("apt-get", what_for="fetches Debian's packages"), package, Path(name))
            done = subprocess.run([need("dpkg-deb"), "-x", file, folder], capture_output=True, text=True, check=False)
            if done.returncode:
                raise MissingError(f"`dpkg-deb -x {file.name}` failed: {_last(done.stderr)}")


def _download(apt_get: str, package: str, into: Path) -> Path:
    """The package, as the machine's own lists of packages name it; if those are missing or old, as lists of our own do."""
    lists, cache = into / "lists", into / "cache"
    lists.mkdir()
    cache.mkdir()
    ours = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
    said = ""
    for arguments in (["download", package], [*ours, "update"], [*ours, "download", package]):
        done = subprocess.run([apt_get, "-qq", *arguments], cwd=into, capture_output=True, text=True, check=False)
        said += done.stderr
        found = list(into.glob("*.deb"))
        if found:
            return found[0]
    raise MissingError(f"`apt-get download {package}` failed; it needs the network, or a mirror that apt knows: {_last(said)}")


def _last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
