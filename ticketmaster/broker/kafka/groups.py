"""Consumer groups from outside: their offsets, their members, and taking out of one a member whose process has died."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from ticketmaster.broker.kafka.private import LeaveGroupRequest, OffsetFetchRequest, ask_node
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import Retriable

_NO_OFFSET = -1
# There is no such group, as brokers say since 4.0.
_UNKNOWN_GROUP = 69
# A member that is not known any more has left already.
_GONE = {"UnknownMemberIdError", "NoError"}


async def leave_group(admin: AIOKafkaAdminClient, group: str, member_id: str, timeout_ms: int) -> None:
    """Takes a member out of its group, so that its partitions move at once and not when its session ends. Retriable: it did not work."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            coordinator = await admin.find_coordinator(group)
            answer = await ask_node(admin, coordinator, LeaveGroupRequest(group, member_id))
    except (KafkaError, TimeoutError) as cause:
        raise Retriable(f"member {member_id} could not be taken out of group {group}: {cause!r}") from cause
    error = for_code(answer.error_code)
    if error.__name__ not in _GONE:
        raise Retriable(f"member {member_id} could not be taken out of group {group}: {error.__name__}")


def offset_request(group: str, sources: Collection[TopicPartition]) -> Any:
    """Asks for the offsets of a group."""
    asked = defaultdict(list)
    for topic, partition in sources:
        asked[topic].append(partition)
    return OffsetFetchRequest(group, list(asked.items()))


def offsets_of(answer: Any, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """The next offsets that a group will read, without those where it never committed. KafkaError: the coordinator does not say.

    Not by the admin client's own function, which overlooks an error of the whole answer: a coordinator that has just moved and still
    loads its groups would be taken for one that knows of no offsets, and everything would be read once more from the log's start.
    """
    if answer.error_code:
        raise for_code(answer.error_code)(f"of group {group}")
    found = {}
    for topic, partitions in answer.topics:
        for partition, offset, _, error_code in partitions:
            if error_code:
                raise for_code(error_code)(f"of group {group} on {topic}-{partition}")
            found[TopicPartition(topic, partition)] = offset
    if missing := set(sources) - found.keys():
        raise KafkaError(f"group {group}: the answer leaves out {sorted(missing)}")
    return {source: offset for source, offset in found.items() if offset != _NO_OFFSET}


async def group_offsets(admin: AIOKafkaAdminClient, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """As :func:`offsets_of`, from whoever coordinates the group."""
    coordinator = await admin.find_coordinator(group)
    answer = await ask_node(admin, coordinator, offset_request(group, sources))
    return offsets_of(answer, group, sources)


class Member(NamedTuple):
    """A member of a group, as it has named itself, and where it connects from."""

    client_id: str
    host: str
    member_id: str


async def members_of(admin: AIOKafkaAdminClient, group: str) -> list[Member]:
    """The members of a group; none where there is no such group. Retriable: nobody answers."""
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except KafkaError as cause:
        raise Retriable(f"the group {group} can't be looked at: {cause!r}") from cause
    error_code, _group, _state, _protocol_type, _protocol, members, *_ = answer.groups[0]
    if error_code not in (0, _UNKNOWN_GROUP):
        raise Retriable(f"the group {group} can't be looked at: {for_code(error_code).__name__}")
    return [Member(client_id, host.removeprefix("/"), member_id) for member_id, client_id, host, *_ in members]
