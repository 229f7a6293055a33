"""Seats in PostgreSQL: `uvicorn scripts.perf.peers.on_postgres:app`, with DATABASE_URL.

A decision is one statement, hence one round trip and one transaction: the lock on the area's row is not held over a round trip. Where
an UPDATE has to wait for it, READ COMMITTED evaluates its condition and its new values again on the latest row. Connections are kept
with their statements prepared: asyncpg's pool sends a query more whenever one is given back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from scripts.perf.peers import web

_CONNECTIONS: Final = 40
# An area's row has room in its page, so that no update touches an index. A seat is its row << 16 | its column.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS area (
    event_id text, area_id text, price int NOT NULL, col_count int NOT NULL, taken_at int, map text COMPRESSION lz4 NOT NULL,
    PRIMARY KEY (event_id, area_id)) WITH (fillfactor = 25);
CREATE TABLE IF NOT EXISTS reservation (
    reservation_id uuid PRIMARY KEY, user_id text NOT NULL, event_id text NOT NULL, area_id text NOT NULL, num_of_seats int NOT NULL,
    seats int[] NOT NULL, state text NOT NULL, failed_reason text NOT NULL);
"""
_ADD_AREA: Final = """
INSERT INTO area (event_id, area_id, price, col_count, map) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"""
_AREAS: Final = "SELECT area_id, map FROM area WHERE event_id = $1"
_RESERVE: Final = """
WITH hit AS (
    UPDATE area SET taken_at = strpos(map, repeat('0', $5::int)),
        map = overlay(map PLACING repeat('1', $5::int) FROM strpos(map, repeat('0', $5::int)))
    WHERE event_id = $3 AND area_id = $4 AND strpos(map, repeat('0', $5::int)) > 0
    RETURNING ((taken_at - 1) / (col_count + 1)) * 65536 + (taken_at - 1) % (col_count + 1) AS first)
INSERT INTO reservation (reservation_id, user_id, event_id, area_id, num_of_seats, seats, state, failed_reason)
SELECT $1, $2, $3, $4, $5::int,
    CASE WHEN first IS NULL THEN '{}' ELSE ARRAY(SELECT generate_series(first, first + $5::int - 1)) END,
    CASE WHEN first IS NULL THEN 'FAILED' ELSE 'RESERVED' END,
    CASE WHEN first IS NULL THEN 'not so many adjacent seats' ELSE '' END
FROM (SELECT 1) one LEFT JOIN hit ON true"""
_RESERVATION: Final = """
SELECT user_id, event_id, area_id, num_of_seats, seats, state, failed_reason FROM reservation WHERE reservation_id = $1"""


class Postgres:
    """A store on a few connections, which are given out last in, first out."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: asyncio.LifoQueue[tuple[Any, dict[str, Any]]] = asyncio.LifoQueue()

    async def open(self) -> None:
        for number in range(_CONNECTIONS):
            connection = await asyncpg.connect(self._url)
            if not number:
                await connection.execute(_SCHEMA)
            self._free.put_nowait((connection, {sql: await connection.prepare(sql) for sql in (_RESERVE, _RESERVATION)}))

    async def close(self) -> None:
        while not self._free.empty():
            await self._free.get_nowait()[0].close()

    async def announce(self, event: web.Event) -> None:
        rows = [(event.event_name, each.area_id, each.price, each.col_count, web.free_map(each)) for each in event.areas]
        held = await self._free.get()
        try:
            await held[0].executemany(_ADD_AREA, rows)
        finally:
            self._free.put_nowait(held)

    async def reserve(self, reservation_id: UUID, event_id: str, wish: web.Wish) -> None:
        await self._row(_RESERVE, reservation_id, wish.user_id, event_id, wish.area_id, wish.num_of_seats)

    async def reservation(self, reservation_id: UUID) -> bytes | None:
        row = await self._row(_RESERVATION, reservation_id)
        if row is None:
            return None
        user, event, area, asked, taken, state, reason = row
        seats = [{"row": seat >> 16, "col": seat & 0xFFFF} for seat in taken]
        return msgspec.json.encode(web.Reservation(str(reservation_id), user, event, area, asked, seats, state, reason))

    async def areas(self, event_id: str) -> Sequence[web.AreaMap]:
        held = await self._free.get()
        try:
            return [web.AreaMap(*row) for row in await held[0].fetch(_AREAS, event_id)]
        finally:
            self._free.put_nowait(held)

    async def _row(self, sql: str, *values: object) -> Any:  # noqa: ANN401 - a row is what the driver says
        held = await self._free.get()
        try:
            return await held[1][sql].fetchrow(*values)
        finally:
            self._free.put_nowait(held)


app = web.app(Postgres(os.environ["DATABASE_URL"]))
