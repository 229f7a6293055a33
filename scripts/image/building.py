"""The image, built as `docker build` would, but by buildah."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ScriptError
from scripts.image.dockerfile import Base
from scripts.image.engine import SOURCE, WORK, Engine
from scripts.image.roots import PATH, base_key, make_base
from scripts.image.settings import ENVIRONMENT, MOUNTED, Settings
from scripts.programs import need

IMAGE = "localhost/ticketmaster:check"
LABEL = "ticketmaster.base"
SETTINGS, BASE = "settings", "base"
# Nothing of the build's own may be in the image.
UNWANTED = ("etc/apt/sources.list", "etc/pip.conf", "usr/local/bin/pip", "opt/ticketmaster/bin/pip")
LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
BUILD_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Size:
    """What lies in the image's files, in bytes."""

    all: int
    program: int


def provide_base(engine: Engine, work: Path, base: Base, settings: Settings) -> bool:
    """Commits what the Dockerfile begins with, under the name that it asks for; False if it was there."""
    name, key = f"docker.io/library/{base.name}", base_key(base)
    known = engine.run("buildah", "inspect", "--type", "image", "--format", f'{{{{index .OCIv1.Config.Labels "{LABEL}"}}}}', name)
    if known.returncode == 0 and known.stdout.strip() == key:
        return False
    container = engine.output("buildah", "from", "scratch")
    mounted = Path(f"{engine.root}{engine.output('buildah', 'mount', container)}")
    root = work / BASE
    make_base(root, base, settings)
    # As the official image's Python is.
    engine.output("sh", "-c", f"find {WORK}/{BASE}/usr/local -type f -perm /111 -name '*python3.*' -exec strip --strip-unneeded {{}} +")
    subprocess.run([need("cp"), "--archive", f"{root}/.", mounted], check=True)
    environment = {"PATH": PATH, "LANG": "C.UTF-8", **ENVIRONMENT}
    options = [f"--env={key}={value}" for key, value in environment.items()]
    engine.output("buildah", "config", *options, "--cmd", "python3", "--label", f"{LABEL}={key}", container)
    engine.output("buildah", "commit", "--quiet", "--format", "docker", "--rm", container, name)
    return True


def build(engine: Engine, work: Path, base: Base, settings: Settings) -> None:
    """Builds the image that the Dockerfile describes, in place of the one that was built before."""
    folder = work / SETTINGS
    folder.mkdir()
    settings.write(folder, base.debian)
    before = _image_id(engine)
    # The engine would raise these limits, which a process without CAP_SYS_RESOURCE can't.
    limits = {name: resource.getrlimit(number) for name, number in LIMITS.items()}
    engine.output(
        *("buildah", "bud", *(f"--ulimit={name}={soft}:{hard}" for name, (soft, hard) in limits.items())),
        *("--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker", "--layers"),
        *("--volume", f"{WORK}/{SETTINGS}:{MOUNTED}:ro", "--tag", IMAGE, "--file", f"{SOURCE}/Dockerfile", SOURCE),
        timeout_s=BUILD_TIMEOUT_S,
    )
    after = _image_id(engine)
    if before not in {"", after}:
        engine.output("podman", "image", "rm", "--force", before)


def _image_id(engine: Engine) -> str:
    """Empty if there is none."""
    return engine.run("podman", "image", "inspect", "--format", "{{.Id}}", IMAGE).stdout.strip()


def measure(engine: Engine) -> Size:
    """Its size. ScriptError: something is in it that was of use for the build only."""
    root = Path(f"{engine.root}{engine.output('podman', 'image', 'mount', IMAGE)}")
    wrong = [name for name in UNWANTED if os.path.lexists(root / name)]
    wrong += [str(path.relative_to(root)) for name in (MOUNTED, "/etc/apt/sources.list.d") for path in Path(f"{root}{name}").glob("*")]
    if wrong:
        raise ScriptError(f"the image holds what only its build needs: {', '.join(wrong)}")
    privileged = [str(path) for path, status in files_in(root) if status.st_mode & (stat.S_ISUID | stat.S_ISGID)]
    if privileged:
        raise ScriptError(f"programs of the image give others' rights: {', '.join(privileged)}")
    size = Size(bytes_in(root), bytes_in(root / "opt/ticketmaster"))
    engine.output("podman", "image", "unmount", IMAGE)
    return size


def bytes_in(folder: Path) -> int:
    """As `du -sb` counts, but for directories: a file of several names counts once."""
    sizes = {status.st_ino: status.st_size for _, status in files_in(folder)}
    return sum(sizes.values())


def files_in(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Those that are no links."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path.relative_to(folder), status
