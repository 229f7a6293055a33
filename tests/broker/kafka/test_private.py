"""The names of aiokafka that are not documented: all in one list, each missed by its name, and none replaced for anybody else."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import random
import re
import struct
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import lz4_encode
from aiokafka.consumer import fetcher
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled
from aiokafka.record.memory_records import MemoryRecords

from ticketmaster.broker import kafka
from ticketmaster.broker.kafka import private
from ticketmaster.broker.kafka.batches import Encoder, Identity, Unsent
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, TopicSpec
from ticketmaster.broker.port import TopicPartition as Source
from ticketmaster.clock import SystemClock
from ticketmaster.errors import UsageError

ROOT = Path(__file__).parents[3]
# What aiokafka documents (docs/api.rst).
PUBLIC = {"aiokafka", "aiokafka.abc", "aiokafka.admin", "aiokafka.admin.config_resource", "aiokafka.errors", "aiokafka.structs"}
ALL = [(module, path) for module, paths in private.NAMES.items() for path in paths]


def test_the_installed_version_has_every_name() -> None:
    private.check()


def test_the_version_that_is_pinned_is_the_one_that_was_tried() -> None:
    for file, pattern in (("pyproject.toml", r'"aiokafka\[lz4\]==([^"]+)"'), ("requirements.lock", r"(?m)^aiokafka==(\S+)")):
        found = re.search(pattern, (ROOT / file).read_text())
        assert found
        assert found[1] == private.TRIED
    assert aiokafka.__version__ == private.TRIED


@pytest.mark.parametrize(("module", "path"), ALL, ids=[f"{module}.{path}" for module, path in ALL])
def test_a_version_without_one_of_the_names_is_refused_by_that_name(module: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, _, mentioned = path.partition(":")
    *owners, name = outer.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    if mentioned:
        function = getattr(owner, name)
        names = tuple("renamed" if each == mentioned else each for each in function.__code__.co_names)
        code = function.__code__.replace(co_names=names)
        monkeypatch.setattr(owner, name, FunctionType(code, {}, closure=function.__closure__))
    elif inspect.isclass(owner) and issubclass(owner, Enum):
        # Its members can't be deleted.
        rest = {member.name: member for member in owner if member.name != name}
        monkeypatch.setattr(importlib.import_module(module), owners[0], SimpleNamespace(**rest))
    else:
        where = next(base for base in inspect.getmro(owner) if name in vars(base)) if inspect.isclass(owner) else owner
        monkeypatch.delattr(where, name)

    with pytest.raises(UsageError, match=f"^aiokafka {re.escape(aiokafka.__version__)} has no {re.escape(module)}") as missing:
        private.check()
    assert (mentioned or outer) in str(missing.value)
    assert f"aiokafka=={private.TRIED}" in str(missing.value)


async def test_a_broker_does_not_start_without_one_of_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fetcher, "FetchResult")

    with pytest.raises(UsageError, match="FetchResult"):
        await KafkaBroker(KafkaSettings(), SystemClock()).start()


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(Path(kafka.__file__).parent.glob("*.py")):
        if path.name not in {"private.py", "private_connection.py", "private_fetching.py"}:
            yield path, ast.parse(path.read_text())


def test_no_other_module_knows_a_name_that_is_not_documented() -> None:
    imported = {
        (path.name, node.module)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("aiokafka")
    }
    foreign = {
        (path.name, node.attr)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("_(?!_|replace$)", node.attr)
        if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    }

    assert {(name, module) for name, module in imported if module not in PUBLIC} == set()
    assert foreign == set()


# --- Everybody else's clients ----------------------------------------------------------------------------------------------------

PATCHED_BEFORE = [
    (AIOKafkaClient, "_get_conn", "aiokafka.client"),
    (fetcher, "PartitionRecords", "aiokafka.consumer.fetcher"),
    (fetcher.PartitionRecords, "_unpack_records", "aiokafka.consumer.fetcher"),
    (aiokafka.producer.message_accumulator.MessageBatch, "failure", "aiokafka.producer.message_accumulator"),
]


def test_nothing_of_the_library_is_replaced_for_the_process() -> None:
    for owner, name, module in PATCHED_BEFORE:
        assert getattr(owner, name).__module__ == module
    assert inspect.signature(lz4_encode).parameters["level"].default == 9


async def test_plain_clients_of_the_same_process_behave_as_documented(kafka_bootstrap_servers: str, broker: KafkaBroker) -> None:
    topic = f"plain-{random.Random().getrandbits(64):x}"
    await broker.create_topics([TopicSpec(topic, 1)])
    assert await broker.producer().send({Source(topic, 0): [(b"ours", b"1")]}) == {}
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers, compression_type="lz4")
    await producer.start()
    sent = await producer.send_and_wait(topic, b"2", key=b"theirs", headers=[("h", b"v")])
    assert (sent.topic, sent.partition, sent.offset) == (topic, 0, 1)
    await producer.stop()
    ours, consumer = broker.reader({Source(topic, 0): 0}), AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap_servers)
    (batch, *_) = await ours.poll(5_000)
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    consumer.seek(TopicPartition(topic, 0), 0)

    async with asyncio.timeout(10):
        records = [await consumer.getone() for _ in range(2)]

    assert all(type(record) is ConsumerRecord for record in records)
    assert [(record.key, record.value, record.offset, record.headers) for record in records] == [
        (b"ours", b"1", 0, ()),
        (b"theirs", b"2", 1, (("h", b"v"),)),
    ]
    assert batch.records[0] == (b"ours", b"1")
    await ours.stop()
    await consumer.stop()


# --- Batches that we compress ourselves ------------------------------------------------------------------------------------------


def encoded(pairs: list[Pair], compression: str | None) -> bytes:
    encoder = Encoder(KafkaSettings(compression=compression), SystemClock(), transactional=True)
    return encoder.encoded(Unsent(Source("t", 0), pairs, {1: [("h", b"v")]}), Identity(7, 3), 11).data


@pytest.mark.parametrize("compression", [None, "gzip", "lz4"])
@pytest.mark.parametrize("value", [b"a reservation of whomever " * 20, b""])
def test_a_batch_is_read_back_as_it_was_written(compression: str | None, value: bytes) -> None:
    pairs: list[Pair] = [(b"%d" % number, value or None) for number in range(50)]
    data = encoded(pairs, compression)

    records = MemoryRecords(data)
    batch: Any = records.next_batch()
    assert batch.validate_crc()
    assert not records.has_next()
    assert (batch.is_transactional, batch.producer_id) == (True, 7)
    assert struct.unpack_from(">hi", data, 51) == (3, 11)
    assert (len(data) < len(encoded(pairs, None))) == bool(compression)
    read = list(batch)
    assert [(record.key, record.value, record.offset) for record in read] == [(*pair, at) for at, pair in enumerate(pairs)]
    assert [at for at, record in enumerate(read) if record.headers] == [1]


def test_records_are_compressed_fast_rather_than_well() -> None:
    chance = random.Random(1)
    pairs: list[Pair] = [(b"%032x" % chance.getrandbits(128), b"a reservation of whomever") for _ in range(500)]
    plain, data = encoded(pairs, None), encoded(pairs, "lz4")

    assert data[61:] == lz4_encode(plain[61:], 1) != lz4_encode(plain[61:], 9)
    assert compiled.lz4_encode is default_records.lz4_encode is lz4_encode
