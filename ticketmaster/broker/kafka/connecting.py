"""Connecting to a broker that is away: aiokafka tries as often as anybody asks, hundreds of times a second."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiokafka.client import AIOKafkaClient, ConnectionGroup

# As Java's reconnect.backoff.ms and reconnect.backoff.max.ms.
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0

_get_conn: Final = AIOKafkaClient._get_conn  # noqa: SLF001 - every request finds its connection here, and nowhere else can it be held back
# Of each client's nodes that did not answer: when they are tried again, and how long the next pause will be.
_away: Final[WeakKeyDictionary[AIOKafkaClient, dict[Any, tuple[float, float]]]] = WeakKeyDictionary()


async def _get_conn_now_and_then(client: AIOKafkaClient, node_id: Any, **how: Any) -> Any:
    """The connection to a node; None: there is none, or the last try was a moment ago."""
    # As aiokafka keeps them: a node's coordinator has a connection of its own.
    key = node_id, how.get("group", ConnectionGroup.DEFAULT)
    known = client._conns.get(key)  # noqa: SLF001 - one that works is not held back
    if known is not None and known.connected():
        return known
    away = _away.setdefault(client, {})
    due_s, pause_s = away.get(key, (0.0, _BACKOFF_MIN_S))
    if asyncio.get_running_loop().time() < due_s:
        # Whether another broker leads by now is asked as often as before.
        client.force_metadata_update()
        return None
    connection = await _get_conn(client, node_id, **how)
    if connection is None:
        away[key] = asyncio.get_running_loop().time() + pause_s, min(pause_s * 2, _BACKOFF_MAX_S)
    else:
        away.pop(key, None)
    return connection


def install() -> None:
    """Makes every client of this process wait before it tries a node again, longer and longer."""
    AIOKafkaClient._get_conn = _get_conn_now_and_then  # noqa: SLF001
