"""The topics of the system on a Kafka cluster: what must be there, what is, and what mends the difference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from ticketmaster.bootstrap.remedies import Remedies
from ticketmaster.bootstrap.running import run
from ticketmaster.bootstrap.stores import LETTERS, TOPOLOGIES
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.groups import Member, members_of
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import TOMBSTONES_MS, TopicState, create_topics, describe_topics, right_min_in_sync, set_settings
from ticketmaster.broker.port import TopicSpec, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import Loaded
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.wire import topics

_PARTITIONS = 20
# Of each record it is the time at which it was sent, by which lag is told and `trace` sorts.
_TIMESTAMPS = "CreateTime"
# But what is decided by time goes by one clock a partition, that of its leader.
_LOG_TIMES = "LogAppendTime"
_MANY_CLOCKS = "windows, holds, payments and their audit go by the clocks of many hosts"
_LATE = "lag and `trace` tell when a broker wrote a record"

GROUPS = (topics.TICKET_SERVICE, topics.RESERVATION_SERVICE, topics.EVENT_SERVICE)


class Wanted(NamedTuple):
    """A topic as it must be; all have the same number of partitions."""

    name: str
    compacted: bool
    timestamps: str = _TIMESTAMPS

    @property
    def policy(self) -> str:
        """Its cleanup policy. What is a table must keep the last value of each key for ever, what is a log need not."""
        return "compact" if self.compacted else "delete"


WANTED = (
    *(Wanted(topic.name, topic.compacted, _LOG_TIMES if topic.timed_by_log else _TIMESTAMPS) for topic in topics.ALL_TOPICS),
    *(Wanted(letters, compacted=False) for letters in LETTERS),
)


class Difference(NamedTuple):
    """What is not as it must be, and the command that mends it; with a fatal one no role starts."""

    topic: str
    text: str
    remedy: str
    fatal: bool = False


def differences(wanted: Iterable[Wanted], found: Mapping[str, TopicState], remedies: Remedies) -> list[Difference]:
    """What must be mended. The number of partitions that most topics have is taken for the right one."""
    counts = [state.partitions for state in found.values()]
    partitions = max(counts, key=counts.count, default=0)
    result = []
    for topic in wanted:
        state = found.get(topic.name)
        if state is None:
            result.append(Difference(topic.name, "is missing", remedies.topics("create"), fatal=True))
            continue
        if state.partitions != partitions:
            text = f"has {state.partitions} partitions, the others have {partitions}: Kafka can't take partitions away, delete it first"
            result.append(Difference(topic.name, text, remedies.delete(topic.name), fatal=True))
        for text, _ in _wrong_settings(topic, state):
            result.append(Difference(topic.name, text, remedies.topics("create")))
        if state.in_sync < state.replicas:
            text = f"has {state.in_sync} of {state.replicas} replicas in sync: a broker is away, or catches up"
            result.append(Difference(topic.name, text, remedies.find_lagging_replicas(topic.name)))
    return result


def _wrong_settings(topic: Wanted, state: TopicState) -> Iterator[tuple[str, dict[str, str]]]:
    """What is wrong, and the settings that are right."""
    if topic.compacted and state.cleanup_policy != topic.policy:
        text = f"has the cleanup.policy {state.cleanup_policy}, not {topic.policy}: it will forget what is old"
        yield text, {"cleanup.policy": topic.policy}
    elif not topic.compacted and "compact" in state.cleanup_policy:
        text = f"has the cleanup.policy {state.cleanup_policy}, not {topic.policy}: it grows for ever"
        yield text, {"cleanup.policy": topic.policy}
    if topic.compacted and state.tombstones_ms < TOMBSTONES_MS:
        told = "state that was away for longer brings back what was deleted"
        text = f"has the delete.retention.ms {state.tombstones_ms}, not {TOMBSTONES_MS}: {told}"
        yield text, {"delete.retention.ms": str(TOMBSTONES_MS)}
    right = right_min_in_sync(state.replicas, state.min_in_sync)
    if right != state.min_in_sync:
        what = (
            "a lost broker may take with it what is sold"
            if state.min_in_sync < right
            else "it takes no record"
            if state.min_in_sync > state.replicas
            else "it takes no record while one broker is away"
        )
        yield f"has min.insync.replicas {state.min_in_sync} with {state.replicas} replicas: {what}", {"min.insync.replicas": str(right)}
    if state.timestamp_type != topic.timestamps:
        told = _MANY_CLOCKS if topic.timestamps == _LOG_TIMES else _LATE
        text = f"has the message.timestamp.type {state.timestamp_type}, not {topic.timestamps}: {told}"
        yield text, {"message.timestamp.type": topic.timestamps}


async def check_topics(broker: KafkaBroker, warn: Callable[[str], None], remedies: Remedies) -> int:
    """The number of partitions; ``warn`` is told what should be mended. UsageError: what must be, and the command that does it.

    Retriable: Kafka does not say.
    """
    found = await describe_topics(broker.admin, [topic.name for topic in WANTED])
    wrong = differences(WANTED, found, remedies)
    fatal = [difference for difference in wrong if difference.fatal]
    if fatal:
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        raise UsageError(f"topic {fatal[0].topic} {fatal[0].text}{more}; run `{fatal[0].remedy}`")
    for difference in wrong:
        warn(f"{difference.topic} {difference.text}; run `{difference.remedy}`")
    return next(iter(found.values())).partitions


T = TypeVar("T")


@asynccontextmanager
async def connected(broker: KafkaBroker) -> AsyncIterator[None]:
    """Connects for a command, which does not wait. UsageError: Kafka is not there. Retriable: it goes away meanwhile."""
    try:
        await broker.start()
    except Retriable as reason:
        raise UsageError(f"{reason}; is it running, and is bootstrap.servers right?") from reason
    try:
        yield
    finally:
        await broker.close()


async def _with_broker(kafka: KafkaSettings, work: Callable[[KafkaBroker], Awaitable[T]]) -> T:
    broker = KafkaBroker(kafka, SystemClock())
    async with connected(broker):
        return await work(broker)


class Change(NamedTuple):
    """What ``create`` did to a topic."""

    topic: str
    text: str


def run_create(kafka: KafkaSettings, partitions: int | None, replication_factor: int | None) -> list[Change]:
    """Creates what is missing and mends settings. UsageError: a topic has other partitions, or Kafka is not there."""
    replicas = replication_factor or (kafka.replication_factor if kafka.replication_factor > 0 else None)
    return run(_with_broker(kafka, lambda broker: create(broker, WANTED, partitions, replicas)))


async def create(broker: KafkaBroker, wanted: Sequence[Wanted], partitions: int | None, replication_factor: int | None) -> list[Change]:
    """As :func:`run_create`. Without ``partitions`` there are as many as the topics have that exist, or 20."""
    admin = broker.admin
    found = await describe_topics(admin, [topic.name for topic in wanted])
    if partitions is None:
        counts = [state.partitions for state in found.values()]
        partitions = max(counts, key=counts.count, default=_PARTITIONS)
    for topic in wanted:
        state = found.get(topic.name)
        if state and state.partitions != partitions:
            raise UsageError(
                f"topic {topic.name} has {state.partitions} partitions, not {partitions}; "
                f"give --partitions {state.partitions}, or delete the topic with all that is in it"
            )
    specs = [TopicSpec(topic.name, partitions, topic.compacted, topic.timestamps == _LOG_TIMES) for topic in wanted]
    created = await create_topics(admin, specs, replication_factor)
    changes = [Change(name, f"created with {partitions} partitions") for name in created]
    for topic in wanted:
        state = found.get(topic.name)
        right = {key: value for _, each in _wrong_settings(topic, state) for key, value in each.items()} if state else {}
        if right:
            await set_settings(admin, topic.name, right)
            changes += [Change(topic.name, f"{key} set to {value}") for key, value in right.items()]
    return changes


class TopicReport(NamedTuple):
    """A topic for people and scripts: as it is, what is wrong with it, and the command that mends each.

    ``lag`` by group: records not worked off yet.
    """

    topic: str
    state: TopicState | None
    wrong: list[str]
    remedies: list[str]
    records: int
    lag: dict[str, int]


def run_check(loaded: Loaded) -> list[TopicReport]:
    """Every topic, without offsets."""
    remedies = Remedies.of(loaded.kafka, loaded.config_file)
    return run(_with_broker(loaded.kafka, lambda broker: report(broker, remedies, with_offsets=False)))


def run_describe(loaded: Loaded) -> list[TopicReport]:
    """Every topic, with offsets."""
    remedies = Remedies.of(loaded.kafka, loaded.config_file)
    return run(_with_broker(loaded.kafka, lambda broker: report(broker, remedies, with_offsets=True)))


def run_groups(kafka: KafkaSettings) -> dict[str, list[Member]]:
    """The members of each role's group."""

    async def look(broker: KafkaBroker) -> dict[str, list[Member]]:
        return {group: await members_of(broker.admin, group) for group in GROUPS}

    return run(_with_broker(kafka, look))


async def report(broker: KafkaBroker, remedies: Remedies, *, with_offsets: bool) -> list[TopicReport]:
    """What is there and what is wrong with it."""
    found = await describe_topics(broker.admin, [topic.name for topic in WANTED])
    wrong = differences(WANTED, found, remedies)
    reports = []
    for topic in WANTED:
        state = found.get(topic.name)
        of_topic = [difference for difference in wrong if difference.topic == topic.name]
        texts, commands = [difference.text for difference in of_topic], [difference.remedy for difference in of_topic]
        records, lag = await _offsets(broker, topic.name, state.partitions) if state and with_offsets else (0, {})
        reports.append(TopicReport(topic.name, state, texts, commands, records, lag))
    return reports


async def _offsets(broker: KafkaBroker, topic: str, partitions: int) -> tuple[int, dict[str, int]]:
    """(the sum of the end offsets, how far behind that the groups are that read the topic)."""
    sources = partitions_of(topic, partitions)
    ends = await broker.end_offsets(sources)
    lag = {}
    for topology in TOPOLOGIES:
        if topic in topology.sources:
            committed = await broker.committed(topology.application_id, sources)
            lag[topology.application_id] = sum(end - committed.get(source, 0) for source, end in ends.items())
    return sum(ends.values()), lag
