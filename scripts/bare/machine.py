"""A machine with nothing on it: a small Debian in memory, entered with its own processes and the network of this one.

It needs root, and `mmdebstrap` or `debootstrap`. Nothing of it is left behind but its packages, in the cache: its file system is seen by
this process and by what that starts, and goes with them, however they end.
"""

from __future__ import annotations

import ast
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scripts.cache import cache_folder
from scripts.errors import MissingError
from scripts.programs import need

SUITE = "trixie"
# What README.md asks for, and what a clone takes.
PACKAGES = ("python3", "python3-venv", "make", "curl", "git")
KAFKA_PACKAGES = ("ca-certificates", "default-jdk-headless", "maven")
# Those that were added here, by which a mirror may be signed.
_AUTHORITIES = Path("/usr/local/share/ca-certificates")
USER, USER_ID = "buyer", 1000
HOME = Path("home") / USER
REPOSITORY = HOME / "ticketmaster"
# Packages of that age are taken anew.
_PACKAGES_S = 30 * 24 * 3600
_MAKE_S = 600.0
# What pip here has beside the network.
_OURS_ONLY = frozenset({"find-links", "no-index", "config-file"})
# Two environments of Python, and what a sale writes; it takes 1 GB.
_DISK = "size=4g,mode=755"
# Of Linux; Python has it since 3.12.
_CLONE_NEWNS: Final = 0x0002_0000
_ENTER = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def command_line(root: Path, command: Sequence[str], *, as_root: bool = False) -> list[str]:
    """Runs a command on the machine, as its user."""
    home = "/root" if as_root else f"/{HOME}"
    user = [] if as_root else ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"]
    # No locale, as nobody has chosen one.
    environment = ["env", "-i", f"HOME={home}", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TERM=dumb"]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return [*unshare, "sh", "-c", _ENTER, str(root), *user, *environment, *command]


def pip_settings(lines: Iterable[str]) -> dict[str, str]:
    """What pip on the machine is to be told, of what `pip config list` says here; by name, without the section."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if value and option not in _OURS_ONLY:
            found[option] = str(ast.literal_eval(value))
    return found


def mirror(lines: Iterable[str]) -> str:
    """Where packages are taken from here, of lines of a release and its address: not that of updates, which has not all. '': none."""
    return next((address for release, _, address in (line.partition(" ") for line in lines) if address and "-" not in release), "")


def _run(command: Sequence[str | Path], what: str, timeout_s: float = _MAKE_S) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(f"{what}: {error}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise MissingError(f"{what}: {said[-1]}")
    return done.stdout


def _check() -> None:
    if os.geteuid():
        raise MissingError("it takes root")
    need("unshare", "chroot", "setpriv", "tar", "git", "apt-get")


def _with_own_mounts(root: Path) -> None:
    """Gives this process, and what it starts, a file system there that nobody else sees."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise MissingError(f"no mounts of its own are allowed: {os.strerror(ctypes.get_errno())}")
    _run(["mount", "--make-rprivate", "/"], "mount")
    _run(["mount", "-t", "tmpfs", "-o", _DISK, "none", root], "mounting is not allowed")
    _run(["unshare", "--pid", "--fork", "--kill-child", "true"], "processes of its own are not allowed")


def _made(folder: Path) -> Path:
    """All packages of the machine, as a tar file in this folder."""
    file = folder / f"{SUITE}.tar"
    if file.exists() and time.time() - file.stat().st_mtime < _PACKAGES_S:
        return file
    said = _run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"], "apt-get indextargets")
    if not (address := mirror(said.splitlines())):
        raise MissingError("apt knows no mirror")
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE]
    with TemporaryDirectory(dir=folder) as name:
        fresh = Path(name, "made.tar")
        if shutil.which("mmdebstrap"):
            _run(["mmdebstrap", *options, fresh, address], "mmdebstrap")
        elif shutil.which("debootstrap"):
            _run(["debootstrap", *options, Path(name, "root"), address], "debootstrap")
            _run(["tar", "-C", Path(name, "root"), "-cf", fresh, "."], "tar")
        else:
            raise MissingError("neither `mmdebstrap` nor `debootstrap` found")
        fresh.rename(file)
    return file


def _settle(root: Path, checkout: Path) -> None:
    """Gives the machine a user, a way to the network, and a clone of what is committed here."""
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc", name), root / "etc" / name)
    settings = pip_settings(_run([sys.executable, "-m", "pip", "config", "list"], "pip config list").splitlines())
    if certificates := settings.get("cert"):
        target = root / certificates.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(certificates, target)
    (root / "etc" / "pip.conf").write_text("".join(f"{line}\n" for line in ("[global]", *(f"{k} = {v}" for k, v in settings.items()))))
    _run(["chroot", root, "useradd", "--create-home", "--uid", str(USER_ID), "--shell", "/bin/bash", USER], "useradd")
    trusted = ["-c", "safe.directory=*", "-c", "protocol.file.allow=always"]
    _run(["git", *trusted, "clone", "--quiet", "--depth", "1", f"file://{checkout}", root / REPOSITORY], "git clone")
    _run(["chown", "-R", f"{USER_ID}:{USER_ID}", root / HOME], "chown")


def add_kafka_packages(root: Path) -> None:
    """Installs what a Kafka takes, as root of that machine would; Java trusts whom this machine was told to, Maven gets our settings."""
    trusted = root / _AUTHORITIES.relative_to("/")
    trusted.mkdir(parents=True, exist_ok=True)
    for file in _AUTHORITIES.glob("*.crt"):
        shutil.copyfile(file, trusted / file.name)
    settings = Path.home() / ".m2" / "settings.xml"
    if settings.exists():
        target = root / HOME / ".m2" / "settings.xml"
        target.parent.mkdir()
        shutil.copyfile(settings, target)
        _run(["chown", "-R", f"{USER_ID}:{USER_ID}", target.parent], "chown")
    install = f"apt-get -qq update && apt-get -qq install --yes --no-install-recommends {' '.join(KAFKA_PACKAGES)}"
    # Java's own list of authorities is made before it knows of those that were added.
    install += " && update-ca-certificates --fresh"
    _run(command_line(root, ["DEBIAN_FRONTEND=noninteractive", "sh", "-c", install], as_root=True), "apt-get install")


def machine(checkout: Path) -> Path:
    """The root folder of a machine that has a clone of what is committed here. MissingError: it can't be had."""
    _check()
    folder = cache_folder() / "bare"
    root = folder / "machine"
    root.mkdir(parents=True, exist_ok=True)
    packages = _made(folder)
    _with_own_mounts(root)
    _run(["tar", "-C", root, "--exclude=./dev/*", "-xpf", packages], "tar")
    _settle(root, checkout)
    return root
