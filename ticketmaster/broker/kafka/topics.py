"""Topics of a Kafka cluster: making them, and comparing what is there with what must be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from ticketmaster.broker.kafka.clients import answering
from ticketmaster.broker.port import TopicSpec
from ticketmaster.errors import UsageError

_VISIBLE_TRIES = 100
_VISIBLE_POLL_S = 0.05
# Where a topic's setting comes from, in Kafka's protocol: DYNAMIC_TOPIC_CONFIG.
_SET_ON_TOPIC = 1
_POLICY, _MIN_IN_SYNC, _TIMESTAMPS = "cleanup.policy", "min.insync.replicas", "message.timestamp.type"
_TOMBSTONES = "delete.retention.ms"
# A hundred years. Not the largest number: brokers add the time to it.
TOMBSTONES_MS = 100 * 365 * 24 * 3_600_000
_REPLICATION = "default.replication.factor"
# So many brokers must have what is acknowledged, where there are enough of them: the loss of any one loses nothing then.
_SAFE_MIN_IN_SYNC = 2
_SAFE_REPLICAS_MIN = 3


def right_min_in_sync(replicas: int, min_in_sync: int) -> int:
    """How many replicas must have what is acknowledged: as many as it is, unless that is wrong.

    With three or more, the loss of one broker must neither lose anything nor stop everything. With fewer there is no such choice, but never
    may more be asked for than there are.
    """
    if replicas < _SAFE_REPLICAS_MIN:
        return min(min_in_sync, replicas)
    return min_in_sync if _SAFE_MIN_IN_SYNC <= min_in_sync < replicas else _SAFE_MIN_IN_SYNC


class TopicState(NamedTuple):
    """A topic as it is."""

    partitions: int
    # Of the partition that has fewest.
    replicas: int
    in_sync: int
    cleanup_policy: str
    min_in_sync: int
    timestamp_type: str
    # So long a reader has, of a compacted topic, to see that a key was deleted.
    tombstones_ms: int


async def describe_topics(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, TopicState]:
    """The topics that exist, of those named. Retriable: the cluster does not say. UsageError: it may not."""
    there = {}
    with answering("the topics"):
        for topic in await admin.describe_topics(list(names)):
            if _exists(topic["error_code"], topic["topic"]):
                there[topic["topic"]] = topic["partitions"]
    if not there:
        return {}
    keys = dict.fromkeys((_POLICY, _MIN_IN_SYNC, _TIMESTAMPS, _TOMBSTONES))
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, keys) for name in there]
    settings = {name: _values(entries) for name, entries in (await _configs(admin, resources)).items()}
    return {
        name: TopicState(
            len(partitions),
            min(len(partition["replicas"]) for partition in partitions),
            min(len(partition["isr"]) for partition in partitions),
            settings[name][_POLICY],
            int(settings[name].get(_MIN_IN_SYNC, 1)),
            settings[name].get(_TIMESTAMPS, "CreateTime"),
            int(settings[name].get(_TOMBSTONES, 0)),
        )
        for name, partitions in there.items()
        if name in settings
    }


async def create_topics(admin: AIOKafkaAdminClient, specs: Collection[TopicSpec], replication_factor: int | None = None) -> list[str]:
    """Creates what is missing and returns the names of it. UsageError: a topic exists with other partitions.

    ``replication_factor`` None is the cluster's default.
    """
    existing = await describe_topics(admin, [spec.name for spec in specs])
    for spec in specs:
        if spec.name in existing and existing[spec.name].partitions != spec.partitions:
            raise UsageError(f"topic {spec.name} has {existing[spec.name].partitions} partitions, not {spec.partitions}")
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        defaults = await _broker_defaults(admin)
        replication_factor = replication_factor or int(defaults[_REPLICATION])
        default = int(defaults[_MIN_IN_SYNC])
        right = right_min_in_sync(replication_factor, default)
        common = {} if right == default else {_MIN_IN_SYNC: str(right)}
        new = [
            NewTopic(
                spec.name,
                spec.partitions,
                replication_factor,
                topic_configs=common
                | ({_POLICY: "compact", _TOMBSTONES: str(TOMBSTONES_MS)} if spec.compacted else {})
                | ({_TIMESTAMPS: "LogAppendTime"} if spec.timed_by_log else {}),
            )
            for spec in missing
        ]
        with answering("new topics"):
            answer = await admin.create_topics(new)
        for name, code, *reason in answer.topic_errors:
            error = for_code(code)
            # Somebody else may be at it at the same time.
            if code and error is not TopicAlreadyExistsError:
                raise UsageError(f"topic {name} can't be created: {error.__name__}: {' '.join(str(part) for part in reason)}")
        await _visible(admin, {spec.name for spec in missing})
    return [spec.name for spec in missing]


async def set_settings(admin: AIOKafkaAdminClient, name: str, changes: Mapping[str, str]) -> None:
    """Changes settings of a topic and nothing else; returns when the cluster tells the new ones. UsageError: it refuses, or never does."""
    entries = (await _configs(admin, [ConfigResource(ConfigResourceType.TOPIC, name, None)]))[name]
    # The request replaces all that was ever set on the topic: what is not sent along would go back to the cluster's default.
    kept = {key: value for key, value, _, source, *_ in entries if source == _SET_ON_TOPIC}
    resource = ConfigResource(ConfigResourceType.TOPIC, name, {**kept, **changes})
    told = ", ".join(f"{key}={value}" for key, value in changes.items())
    with answering(f"the settings of {name}"):
        (altered,) = await admin.alter_configs([resource])
    for code, message, *_ in altered.resources:
        if code:
            raise UsageError(f"topic {name}: {told} can't be set: {for_code(code).__name__}: {message}")
    # Brokers learn of it one after the other, and whoever asks next may ask another one.
    asked = ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(changes))
    for _ in range(_VISIBLE_TRIES):
        if _values((await _configs(admin, [asked])).get(name, ())) == changes:
            return
        await asyncio.sleep(_VISIBLE_POLL_S)
    raise UsageError(f"topic {name}: its brokers do not tell the new {told} after {_VISIBLE_TRIES * _VISIBLE_POLL_S:g} s")


async def _broker_defaults(admin: AIOKafkaAdminClient) -> dict[str, str]:
    """What a topic gets for which nothing else is said."""
    with answering("the cluster"):
        cluster = await admin.describe_cluster()
    node = str(cluster["brokers"][0]["node_id"])
    resource = ConfigResource(ConfigResourceType.BROKER, node, dict.fromkeys((_REPLICATION, _MIN_IN_SYNC)))
    return {_REPLICATION: "1", _MIN_IN_SYNC: "1"} | _values((await _configs(admin, [resource]))[node])


def _values(entries: Collection[Any]) -> dict[str, str]:
    return {key: value for key, value, *_ in entries}


async def _configs(admin: AIOKafkaAdminClient, resources: list[ConfigResource]) -> dict[str, Any]:
    """The settings of topics and brokers by their names, each a tuple that begins with key and value; without topics that are gone."""
    with answering("settings"):
        answers = await admin.describe_configs(resources)
        found = [resource for answer in answers for resource in answer.resources]
        return {name: entries for code, _, _, name, entries in found if _exists(code, name)}


def _exists(code: int, name: str) -> bool:
    """Whether an answer is about something that is there. KafkaError: it does not say."""
    if code not in (0, UnknownTopicOrPartitionError.errno):
        raise for_code(code)(name)
    return code == 0


async def _visible(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Creation is told to the brokers one after the other: waits until partitions have leaders."""
    for _ in range(_VISIBLE_TRIES):
        try:
            described = await admin.describe_topics(list(names))
            if all(topic["error_code"] == 0 and all(partition["leader"] >= 0 for partition in topic["partitions"]) for topic in described):
                return
        except KafkaError:
            pass
        await asyncio.sleep(_VISIBLE_POLL_S)
    raise UsageError(f"the new topics have no leaders after {_VISIBLE_TRIES * _VISIBLE_POLL_S:g} s; are enough brokers running?")
