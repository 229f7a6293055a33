"""Processes that share a state directory: a slot for each, found again by who comes after."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.systems import needs_root
from tests.support.unwritable import unwritable
from ticketmaster.errors import UsageError
from ticketmaster.statedir import Slot, held_slot, take_dead_members

APP, DATA = "event-service", "cluster-1"

HOLDER = """
import sys, time
from pathlib import Path
from ticketmaster.statedir import held_slot
with held_slot(Path(sys.argv[1]), "event-service", "cluster-1") as slot:
    slot.note_member("member-of-the-dead")
    print(slot.folder.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Slots that are let go at the end."""
    with ExitStack() as opened:
        yield opened


def hold(stack: ExitStack, state_dir: Path, data_id: str = DATA) -> Slot:
    return stack.enter_context(held_slot(state_dir, APP, data_id))


def test_each_process_holds_a_slot_of_its_own_and_the_first_free_one_is_taken_again(tmp_path: Path, stack: ExitStack) -> None:
    first, second = hold(stack, tmp_path), hold(stack, tmp_path)
    assert (first.folder.name, second.folder.name) == ("0", "1")

    stack.close()

    assert hold(stack, tmp_path).folder == first.folder


def test_state_of_other_data_is_not_taken_for_ones_own(tmp_path: Path, stack: ExitStack) -> None:
    one, other = hold(stack, tmp_path), hold(stack, tmp_path, "cluster-2")
    one.partition_folder(3)

    assert one.stored() == [3]
    assert other.stored() == []


def test_a_slot_knows_which_partitions_it_has_state_of(tmp_path: Path, stack: ExitStack) -> None:
    slot = hold(stack, tmp_path)
    slot.note_member("member-1")
    for partition in (10, 2, 2):
        slot.partition_folder(partition)

    assert slot.stored() == [2, 10]


def test_a_killed_process_leaves_its_slot_and_its_member_id(tmp_path: Path, stack: ExitStack) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0\n"
        assert take_dead_members(tmp_path, APP) == []
        other = hold(stack, tmp_path)
        assert other.folder.name == "1"

        holder.kill()
        holder.wait()

    assert take_dead_members(tmp_path, APP) == ["member-of-the-dead"]
    assert take_dead_members(tmp_path, APP) == []
    assert hold(stack, tmp_path).folder.name == "0"


def test_who_has_left_the_group_itself_is_no_dead_member(tmp_path: Path, stack: ExitStack) -> None:
    slot = hold(stack, tmp_path)
    slot.note_member("member-1")
    slot.forget_member()
    stack.close()

    assert take_dead_members(tmp_path, APP) == []


def test_a_directory_that_cant_be_used_is_a_usage_error(tmp_path: Path, stack: ExitStack) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")

    with pytest.raises(UsageError, match="-d"):
        hold(stack, file)


def test_notes_of_the_dead_that_cannot_be_read_are_the_operators_concern(tmp_path: Path) -> None:
    (tmp_path / APP / DATA / "0" / "member").mkdir(parents=True)

    with pytest.raises(UsageError, match=f"{tmp_path} can't be used: Is a directory; choose another with -d"):
        take_dead_members(tmp_path, APP)


# --- Whose it is ----------------------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def slot_folder(state_dir: Path) -> Path:
    """As a process has left it, with a partition."""
    with held_slot(state_dir, APP, DATA) as slot:
        slot.note_member("member-1")
        (slot.partition_folder(3) / "AreaStatus.db").touch()
        return slot.folder


def test_what_is_made_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = slot_folder(tmp_path / "new" / "state")

    for made in (tmp_path / "new" / "state", folder.parent.parent, folder.parent, folder, folder / "3"):
        assert mode(made) == 0o700
    assert mode(folder / "lock") == mode(folder / "member") == 0o600


def test_what_others_could_write_into_is_closed_to_them(tmp_path: Path) -> None:
    folder = slot_folder(tmp_path / "state")
    for made in (tmp_path / "state", folder.parent.parent, folder.parent, folder, folder / "3"):
        made.chmod(0o2777)

    with held_slot(tmp_path / "state", APP, DATA) as slot:
        slot.partition_folder(3)

    assert mode(tmp_path / "state") == 0o2755
    assert [mode(made) for made in (folder.parent.parent, folder.parent, folder, folder / "3")] == [0o2700] * 4


PLACES = [".", APP, f"{APP}/{DATA}", f"{APP}/{DATA}/0", *(f"{APP}/{DATA}/0/{name}" for name in ("lock", "member", "3", "3/AreaStatus.db"))]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_refused_and_not_followed(tmp_path: Path, place: str, *, dangling: bool) -> None:
    state_dir, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    slot_folder(state_dir)
    (state_dir / place).rename(elsewhere)
    before = sorted(path.lstat() for path in elsewhere.rglob("*"))
    if dangling:
        elsewhere = tmp_path / "nowhere"
    (state_dir / place if place != "." else state_dir).symlink_to(elsewhere)

    with (
        pytest.raises(UsageError, match="is a link: somebody else may have put it there; choose another with -d"),
        held_slot(state_dir, APP, DATA),
    ):
        pass
    assert dangling or sorted(path.lstat() for path in elsewhere.rglob("*")) == before


def test_a_note_is_not_written_through_a_link(tmp_path: Path, stack: ExitStack) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    slot = hold(stack, tmp_path / "state")
    for name in ("member.new", "member"):
        (slot.folder / name).unlink(missing_ok=True)
        (slot.folder / name).symlink_to(victim)
        slot.note_member("member-1")

    assert victim.read_text() == "precious"
    assert (slot.folder / "member").read_text() == "member-1"
    assert not (slot.folder / "member").is_symlink()


def test_a_store_that_has_another_name_elsewhere_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (slot_folder(tmp_path / "state") / "3" / "Other.db").hardlink_to(victim)

    with pytest.raises(UsageError, match="hard link"), held_slot(tmp_path / "state", APP, DATA):
        pass


@pytest.mark.parametrize("place", PLACES)
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path, place: str) -> None:
    needs_root()
    slot_folder(tmp_path / "state")
    os.chown(tmp_path / "state" / place, 12_345, -1)

    with pytest.raises(UsageError, match="belongs to the user of number 12345"), held_slot(tmp_path / "state", APP, DATA):
        pass
    if place not in (".", f"{APP}/{DATA}/0/3", f"{APP}/{DATA}/0/3/AreaStatus.db", f"{APP}/{DATA}/0/lock"):
        with pytest.raises(UsageError, match="belongs to the user of number 12345"):
            take_dead_members(tmp_path / "state", APP)


def test_a_volume_that_is_roots_and_open_to_its_group_can_be_used() -> None:
    needs_root()
    # As Kubernetes mounts one with fsGroup. pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        volume = Path(folder) / "volume"
        volume.mkdir()
        os.chown(volume, 0, 12_345)
        volume.chmod(0o2775)
        program = """
import os, sys
from pathlib import Path
from ticketmaster.statedir import held_slot
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
for _ in range(2):
    with held_slot(Path(sys.argv[1]), "event-service", "cluster-1") as slot:
        slot.partition_folder(3)
"""
        subprocess.run([sys.executable, "-c", program, volume], check=True, timeout=60)

        assert mode(volume) == 0o2775
        assert (volume / APP).stat().st_uid == 12_345


def test_a_note_of_the_dead_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = slot_folder(tmp_path)
    (folder / "member").unlink()
    (folder / "member").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_text("member-2")

    with pytest.raises(UsageError, match="member in the state directory is a link"):
        take_dead_members(tmp_path, APP)


@pytest.mark.parametrize("where", [".", "3", "3/AreaStatus.db"])
def test_state_that_can_not_be_written_is_refused_when_the_slot_is_taken(tmp_path: Path, stack: ExitStack, where: str) -> None:
    slot = hold(stack, tmp_path)
    (slot.partition_folder(3) / "AreaStatus.db").write_bytes(b"")
    stack.close()

    with unwritable(slot.folder / where), pytest.raises(UsageError, match=r"can't be (written|used)"):
        hold(stack, tmp_path)


def test_what_is_not_a_directory_or_not_a_file_in_a_slot_is_refused(tmp_path: Path, stack: ExitStack) -> None:
    slot = hold(stack, tmp_path)
    (slot.folder / "3").write_bytes(b"")
    (slot.partition_folder(4) / "AreaStatus.db").mkdir()
    stack.close()

    with pytest.raises(UsageError, match="3 is not a directory"):
        hold(stack, tmp_path)
    (slot.folder / "3").unlink()
    with pytest.raises(UsageError, match=r"AreaStatus\.db is not a file"):
        hold(stack, tmp_path)
