"""Batches that other programs wrote: most are translated at once; one that must wait for the registry waits apart, with its partition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ticketmaster.broker.port import Batch, Pair, TopicPartition


class Translator(Protocol):
    """Brings records of a topic into this program's schemas."""

    def try_translate(self, topic: str, records: Sequence[Pair]) -> Sequence[Pair] | None:
        """At once; None: it must wait for something."""

    async def translate(self, topic: str, records: Sequence[Pair]) -> Sequence[Pair]:
        """However long it takes."""


class _Place:
    """What one partition waits with: at most what one fetch brought, for it is paused meanwhile."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.translated: list[Batch] = []
        self.job: asyncio.Task[None] | None = None


class Waiting:
    """Batches that wait to be translated: of each partition in order, by one job at most."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._places: dict[TopicPartition, _Place] = {}
        self._cancelled: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._places)

    def __contains__(self, source: TopicPartition) -> bool:
        return source in self._places

    def put(self, batch: Batch) -> None:
        """Keeps a batch, behind the others of its partition."""
        place = self._places.setdefault(batch.source, _Place())
        place.batches.append(batch)
        if place.job is None:
            self._begin(place)

    def _begin(self, place: _Place) -> None:
        source = place.batches[0].source
        place.job = asyncio.create_task(self._translate(place), name=f"translate {source.topic}-{source.partition}")

    async def _translate(self, place: _Place) -> None:
        while len(place.translated) < len(place.batches):
            batch = place.batches[len(place.translated)]
            records = await self._translator.translate(batch.source.topic, batch.records) if batch.records else batch.records
            place.translated.append(batch._replace(records=records))

    def take(self) -> list[Batch]:
        """All batches of the partitions that need wait no longer. What translating raised is raised, and it is begun again."""
        taken: list[Batch] = []
        for source, place in tuple(self._places.items()):
            job = place.job
            if job is None or not job.done():
                continue
            failure = None if job.cancelled() else job.exception()
            if failure and taken:
                # The next time: what is taken must be delivered.
                continue
            if failure or job.cancelled():
                self._begin(place)
                if failure:
                    raise failure
                continue
            taken += place.translated
            del self._places[source]
        return taken

    def drop(self, source: TopicPartition) -> None:
        """Whatever a partition waits with is never delivered."""
        place = self._places.pop(source, None)
        if place and place.job:
            place.job.cancel()
            self._cancelled.add(place.job)
            place.job.add_done_callback(self._cancelled.discard)

    def drop_all(self) -> None:
        """Of all partitions."""
        for source in tuple(self._places):
            self.drop(source)

    async def stop(self) -> None:
        """Returns when no job is left."""
        self.drop_all()
        await asyncio.gather(*self._cancelled, return_exceptions=True)
