"""Partitions that do not take commands: no ids are minted for them, for a while."""

from __future__ import annotations

import asyncio

from ticketmaster.broker.port import TopicPartition
from ticketmaster.ticket.ids import IdMint
from ticketmaster.wire import topics

# A partition that did not take commands gets no new ones for so long.
_AVOIDED_S = 5.0


class Avoided:
    """The partitions that a mint avoids."""

    def __init__(self, mint: IdMint) -> None:
        self._mint = mint
        # When a partition is tried again.
        self._tried_again: dict[int, asyncio.TimerHandle] = {}

    def avoid(self, source: TopicPartition) -> None:
        """Mints ids of other partitions for a while, if this one is of reservations."""
        if source.topic != topics.CREATE_RESERVATION.name:
            return
        partition = source.partition
        if earlier := self._tried_again.pop(partition, None):
            earlier.cancel()
        self._mint.avoid(partition)
        self._tried_again[partition] = asyncio.get_running_loop().call_later(_AVOIDED_S, self._use_again, partition)

    def _use_again(self, partition: int) -> None:
        del self._tried_again[partition]
        self._mint.use_again(partition)
