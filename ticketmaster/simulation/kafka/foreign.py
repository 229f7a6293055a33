"""Records of other programs, whose schemas have other ids, and the registry that knows these, and takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from ticketmaster.broker.port import Pair
from ticketmaster.wire import topics
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.registry import frame

_FIRST_ID, _IDS = 10_000, 40
_FOREIGN: Final = frozenset(frame(schema_id) for schema_id in range(_FIRST_ID, _FIRST_ID + _IDS))
_RECORDS: Final = {topic.name: topic.record for topic in topics.ALL_TOPICS}
_ANSWERS_S: Final = (0.0, 0.01, 0.5, 2.0, 6.0)


def foreign(value: bytes, random: Random) -> bytes:
    """A record as another program writes it: the same fields under the id of another schema."""
    return frame(_FIRST_ID + random.randrange(_IDS)) + value[FRAME_BYTES:]


def ours(topic: str, records: Sequence[Pair]) -> Sequence[Pair]:
    """The records of a topic in our schema."""
    record = _RECORDS.get(topic)
    if record is None or not any(value is not None and value[:FRAME_BYTES] in _FOREIGN for _, value in records):
        return records
    mine = FRAMES.by_record[record]
    return [(key, mine + value[FRAME_BYTES:] if value is not None and value[:FRAME_BYTES] in _FOREIGN else value) for key, value in records]


class Registry:
    """Answers each process once an id, late."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def translator(self) -> ForeignTranslator:
        """That of a process that has just started: it asks for each id that it has not seen."""
        return ForeignTranslator(self._random)


class ForeignTranslator:
    """Brings records into our schema."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._known: set[bytes] = set()

    def try_translate(self, topic: str, records: Sequence[Pair]) -> Sequence[Pair] | None:
        return None if self._unknown(records) else ours(topic, records)

    async def translate(self, topic: str, records: Sequence[Pair]) -> Sequence[Pair]:
        for found in self._unknown(records):
            await asyncio.sleep(self._random.choice(_ANSWERS_S))
            self._known.add(found)
        return ours(topic, records)

    def _unknown(self, records: Sequence[Pair]) -> list[bytes]:
        # By a dict: its order is that of the records.
        heads = dict.fromkeys(value[:FRAME_BYTES] for _, value in records if value is not None)
        return [found for found in heads if found in _FOREIGN and found not in self._known]
