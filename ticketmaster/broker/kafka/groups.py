"""Consumer groups from outside: counting members, and taking out of one a member whose process has died."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from ticketmaster.errors import Retriable

# A member that is not known any more has left already.
_GONE = {"UnknownMemberIdError", "NoError"}


async def leave_group(admin: AIOKafkaAdminClient, group: str, member_id: str, timeout_ms: int) -> None:
    """Takes a member out of its group, so that its partitions move at once and not when its session ends. Retriable: it did not work."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            coordinator = await admin.find_coordinator(group)
            # The client's own way to a node: it connects first.
            answer = await admin._send_request_to_node(coordinator, LeaveGroupRequest(group, member_id))  # noqa: SLF001
    except (KafkaError, TimeoutError) as cause:
        raise Retriable(f"member {member_id} could not be taken out of group {group}: {cause!r}") from cause
    error = for_code(answer.error_code)
    if error.__name__ not in _GONE:
        raise Retriable(f"member {member_id} could not be taken out of group {group}: {error.__name__}")


async def member_count(admin: AIOKafkaAdminClient, group: str) -> int:
    """How many members a group has; none where there is no such group. Retriable: nobody answers."""
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except KafkaError as cause:
        raise Retriable(f"the group {group} can't be looked at: {cause!r}") from cause
    _error, _group, _state, _protocol_type, _protocol, members, *_ = answer.groups[0]
    return len(members)
