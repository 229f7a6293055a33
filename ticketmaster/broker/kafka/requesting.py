"""Requests of our own over aiokafka's client: whom to ask, and how long until it is asked again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from aiokafka.errors import BrokerResponseError, KafkaConnectionError, KafkaError, NodeNotReadyError, TopicAuthorizationFailedError

from ticketmaster.broker.kafka import codes
from ticketmaster.broker.kafka.batches import EncodedBatch
from ticketmaster.broker.kafka.clients import Discard, client_arguments
from ticketmaster.broker.kafka.connecting import patient
from ticketmaster.broker.kafka.private import AIOKafkaClient, Client
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import TopicPartition

# A cluster that starts again has other things to do than to tell everybody all the time that it is not ready.
_PAUSE_MAX_S = 0.5
# None where the partition is unknown, -1 where it has no leader.
_NOBODY = (None, -1)
# KafkaError is a RuntimeError, and so is what uvloop raises for a connection that breaks in this moment; TimeoutError is an OSError.
TROUBLE = (RuntimeError, OSError)

T = TypeVar("T")


class Requester:
    """Whoever talks to the cluster by requests of its own, over one client."""

    def __init__(self, settings: KafkaSettings, discard: Discard) -> None:
        self._settings = settings
        self._discard = discard
        self._client: Client | None = None

    def _open(self) -> Client:
        self._client = patient(AIOKafkaClient(**client_arguments(self._settings)))
        return self._client

    def _close(self) -> None:
        """Not awaited: whoever stops it has other things to do."""
        client, self._client = self._client, None
        if client:
            self._discard(client.close())

    @property
    def _running(self) -> Client:
        if self._client is None:
            raise KafkaError("the producer was stopped")
        return self._client

    async def _connect(self, client: Client) -> None:
        attempt = 0
        while True:
            try:
                await client.bootstrap()
                break
            except KafkaConnectionError:
                # No broker answers.
                await self._pause(attempt)
                attempt += 1

    async def _pause(self, attempt: int, first_s: float | None = None) -> None:
        """Longer with each attempt."""
        first_s = first_s or self._settings.retry_backoff_ms / 1000
        await asyncio.sleep(min(first_s * 2 ** min(attempt, 16), _PAUSE_MAX_S))

    def _known_leader(self, source: TopicPartition) -> int | None:
        """As far as this client knows."""
        leader = self._running.cluster.leader_for_partition(source)
        return None if leader in _NOBODY else int(leader)

    async def _leader(self, source: TopicPartition) -> int:
        client, attempt = self._running, 0
        while (leader := self._known_leader(source)) is None:
            if source.topic in client.cluster.unauthorized_topics:
                raise TopicAuthorizationFailedError(source.topic)
            if attempt:
                await self._pause(attempt)
            attempt += 1
            client.add_topic(source.topic)
            await client.force_metadata_update()
        return leader

    async def _anybody(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks some broker what changes nothing, and so may be asked as often as need be."""
        attempt = 0
        while True:
            try:
                return await ask()
            except (BrokerResponseError, NodeNotReadyError, KafkaConnectionError) as cause:
                # The first coordinator of a new cluster must be made.
                if isinstance(cause, BrokerResponseError) and cause.errno not in codes.FOR_NOW:
                    raise
                await self._running.force_metadata_update()
                await self._pause(attempt)
                attempt += 1


def parts_of(batches: Iterable[tuple[int, EncodedBatch]], bytes_max: int) -> list[tuple[int, list[EncodedBatch]]]:
    """(broker, what is sent to it in one request) of batches, each with its broker, by the limit of a request's size."""
    parts: dict[int, list[list[EncodedBatch]]] = defaultdict(list)
    sizes: dict[int, int] = defaultdict(int)
    for leader, batch in batches:
        sizes[leader] += len(batch.data)
        if not parts[leader] or sizes[leader] > bytes_max:
            parts[leader].append([])
            sizes[leader] = len(batch.data)
        parts[leader][-1].append(batch)
    return [(leader, part) for leader, each in parts.items() for part in each]


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Does everything at once; if something fails, the rest is given up."""
    if len(work) == 1:
        return [await work[0]]
    jobs = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
