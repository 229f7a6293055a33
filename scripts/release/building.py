"""Builds the source archive and the wheel, and installs the wheel as a stranger does: with what requirements.lock names, no more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from scripts.release.refusals import git

ROOT = Path(__file__).resolve().parents[2]
STEP_TIMEOUT_S = 300


def _run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=STEP_TIMEOUT_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def build(folder: Path) -> tuple[Path, Path]:
    """The source archive of this tree, and the wheel that is built from the archive: so the archive has all that a build needs."""
    with tempfile.TemporaryDirectory() as copy:
        # What git ignores stays behind: hatchling heeds .gitignore only where no pattern in it names the path of the clone, e.g. /tmp/.
        for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").rstrip("\0").split("\0"):
            target = Path(copy) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=Path(copy))
    (archive,) = folder.glob("*.tar.gz")
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, archive)
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


def install(wheel: Path, folder: Path) -> Path:
    """A virtual environment of this Python with the wheel and without even pip; its folder of programs. Fails if a package is missing."""
    _run(sys.executable, "-m", "venv", "--without-pip", "--clear", folder)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--no-compile", "--no-deps", "--require-hashes", "-r", ROOT / "requirements.lock")
    # By name, not by path: pip notes the path it installed from, and the SBOM would tell it.
    name, version = wheel.name.split("-")[:2]
    _run(*pip, "install", "--no-compile", "--no-deps", "--no-index", "--find-links", wheel.parent, f"{name}=={version}")
    _run(*pip, "check")
    return programs


def bill_of_materials(programs: Path, version: str, target: Path) -> None:
    """Writes the SBOM, in CycloneDX: what `install` has installed, with versions, licences, and which package needs which."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"] | {"version": version}
    told = {key: project[key] for key in ("name", "version", "description", "license", "dependencies")}
    with tempfile.TemporaryDirectory() as folder:
        # Of pyproject.toml itself cyclonedx-py would take no version, which is dynamic there, but what tests and profilers need.
        described = Path(folder) / "pyproject.toml"
        described.write_text("[project]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()), encoding="utf-8")
        options = ("--output-reproducible", "--output-format", "JSON", "--mc-type", "application", "--pyproject", described)
        _run(sys.executable, "-m", "cyclonedx_py", "environment", *options, "--output-file", target, programs / "python")
