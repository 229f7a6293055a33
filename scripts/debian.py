"""Programs from Debian's packages, unpacked into the cache: nothing is installed, and it needs no root and no .venv.

Dependencies are not fetched: this is for programs that need no libraries but those that every machine has.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.cache import cache_folder

PROGRAM_FOLDERS = ("usr/bin", "usr/sbin")


class PackageError(Exception):
    """The programs can't be had; the text is for people."""


def program(name: str, *packages: str) -> Path:
    """A program, from the first of these packages that has it: releases of Debian divide programs among packages in different ways."""
    for package in packages:
        for folder in PROGRAM_FOLDERS:
            path = unpacked(package) / folder / name
            if path.is_file():
                return path
    raise PackageError(f"Debian's {' and '.join(packages)} have no `{name}`")


def unpacked(package: str) -> Path:
    """The folder in the cache with what a package holds, as if it were `/`."""
    target = cache_folder() / "debian" / package
    if not target.exists():
        _unpack(target, package)
    return target


def _unpack(target: Path, package: str) -> None:
    """Never leaves half a folder under its name, whoever else unpacks at the same time."""
    apt_get, dpkg_deb = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or dpkg_deb is None:
        raise PackageError("no apt to take it from")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        file = _download(apt_get, package, Path(name))
        done = subprocess.run([dpkg_deb, "-x", file, "unpacked"], cwd=name, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PackageError(f"`dpkg-deb -x {file.name}` failed: {_last(done.stderr)}")
        try:
            Path(name, "unpacked").rename(target)
        except OSError:
            if not target.exists():
                raise


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
    raise PackageError(f"`apt-get download {package}` failed; it needs the network, or a mirror that apt knows: {_last(said)}")


def _last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
