"""Who gets which partitions: all of them, evenly, and each where it was or where its state is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.broker.kafka.assignor import Claim, StickyAssignor, assign

PARTITIONS = st.integers(0, 40)
MEMBERS = st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=8, unique=True)
NUMBERS = st.lists(st.integers(-1, 45), max_size=45)
CLAIMS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.builds(Claim, address=st.text(max_size=3), epoch=st.integers(0, 3), owned=NUMBERS, stored=NUMBERS),
    min_size=1,
    max_size=8,
)


def evenly_assigned(tasks: Mapping[str, list[int]], partitions: int) -> bool:
    counts = [len(owned) for owned in tasks.values()]
    return sorted(chain.from_iterable(tasks.values())) == list(range(partitions)) and max(counts) - min(counts) <= 1


def claiming(tasks: Mapping[str, list[int]], epoch: int = 1) -> dict[str, Claim]:
    """What members say who run these."""
    return {member: Claim(member, epoch, owned, owned) for member, owned in tasks.items()}


@given(PARTITIONS, CLAIMS)
def test_every_partition_has_one_owner_and_no_member_two_more_than_another(partitions: int, claims: dict[str, Claim]) -> None:
    tasks = assign(partitions, claims)

    assert tasks.keys() == claims.keys()
    assert evenly_assigned(tasks, partitions)


@given(PARTITIONS, MEMBERS)
def test_nothing_moves_without_need(partitions: int, members: list[str]) -> None:
    tasks = assign(partitions, {member: Claim() for member in members})

    assert assign(partitions, claiming(tasks)) == tasks


@given(PARTITIONS, MEMBERS)
def test_of_those_who_stay_a_newcomer_takes_its_share_only(partitions: int, members: list[str]) -> None:
    before = assign(partitions, {member: Claim() for member in members})

    after = assign(partitions, claiming(before) | {"new": Claim()})

    kept = sum(len(set(before[member]) & set(after[member])) for member in members)
    assert kept == partitions - len(after["new"])


@given(PARTITIONS, MEMBERS)
def test_whoever_leaves_takes_nothing_from_the_others(partitions: int, members: list[str]) -> None:
    before = assign(partitions, {member: Claim() for member in members} | {"gone": Claim()})

    after = assign(partitions, {member: claim for member, claim in claiming(before).items() if member != "gone"})

    assert all(set(before[member]) <= set(after[member]) for member in members)


@given(PARTITIONS, MEMBERS)
def test_a_restarted_process_gets_back_what_it_has_state_of(partitions: int, members: list[str]) -> None:
    before = assign(partitions, {member: Claim() for member in members})
    # All were stopped, and come back under new names.
    restarted = {f"new-{member}": Claim(stored=owned) for member, owned in before.items()}

    assert assign(partitions, restarted) == {f"new-{member}": owned for member, owned in before.items()}


def test_who_runs_a_partition_keeps_it_from_one_who_only_has_state_of_it() -> None:
    claims = {"a": Claim(owned=[0, 1], epoch=3), "b": Claim(stored=[0, 1, 2, 3])}

    assert assign(4, claims) == {"a": [0, 1], "b": [2, 3]}


def test_of_two_who_say_they_run_a_partition_the_newer_claim_wins() -> None:
    claims = {"zombie": Claim(owned=[0, 1], epoch=3), "later": Claim(owned=[0, 1], epoch=4)}

    assert assign(4, claims) == {"later": [0, 1], "zombie": [2, 3]}


# --- What goes over the wire -------------------------------------------------------------------------------------------------


class _Metadata:
    """The cluster, as far as an assignor asks."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._topics[topic])) if topic in self._topics else None


def rebalanced(members: Mapping[str, StickyAssignor], topics: Mapping[str, int]) -> dict[str, list[tuple[str, list[int]]]]:
    """One rebalance, led by the first member."""
    joined = {member: assignor.metadata(sorted(topics)) for member, assignor in members.items()}
    # As the broker hands them on.
    joined = {member: ConsumerProtocolMemberMetadata.decode(metadata.encode()) for member, metadata in joined.items()}
    leader = next(iter(members.values()))
    answer = leader.assign(_Metadata(topics), joined)
    for member, assignor in members.items():
        assignor.on_assignment(answer[member])
    return {member: answer[member].assignment for member in members}


def test_everybody_learns_who_holds_what_and_all_topics_are_assigned_alike() -> None:
    members = {name: StickyAssignor(f"{name}:1", list) for name in "ab"}

    assignment = rebalanced(members, {"x": 4, "y": 4})

    assert assignment == {"a": [("x", [0, 2]), ("y", [0, 2])], "b": [("x", [1, 3]), ("y", [1, 3])]}
    owners = {0: "a:1", 1: "b:1", 2: "a:1", 3: "b:1"}
    assert [assignor.owners for assignor in members.values()] == [owners, owners]


def test_each_consumer_of_a_process_has_a_memory_of_its_own() -> None:
    one, other = StickyAssignor("one", list), StickyAssignor("other", list)
    rebalanced({"1": one}, {"x": 2})
    rebalanced({"2": other}, {"y": 3})

    assert (one.owners, other.owners) == (dict.fromkeys(range(2), "one"), dict.fromkeys(range(3), "other"))


def test_over_rebalances_members_keep_what_they_run() -> None:
    members = {"a": StickyAssignor("a", list)}
    rebalanced(members, {"x": 6})
    members["b"] = StickyAssignor("b", list)
    first = rebalanced(members, {"x": 6})

    # Another one leads.
    assert rebalanced(dict(reversed(members.items())), {"x": 6}) == first


@given(st.binary(max_size=20))
def test_a_member_of_another_program_is_given_its_share(user_data: bytes) -> None:
    leader = StickyAssignor("ours", list)
    joined = {"a": leader.metadata(["x"]), "b": ConsumerProtocolMemberMetadata(0, ["x"], user_data)}

    answer = leader.assign(_Metadata({"x": 4}), joined)

    assert sorted(number for each in answer.values() for _, numbers in each.assignment for number in numbers) == [0, 1, 2, 3]
