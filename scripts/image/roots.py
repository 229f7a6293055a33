"""Root file systems from Debian's packages: one with the programs that build and run images, and the one that our image begins with."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.cache import new_folder
from scripts.debian import program
from scripts.errors import MissingError, ScriptError
from scripts.image.dockerfile import Base
from scripts.image.settings import KEYRING, Settings, fetching
from scripts.programs import need

TOOLS = ("binutils", "buildah", "podman", "crun", "conmon", "iproute2", "netbase", "ca-certificates")
# What the official image of Python has besides Debian's smallest system: what its modules link to, certificates, names of time zones.
BASE = (
    *("ca-certificates", "netbase", "tzdata"),
    *("libbz2-1.0", "libcrypt1", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8t64", "libsqlite3-0", "libssl3t64"),
    *("libuuid1", "zlib1g"),
)
# Debian's own slim image is without these.
SLIM = (
    *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "groff", "info", "linda", "lintian", "locale", "man")),
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/locale/locale.alias",
)
# The official image has neither Python's tests, nor what C programs link to, nor bytecode; packages are not Python's own.
LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "__pycache__", "*.a", "config-*", "_tkinter*")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A change of how roots are made gets a new number: those in the cache are then made anew.
RECIPE = 2


def digest(*parts: object) -> str:
    """A name for what is made of these."""
    return hashlib.sha256(repr((RECIPE, parts)).encode()).hexdigest()[:12]


def check_python(base: Base) -> None:
    """MissingError: this Python can't be put into the base image."""
    version = ".".join(map(str, sys.version_info[:2]))
    if version != base.python:
        raise MissingError(f"the Dockerfile asks for Python {base.python}, this is {version}")
    if Path(sys.base_prefix) == Path("/usr"):
        raise MissingError(f"Python {version} is part of this system in /usr: the base image needs one with a folder of its own")


def tools(cache: Path, release: str, settings: Settings) -> Path:
    """The folder with a system that has buildah and podman."""
    folder = cache / f"tools-{release}-{digest(TOOLS)}"
    if not folder.exists():
        for older in cache.glob(f"tools-{release}-*"):
            shutil.rmtree(older)
        try:
            _make(folder, release, TOOLS, (), settings)
        except ScriptError as error:
            raise MissingError(f"no buildah: {' '.join(str(error).split())}") from error
    return folder


def base_key(base: Base) -> str:
    """Names a base image by what it is made of."""
    return digest(base, BASE, SLIM, sys.version, sys.base_prefix)


def make_base(folder: Path, base: Base, settings: Settings) -> None:
    """What the Dockerfile's base image holds, as near as a machine comes to it that can't pull one."""
    _make(folder, base.debian, BASE, SLIM, settings)
    _add_python(folder, base)
    # The machine's mirrors are nobody else's matter.
    for name in ("apt.conf.d/99mmdebstrap", "sources.list"):
        (folder / "etc/apt" / name).unlink()


def _make(folder: Path, release: str, packages: Sequence[str], dpkg_options: Sequence[str], settings: Settings) -> None:
    with new_folder(folder) as root:
        command = [
            *(_mmdebstrap(), "--quiet", "--mode=root", "--variant=minbase", "--format=directory", f"--keyring={KEYRING}"),
            f"--include={','.join(packages)}",
            *(f"--aptopt={line}" for line in fetching(settings.apt_dump)),
            *(f"--dpkgopt={option}" for option in dpkg_options),
            *(release, str(root), *settings.sources(release)),
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScriptError(f"mmdebstrap could not make a system of Debian {release}:\n{done.stderr[-2000:]}")


def _mmdebstrap() -> str:
    """A script of Perl, so Debian's package of it runs without being installed."""
    return shutil.which("mmdebstrap") or str(program("mmdebstrap", "mmdebstrap"))


def _add_python(root: Path, base: Base) -> None:
    """Puts this Python where the official image has its own, with the pip that Python brings along."""
    prefix, local, name = Path(sys.base_prefix), root / "usr/local", f"python{base.python}"
    shutil.copytree(prefix / "lib" / name, local / "lib" / name, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (local / "lib" / name / "site-packages").mkdir()
    for library in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(library, local / "lib", follow_symlinks=False)
    shutil.copy2(prefix / "bin" / name, local / "bin" / name)
    for alias in ("python", "python3"):
        (local / "bin" / alias).symlink_to(name)
    for command in (["ldconfig"], [f"/usr/local/bin/{name}", "-m", "ensurepip"], ["ln", "-s", "pip3", "/usr/local/bin/pip"]):
        done = subprocess.run([need("chroot"), root, *command], env={"PATH": PATH}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScriptError(f"`{' '.join(command)}` failed in the base image: {done.stderr[-2000:]}")
