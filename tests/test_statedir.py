"""Processes that share a state directory: a slot for each, found again by who comes after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

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
