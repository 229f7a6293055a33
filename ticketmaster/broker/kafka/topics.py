"""Topics of a Kafka cluster: making them, and comparing what is there with what must be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
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


class TopicState(NamedTuple):
    """A topic as it is."""

    partitions: int
    # Of the partition that has fewest.
    replicas: int
    in_sync: int
    cleanup_policy: str


async def describe_topics(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, TopicState]:
    """The topics that exist, of those named. Retriable: the cluster does not say. UsageError: it may not."""
    there = {}
    with answering("the topics"):
        for topic in await admin.describe_topics(list(names)):
            if _exists(topic["error_code"], topic["topic"]):
                there[topic["topic"]] = topic["partitions"]
    if not there:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": None}) for name in there]
    policies = {name: entries[0][1] for name, entries in (await _configs(admin, resources)).items()}
    return {
        name: TopicState(
            len(partitions),
            min(len(partition["replicas"]) for partition in partitions),
            min(len(partition["isr"]) for partition in partitions),
            policies[name],
        )
        for name, partitions in there.items()
        if name in policies
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
        replication_factor = replication_factor or await _default_replication_factor(admin)
        new = [
            NewTopic(
                spec.name,
                spec.partitions,
                replication_factor,
                topic_configs={"cleanup.policy": "compact"} if spec.compacted else {},
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


async def set_cleanup_policy(admin: AIOKafkaAdminClient, name: str, policy: str) -> None:
    """Changes a topic's policy and nothing else; returns when the cluster tells the new one. UsageError: it refuses, or never does."""
    entries = (await _configs(admin, [ConfigResource(ConfigResourceType.TOPIC, name, None)]))[name]
    # The request replaces all that was ever set on the topic: what is not sent along would go back to the cluster's default.
    kept = {key: value for key, value, _, source, *_ in entries if source == _SET_ON_TOPIC}
    resource = ConfigResource(ConfigResourceType.TOPIC, name, kept | {"cleanup.policy": policy})
    with answering(f"the settings of {name}"):
        (altered,) = await admin.alter_configs([resource])
    for code, message, *_ in altered.resources:
        if code:
            raise UsageError(f"topic {name}: cleanup.policy can't be set to {policy}: {for_code(code).__name__}: {message}")
    # Brokers learn of it one after the other, and whoever asks next may ask another one.
    for _ in range(_VISIBLE_TRIES):
        if (await describe_topics(admin, [name]))[name].cleanup_policy == policy:
            return
        await asyncio.sleep(_VISIBLE_POLL_S)
    raise UsageError(f"topic {name}: its brokers do not tell the new cleanup.policy after {_VISIBLE_TRIES * _VISIBLE_POLL_S:g} s")


async def _default_replication_factor(admin: AIOKafkaAdminClient) -> int:
    with answering("the cluster"):
        cluster = await admin.describe_cluster()
    node = str(cluster["brokers"][0]["node_id"])
    resource = ConfigResource(ConfigResourceType.BROKER, node, {"default.replication.factor": None})
    return int((await _configs(admin, [resource]))[node][0][1])


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
