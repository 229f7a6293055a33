"""The data directory of a standalone process: what a power failure leaves of it."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from ticketmaster.datadir import data_directory_in_use, is_in_use, locked_data_directory, partitions_of_data_directory


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """All syncs and renames, in order, by names below the test's folder."""
    found: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        found.append(f"sync {path.relative_to(tmp_path)}")
        assert not path.is_file() or path.stat().st_size, "an empty file is synced"
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        found.append(f"rename {target.relative_to(tmp_path)}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return found


def test_a_new_directory_survives_a_power_failure_once_it_is_held(steps: list[str], tmp_path: Path) -> None:
    with locked_data_directory(tmp_path / "sales" / "today", 3):
        assert steps == [
            "sync sales",
            "sync .",
            "sync sales/today/ticketmaster.new",
            "rename sales/today/ticketmaster.json",
            "sync sales/today",
        ]
        assert partitions_of_data_directory(tmp_path / "sales" / "today") == 3


def test_a_directory_that_is_there_is_not_written_again(steps: list[str], tmp_path: Path) -> None:
    with locked_data_directory(tmp_path / "data", 1):
        steps.clear()
    with locked_data_directory(tmp_path / "data", 1):
        assert steps == []


def test_whoever_only_looks_whether_it_is_in_use_keeps_nobody_from_it(tmp_path: Path) -> None:
    with locked_data_directory(tmp_path / "data", 1):
        assert data_directory_in_use(tmp_path / "data")
    assert not data_directory_in_use(tmp_path / "data")
    descriptor = os.open(tmp_path / "data" / "ticketmaster.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, (descriptor,))
    timer.start()

    with locked_data_directory(tmp_path / "data", 1):
        pass

    timer.join()


def test_a_lock_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    is_in_use(tmp_path / "lock")
