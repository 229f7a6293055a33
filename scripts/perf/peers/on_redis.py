"""Seats in Redis: `uvicorn scripts.perf.peers.on_redis:app`, with REDIS_PORT.

A decision is one script, which Redis runs alone: it finds the seats, takes them, and keeps the reservation as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis

from scripts.perf.peers import web

_CONNECTIONS: Final = 40
_RESERVE: Final = """
local map, n = redis.call('GET', KEYS[1]), tonumber(ARGV[5])
local r = {reservationId = ARGV[1], userId = ARGV[2], eventId = ARGV[3], areaId = ARGV[4], numOfSeats = n, type = 'RANDOM',
           state = 'FAILED', failedReason = 'not so many adjacent seats'}
local at = map and string.find(map, string.rep('0', n), 1, true)
if at then
  redis.call('SETRANGE', KEYS[1], at - 1, string.rep('1', n))
  local cols = (string.find(map, '|', 1, true) or #map + 1) - 1
  local row, col = math.floor((at - 1) / (cols + 1)), (at - 1) % (cols + 1)
  r.seats, r.state, r.failedReason = {}, 'RESERVED', ''
  for i = 0, n - 1 do r.seats[i + 1] = {row = row, col = col + i} end
end
return redis.call('SET', KEYS[2], cjson.encode(r))
"""


class InRedis:
    """A store: the map of an area is a string, the areas' names of an event are a set."""

    def __init__(self, port: int) -> None:
        self._redis: Any = Redis(
            connection_pool=BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=_CONNECTIONS, timeout=20)
        )
        self._reserve = self._redis.register_script(_RESERVE)

    async def open(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def announce(self, event: web.Event) -> None:
        async with self._redis.pipeline() as together:
            for each in event.areas:
                together.sadd(f"event:{event.event_name}", each.area_id)
                together.setnx(f"area:{event.event_name}#{each.area_id}", web.free_map(each))
            await together.execute()

    async def reserve(self, reservation_id: UUID, event_id: str, wish: web.Wish) -> None:
        keys = (f"area:{event_id}#{wish.area_id}", f"reservation:{reservation_id}")
        await self._reserve(keys=keys, args=(str(reservation_id), wish.user_id, event_id, wish.area_id, wish.num_of_seats))

    async def reservation(self, reservation_id: UUID) -> bytes | None:
        found = await self._redis.get(f"reservation:{reservation_id}")
        # Lua has one kind of table: a script can't write an empty list.
        return found if found is None or b'"seats"' in found else found[:-1] + b',"seats":[]}'

    async def areas(self, event_id: str) -> Sequence[web.AreaMap]:
        names = [each.decode() for each in await self._redis.smembers(f"event:{event_id}")]
        maps = await self._redis.mget(f"area:{event_id}#{name}" for name in names) if names else []
        return [web.AreaMap(name, found.decode()) for name, found in zip(names, maps, strict=True)]


app = web.app(InRedis(int(os.environ["REDIS_PORT"])))
