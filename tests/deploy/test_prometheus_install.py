"""Where scripts/prometheus/install takes Prometheus from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

INSTALL: Final = Path(__file__).resolve().parents[2] / "scripts" / "prometheus" / "install"


def install(path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Runs it with nothing but this folder in PATH."""
    env = {"PATH": str(path), "TICKETMASTER_CACHE": str(cache)}
    return subprocess.run([sys.executable, INSTALL], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_programs_in_the_path_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("prometheus", "promtool"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    done = install(tmp_path, tmp_path / "cache")
    assert done.stdout.split() == [str(tmp_path / "prometheus"), str(tmp_path / "promtool")]
    assert not (tmp_path / "cache").exists()


def test_a_machine_with_neither_programs_nor_apt_is_told_what_it_lacks_in_one_line(tmp_path: Path) -> None:
    done = install(tmp_path, tmp_path / "cache")

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("install: no Prometheus found: put `prometheus` and `promtool` into PATH (no apt-get found")


def apt(folder: Path, packages: dict[str, list[str]]) -> None:
    """An apt, of which each package holds these programs, and a dpkg-deb: as much of both as is used."""
    folder.mkdir()
    holds = " ".join(f"{name}) programs='{' '.join(programs)}';;" for name, programs in packages.items())
    shell = {
        "apt-get": f"""[ "$2" = download ] || exit 0
            for name do :; done
            case $name in {holds} *) echo "E: Unable to locate package $name" >&2; exit 100;; esac
            echo "$programs" > "$name.deb" """,
        "dpkg-deb": """/bin/mkdir -p "$3/usr/bin"; for program in $(/bin/cat "$2"); do echo > "$3/usr/bin/$program"; done""",
    }
    for name, text in shell.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("packages", [{"prometheus": ["prometheus", "promtool"]}, {"prometheus": ["prometheus"], "promtool": ["promtool"]}])
def test_both_are_found_in_one_package_and_in_two(tmp_path: Path, packages: dict[str, list[str]]) -> None:
    apt(tmp_path / "bin", packages)

    for done in (install(tmp_path / "bin", tmp_path / "cache"), install(tmp_path, tmp_path / "cache")):
        assert done.returncode == 0, done.stderr
        found = [Path(line) for line in done.stdout.split()]
        assert [path.name for path in found] == ["prometheus", "promtool"]
        assert all(path.is_file() for path in found)


def test_a_package_that_lacks_a_program_is_one_line(tmp_path: Path) -> None:
    apt(tmp_path / "bin", {"prometheus": ["prometheus"], "promtool": []})

    done = install(tmp_path / "bin", tmp_path / "cache")

    assert (done.returncode, done.stdout) == (1, "")
    assert "have no `promtool`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_package_that_is_not_to_be_had_is_one_line_with_what_apt_said(tmp_path: Path) -> None:
    apt(tmp_path / "bin", {"another": []})

    done = install(tmp_path / "bin", tmp_path / "cache")

    assert (done.returncode, done.stdout) == (1, "")
    assert "E: Unable to locate package prometheus" in done.stderr
    assert done.stderr.count("\n") == 1
