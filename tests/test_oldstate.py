"""State that nobody uses any more goes after a week; what a living process has, and what a sale that stands still has, stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ticketmaster.oldstate import pruned_state
from ticketmaster.statedir import held_slot

APP, DATA, OTHER = "event-service", "cluster-1", "cluster-0"
# The system's: what a process used until it ended is marked by it.
NOW_S = time.time()
DAY_S = 86_400


def made(state_dir: Path, data_id: str, slot: int, partition: int, age_days: float) -> Path:
    """A partition's state, last used so long ago."""
    folder = state_dir / APP / data_id / str(slot) / str(partition)
    folder.mkdir(mode=0o700, parents=True)
    store = folder / "AreaStatus.db"
    store.write_bytes(b"rows")
    for path in (store, folder):
        os.utime(path, (NOW_S - age_days * DAY_S,) * 2)
    return folder


def pruned(state_dir: Path, data_id: str = DATA) -> list[Path]:
    with held_slot(state_dir, APP, data_id) as slot:
        return list(pruned_state(state_dir, APP, slot.folder, NOW_S))


def test_what_went_elsewhere_a_week_ago_goes_and_what_is_used_stays(tmp_path: Path) -> None:
    kept = [made(tmp_path, DATA, 0, 1, age_days=0), made(tmp_path, DATA, 0, 2, age_days=6.9), made(tmp_path, DATA, 1, 3, age_days=1)]
    old = [made(tmp_path, DATA, 0, 4, age_days=7.1), made(tmp_path, DATA, 5, 5, age_days=30)]

    assert sorted(pruned(tmp_path)) == sorted(old)
    assert [folder for folder in old if folder.exists()] == []
    assert all((folder / "AreaStatus.db").read_bytes() == b"rows" for folder in kept)
    assert pruned(tmp_path) == []


def test_a_sale_that_has_stood_still_finds_all_of_its_state(tmp_path: Path) -> None:
    for partition in range(4):
        made(tmp_path, DATA, partition % 2, partition, age_days=40 + partition)

    assert pruned(tmp_path) == []


def test_state_of_another_cluster_or_of_other_schemas_goes_by_the_clock(tmp_path: Path) -> None:
    made(tmp_path, DATA, 0, 0, age_days=40)
    recent, old = made(tmp_path, OTHER, 0, 0, age_days=3), made(tmp_path, OTHER, 1, 0, age_days=8)

    assert pruned(tmp_path) == [old]
    assert recent.exists()
    # A first start with data that there is no state of yet.
    assert pruned(tmp_path, "cluster-2") == [tmp_path / APP / DATA / "0" / "0"]


def test_what_a_living_process_holds_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path, DATA, 1, 0, age_days=0)
    with held_slot(tmp_path, APP, OTHER) as living:
        held = made(tmp_path, OTHER, int(living.folder.name), 7, age_days=100)

        assert pruned(tmp_path) == []
        assert held.exists()
    # It has not opened that one, so ending does not count as use.
    assert pruned(tmp_path) == [held]


def test_a_partition_that_a_process_had_until_it_ended_was_used_until_then(tmp_path: Path) -> None:
    folder = made(tmp_path, DATA, 0, 3, age_days=60)
    with held_slot(tmp_path, APP, DATA) as slot:
        assert slot.partition_folder(3) == folder

    made(tmp_path, DATA, 1, 4, age_days=0)
    assert pruned(tmp_path) == []


@pytest.mark.parametrize("name", ["notes", "lock", "member"])
def test_nothing_is_deleted_but_partitions(tmp_path: Path, name: str) -> None:
    made(tmp_path, DATA, 0, 0, age_days=0)
    made(tmp_path, OTHER, 0, 0, age_days=30)
    other = tmp_path / APP / OTHER / "0" / name
    if name == "notes":
        other.mkdir()
    else:
        other.write_text("")
    os.utime(other, (0, 0))

    assert len(pruned(tmp_path)) == 1
    assert other.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    made(tmp_path / "state", DATA, 0, 0, age_days=0)
    elsewhere = made(tmp_path / "elsewhere", OTHER, 0, 0, age_days=30)
    (tmp_path / "state" / APP / OTHER).symlink_to(elsewhere.parent.parent)

    assert pruned(tmp_path / "state") == []
    assert elsewhere.exists()
