"""The limit per user: how many seats a user holds, has paid or has asked for, of each event that has one.

All reservations of a user at such an event have ids of one partition, so that one task decides about them in the order of its log: the
count is exact, however many gateways are asked at once.
"""

from __future__ import annotations

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.domain.rules import USER_LIMIT, USER_LIMIT_ELSEWHERE
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.topology import Stores
from ticketmaster.wire.binary import UNREADABLE, skip_string
from ticketmaster.wire.reservations import Command, event_of, read_seats
from ticketmaster.wire.user_seats import encode_user_seats, read_user_seats, user_key, user_key_of

USER_SEATS = "UserSeats"
_RESTORED_AT_ONCE = 1_000


class UserLimits:
    """The seats of users on one partition."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        # The encoded names of events of which something is counted: of others nothing needs to be looked up.
        self._counted: set[bytes] = set()

    def restored(self, seats: StateTable) -> Steps:
        """Finds the events of which something is counted."""
        for number, (key, _) in enumerate(seats.items()):
            self._counted.add(key[: skip_string(key, 0)])
            if number % _RESTORED_AT_ONCE == 0:
                yield

    def take(self, key: bytes, create: bytes, command: Command, seats_max: int, stores: Stores) -> str:
        """Counts the seats that a reservation asks for; why it must not have them, or ""."""
        event = command.names[: skip_string(command.names, 0)]
        user = user_key(event, command.who)
        if partition_of(user, self._partitions) != self._partition:
            return USER_LIMIT_ELSEWHERE
        picked = command.kind == ReservationType.SELF_PICK
        count = len(read_seats(create, command.seats_at)[0]) if picked else max(command.seat_count, 0)
        seats = _seats_of(user, stores)
        if sum(seats.values()) + count > seats_max:
            return USER_LIMIT
        if count:
            seats[key] = count
            stores[USER_SEATS].put(user, encode_user_seats(seats))
            self._counted.add(event)
        return ""

    def free(self, key: bytes, reservation: bytes, stores: Stores) -> None:
        """A reservation has no seats any more, and gets none."""
        if not self._counted or event_of(reservation) not in self._counted:
            return
        user = user_key_of(reservation)
        seats = _seats_of(user, stores)
        if seats.pop(key, 0):
            stores[USER_SEATS].put(user, encode_user_seats(seats) if seats else None)


def _seats_of(user: bytes, stores: Stores) -> dict[bytes, int]:
    value = stores[USER_SEATS].get(user)
    try:
        return {} if value is None else read_user_seats(value)
    except UNREADABLE as reason:
        raise TaskCorrupted(f"the seats of a user can't be read: {reason}") from reason
