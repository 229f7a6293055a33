"""Reservation ids: unique, in order, and UUIDs for everybody else."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.clock import SystemClock
from ticketmaster.ticket.ids import IdMint, canonical_id, is_reservation_id


class ScriptedClock(SystemClock):
    """The times it is told, in turn; its randomness is the same eight bytes over and over, so that only the order makes ids differ."""

    def __init__(self, times_ms: list[int], random: bytes) -> None:
        self._times_ms = iter(times_ms)
        self._random = random

    def now_ms(self) -> int:
        return next(self._times_ms)

    def random_bits(self, count: int) -> int:
        return int.from_bytes((self._random * count)[: count // 8], "big")


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=40), st.sampled_from([bytes(8), b"\xff" * 8]))
def test_ids_grow_whatever_the_clock_does(times_ms: list[int], random: bytes) -> None:
    mint = IdMint(ScriptedClock(times_ms, random), 1)

    ids = [mint.mint()[0].decode() for _ in times_ms]

    assert ids == sorted(set(ids))
    for text in ids:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
        assert is_reservation_id(text)


def test_an_id_starts_with_its_millisecond() -> None:
    # The example of RFC 9562, appendix A.6, but for the counter. An id has 62 random bits, the first ones of its eight bytes.
    mint = IdMint(ScriptedClock([0x017F22E279B0], (0x18C4DC0C0C07398F << 2).to_bytes(8, "big")), 1)

    assert mint.mint()[0].decode() == "017f22e2-79b0-7000-98c4-dc0c0c07398f"


def test_more_ids_than_a_millisecond_has_borrow_from_the_next_one() -> None:
    mint = IdMint(ScriptedClock([5] * 4_098, bytes(8)), 1)

    ids = [mint.mint()[0].decode() for _ in range(4_098)]

    assert len(set(ids)) == 4_098
    assert ids == sorted(ids)
    assert [text[:18] for text in (ids[0], ids[4_095], ids[4_096])] == ["00000000-0005-7000", "00000000-0005-7fff", "00000000-0006-7000"]


def test_ids_of_one_moment_are_not_to_be_guessed() -> None:
    mint = IdMint(SystemClock(), 1)

    assert len({mint.mint()[0].decode()[19:] for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("text", ["51998dfc-abe9-4429-bce7-255ede8d55db", "51998DFC-ABE9-4429-BCE7-255EDE8D55DB", str(uuid.UUID(int=0))])
def test_a_uuid_of_any_version_is_a_reservation_id_in_either_case(text: str) -> None:
    assert is_reservation_id(text)
    assert canonical_id(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "51998dfcabe94429bce7255ede8d55db",
        "{51998dfc-abe9-4429-bce7-255ede8d55db}",
        "51998dfc-abe9-4429-bce7-255ede8d55db\n",
        " 51998dfc-abe9-4429-bce7-255ede8d55db",
        "51998dfc-abe9-4429-bce7-255ede8d55d",
        "51998dfc-abe9-4429-bce7-255ede8d55dg",
        "51998dfc-abe9-4429-bce7-255ede8d55d٣",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_reservation_id(text)
    assert canonical_id(text) is None


@given(st.integers(1, 50), st.data())
def test_ids_are_of_the_partitions_that_are_owned(partitions: int, data: st.DataObject) -> None:
    owned = data.draw(st.sets(st.integers(0, partitions - 1)))
    mint = IdMint(SystemClock(), partitions)
    mint.own(owned)

    minted = [mint.mint() for _ in range(20)]

    assert all(partition == partition_of(key, partitions) for key, partition in minted)
    assert all(not owned or partition in owned for _, partition in minted)
    assert [key for key, _ in minted] == sorted({key for key, _ in minted})
    assert all(is_reservation_id(key.decode()) for key, _ in minted)


def test_ids_are_spread_over_all_owned_partitions() -> None:
    mint = IdMint(SystemClock(), 20)
    mint.own([3, 7, 19])

    assert {mint.mint()[1] for _ in range(300)} == {3, 7, 19}


def test_partitions_that_take_no_commands_get_no_ids_while_there_are_others() -> None:
    def minted_for() -> set[int]:
        return {mint.mint()[1] for _ in range(200)}

    mint = IdMint(SystemClock(), 4)
    mint.avoid(2)
    assert minted_for() == {0, 1, 3}

    mint.own([1, 2])
    assert minted_for() == {1}
    mint.avoid(1)
    # None of its own is left, but any process answers for any id.
    assert minted_for() == {0, 3}
    for partition in (0, 3):
        mint.avoid(partition)
    assert minted_for() == {1, 2}

    mint.use_again(2)
    assert minted_for() == {2}
    for partition in (0, 1, 3):
        mint.use_again(partition)
    assert minted_for() == {1, 2}
    mint.own(range(4))
    assert minted_for() == {0, 1, 2, 3}
