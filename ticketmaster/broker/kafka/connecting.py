"""What our clients of Kafka do otherwise than aiokafka's.

They try a broker that is away now and then, not hundreds of times a second, leave one that is deaf, and create no topic by asking for it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ticketmaster.broker.kafka import private
from ticketmaster.broker.kafka.private import Client
from ticketmaster.broker.kafka.private_connection import GetConnection, behave, connect_by, is_connected

# As Java's reconnect.backoff.ms and reconnect.backoff.max.ms.
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0


def patient(client: Client) -> Client:
    """Makes a client wait before it tries a node again, longer and longer, and its connections behave; returns it."""
    # Of the nodes that did not answer: when they are tried again, and how long the next pause will be.
    away: dict[Any, tuple[float, float]] = {}

    def wrapped(get_connection: GetConnection) -> GetConnection:
        async def get_now_and_then(node: Any, **how: Any) -> Any:
            """The connection to a node; None: there is none, or the last try was a moment ago."""
            # As aiokafka keeps them: a node's coordinator has a connection of its own.
            group = how.get("group", private.CONNECTION_DEFAULT)
            if is_connected(client, node, group):
                connection = await get_connection(node, **how)
                # The connection by which it found the cluster may still be in use: nobody got that one from here.
                behave(connection)
                return connection
            key = node, group
            due_s, pause_s = away.get(key, (0.0, _BACKOFF_MIN_S))
            if (rest_s := due_s - asyncio.get_running_loop().time()) > 0:
                # Whether another broker leads by now is asked as before; but not without a rest, as aiokafka asks at once again.
                client.force_metadata_update()
                await asyncio.sleep(min(rest_s, _BACKOFF_MIN_S))
                return None
            connection = await get_connection(node, **how)
            if connection is None:
                away[key] = asyncio.get_running_loop().time() + pause_s, min(pause_s * 2, _BACKOFF_MAX_S)
            else:
                away.pop(key, None)
                behave(connection)
            return connection

        return get_now_and_then

    connect_by(client, wrapped)
    return client
