"""A broker that is away is tried again at longer and longer intervals, and used as soon as it is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import client as library
from aiokafka.conn import AIOKafkaConnection, AIOKafkaProtocol
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5
from aiokafka.structs import BrokerMetadata

from ticketmaster.broker.kafka.connecting import patient
from ticketmaster.simulation.kafka.wire import decoded

AWAY, THERE = 1, 2


class Wire(asyncio.Transport):
    """Keeps what is written; no answer comes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nothing ever comes."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A real one, to nobody; it knows the newest version of requests for metadata that aiokafka has."""

    def __init__(self) -> None:
        super().__init__("broker", 1, request_timeout_ms=50)
        loop = asyncio.get_running_loop()
        self.wire = Wire()
        self._reader, self._closed_fut = asyncio.StreamReader(), loop.create_future()
        self._protocol = AIOKafkaProtocol(self._closed_fut, self._reader, loop=loop)
        self._writer = asyncio.StreamWriter(self.wire, self._protocol, self._reader, loop)
        self._closed_fut.set_result(None)
        self._read_task = asyncio.ensure_future(asyncio.Event().wait())
        self._versions = {MetadataRequest_v5.API_KEY: (0, MetadataRequest_v5.API_VERSION)}


class Network:
    """Counts what is tried, by port."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.tried: dict[int, list[float]] = {}
        self.there = {THERE}

    async def connect(self, _host: str, port: int, **_: Any) -> Connection:  # noqa: ANN401
        self.tried.setdefault(port, []).append(asyncio.get_running_loop().time())
        if port not in self.there:
            raise ConnectionRefusedError
        self.made.append(Connection())
        return self.made[-1]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(library, "create_conn", network.connect)
    return network


@pytest.fixture
async def client(network: Network) -> AsyncIterator[Any]:
    client = patient(library.AIOKafkaClient())
    client.cluster._brokers = {node: BrokerMetadata(node, "broker", node, None) for node in (AWAY, THERE)}
    yield client
    await client.close()
    for connection in network.made:
        AIOKafkaConnection.close(connection)


async def ask(client: Any, node: int, seconds: float) -> None:  # noqa: ANN401
    """As the parts of a client do: again and again."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        await client.ready(node)
        await asyncio.sleep(0.005)


async def test_a_node_that_is_away_is_tried_after_longer_and_longer(network: Network, client: Any) -> None:  # noqa: ANN401
    await ask(client, AWAY, 1.0)

    times = network.tried[AWAY]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    # 50, 100, 200 and 400 ms; a loaded machine only makes them longer.
    assert 3 <= len(times) <= 5
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.4), strict=False))


async def test_the_others_are_not_waited_for_and_one_that_comes_back_is_used(network: Network, client: Any) -> None:  # noqa: ANN401
    await client.ready(AWAY)

    assert await client.ready(THERE)
    network.there.add(AWAY)
    assert not await client.ready(AWAY)
    async with asyncio.timeout(5):
        while not await client.ready(AWAY):
            await asyncio.sleep(0.005)
    assert len(network.tried[AWAY]) == 2


async def test_a_connection_on_which_no_answer_comes_is_left_also_when_metadata_was_asked_for(network: Network, client: Any) -> None:  # noqa: ANN401
    network.there.add(AWAY)
    assert await client.ready(THERE)
    deaf = client._conns[THERE, library.ConnectionGroup.DEFAULT]

    assert not await client._metadata_update(client.cluster, ["topic"])

    assert not deaf.connected()
    assert await client.ready(THERE)
    assert len(network.tried[THERE]) == 2


async def test_a_late_answer_is_an_error_of_kafka_also_where_others_have_left_its_connection(client: Any) -> None:  # noqa: ANN401
    assert await client.ready(THERE)
    left = client._conns[THERE, library.ConnectionGroup.DEFAULT]
    left.close = lambda **_: client._conns.clear()

    with pytest.raises(RequestTimedOutError):
        await client.send(THERE, MetadataRequest([]))


@pytest.mark.parametrize("node", [THERE, "bootstrap"])
async def test_topics_are_asked_for_without_creating_them(network: Network, client: Any, node: int | str) -> None:  # noqa: ANN401
    network.there.add(AWAY)
    connections = client._conns
    if node == "bootstrap":
        # As it is while the cluster knows no brokers yet.
        client.cluster._brokers = {}
        connections[node, library.ConnectionGroup.DEFAULT] = Connection()

    assert not await client._metadata_update(client.cluster, ["topic"])

    asked = [decoded(message).request for connection in connections.values() for message in connection.wire.written]
    assert asked
    assert all((request.topics, request.allow_auto_topic_creation) == (["topic"], False) for request in asked)
