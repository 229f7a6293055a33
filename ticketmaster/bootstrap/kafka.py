"""What every role on Kafka needs before it can begin, in the order in which it needs it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

import ticketmaster
from ticketmaster.bootstrap.memory import ALL_STATE, STATE_OF, forgotten, sample_of
from ticketmaster.bootstrap.remedies import Remedies
from ticketmaster.bootstrap.schemas import registered_ids, registry_is_there
from ticketmaster.bootstrap.topics import check_topics, connected
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.clients import answering
from ticketmaster.broker.kafka.groups import leave_group
from ticketmaster.broker.port import Membership
from ticketmaster.clock import Clock, SystemClock
from ticketmaster.config.roles import Loaded, RoleConfig
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.oldstate import pruned_state
from ticketmaster.retry import until_answered
from ticketmaster.state.port import StateStores
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.statedir import Slot, held_slot, take_dead_members
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.telemetry.logs import OccasionalLog
from ticketmaster.telemetry.observer import Observer
from ticketmaster.urls import told
from ticketmaster.wire.frames import FRAMES, use_schema_ids
from ticketmaster.wire.incoming import Incoming
from ticketmaster.wire.registry import SCHEMA_IDS
from ticketmaster.wire.schema_registry import SchemaRegistry, known_schemas, register_schemas

# Whoever restores a registry waits for nothing longer than this.
_MEMORY_PAUSE_S = 5.0
# What a rebalance takes beyond the time that members are waited for.
_REBALANCE_GRACE_MS = 5_000


class RoleContext(NamedTuple):
    """A role's process, ready to begin: connected, its topics checked, its schemas registered, its state directory held."""

    broker: KafkaBroker
    partitions: int
    slot: Slot
    settings: StreamSettings
    clock: Clock
    observer: Observer

    def membership(self, address: str = "") -> Membership:
        """What this process tells its group."""
        return Membership(address, self.slot.stored, self.slot.note_member)

    def open_stores(self, _application_id: str, names: Sequence[str], partition: int) -> StateStores:
        """Opens the state of a task: one file, called like its first store."""
        return SqliteStores(self.slot.partition_folder(partition) / f"{names[0]}.db", names)


@asynccontextmanager
async def role_context(config: RoleConfig, application_id: str, observer: Observer) -> AsyncIterator[RoleContext]:
    """Connects and checks. UsageError: something must be changed first; the error says what."""
    clock, log = SystemClock(), structlog.get_logger()
    log.info(
        "starting",
        role=application_id,
        config=str(config.config_file) if config.config_file else "none given (-c): the defaults of a local Kafka and schema registry",
        bootstrap_servers=config.kafka.bootstrap_servers,
        schema_registry=told(config.registry.url),
        version=ticketmaster.__version__,
    )
    for note in config.notes:
        log.warning("configuration", note=note)
    occasional, remedies = OccasionalLog(clock.monotonic_s), Remedies.of(config.kafka, config.config_file)

    def on_waiting(event: str, reason: str) -> None:
        occasional.log(logging.WARNING, event, event, reason=reason)

    async with SchemaRegistry(config.registry) as registry:
        on_registry, on_kafka = partial(on_waiting, "waiting_for_schema_registry"), partial(on_waiting, "waiting_for_kafka")
        ids = await known_schemas(registry, on_registry)
        incoming = Incoming(registry, ids, lambda topic, reason: observer.reading_failed(application_id, f"{topic}: {reason}"))
        broker = KafkaBroker(config.kafka, clock, incoming, headers=observer.tracer.enabled)

        async def connect() -> int:
            await broker.start()
            try:
                return await check_topics(broker, lambda text: log.warning("topics", note=text), remedies)
            except BaseException:
                await broker.close()
                raise

        async def look_into_memory() -> str | None:
            sampling = partial(sample_of, broker, config.kafka, partitions, STATE_OF[application_id])
            sample = await until_answered(sampling, on_kafka)
            return await until_answered(partial(forgotten, registry, sample), on_registry)

        partitions = await until_answered(connect, on_kafka)
        try:
            # Before anything is registered: a registry that was made anew must not be filled anew before somebody has looked.
            while trouble := await look_into_memory():
                ids.clear()
                on_waiting("waiting_for_known_schemas", trouble)
                await asyncio.sleep(_MEMORY_PAUSE_S)
            if len(ids) < len(SCHEMA_IDS):
                ids.update(await register_schemas(registry, on_registry))
            use_schema_ids(ids)
            if not FRAMES.has_all:
                log.warning("holds_are_off", note="the registry did not take all schemas: see docs/schemas.md")
            data_id = await until_answered(lambda: data_id_of(broker, ids), on_kafka)
            await leave_for_the_dead(broker, config, application_id)
            with held_slot(config.state_dir, application_id, data_id) as slot:
                for folder in pruned_state(config.state_dir, application_id, slot.folder, clock.now_ms() / 1000):
                    log.info("state_pruned", folder=str(folder))
                streams = replace(config.streams, rebalance_max_ms=config.kafka.rebalance_timeout_ms + _REBALANCE_GRACE_MS)
                yield RoleContext(broker, partitions, slot, streams, clock, observer)
                slot.forget_member()
        finally:
            await broker.close()


class ReadingContext(NamedTuple):
    """What a command that only looks at the topics needs: a broker that translates, their partitions, the ids of our schemas."""

    broker: KafkaBroker
    partitions: int
    ids: Mapping[str, int]


@asynccontextmanager
async def reading_context(loaded: Loaded) -> AsyncIterator[ReadingContext]:
    """Connects and checks, and registers nothing. UsageError: Kafka, the registry, a topic or a schema is not there."""
    remedies = Remedies.of(loaded.kafka, loaded.config_file)
    async with SchemaRegistry(loaded.registry) as registry:
        ids: dict[str, int] = {}
        broker = KafkaBroker(loaded.kafka, SystemClock(), Incoming(registry, ids, _give_up))
        async with connected(broker):
            partitions = await check_topics(broker, lambda _: None, remedies)
            sample = await sample_of(broker, loaded.kafka, partitions, ALL_STATE)
            with registry_is_there():
                trouble = await forgotten(registry, sample)
                if trouble:
                    raise UsageError(trouble)
                ids.update(await registered_ids(registry, remedies))
            use_schema_ids(ids)
            yield ReadingContext(broker, partitions, ids)


def _give_up(topic: str, reason: str) -> None:
    """A command does not wait, as a role does."""
    raise Retriable(f"{topic} can't be read: {reason}")


async def data_id_of(broker: KafkaBroker, ids: Mapping[str, int]) -> str:
    """Names the cluster and the schema ids: state that was built from others is of no use. Retriable: Kafka does not say."""
    with answering("the cluster"):
        cluster = await broker.admin.describe_cluster()
    fingerprint = hashlib.sha256(repr(sorted(ids.items())).encode()).hexdigest()[:8]
    return f"{cluster['cluster_id']}-{fingerprint}"


async def leave_for_the_dead(broker: KafkaBroker, config: RoleConfig, application_id: str) -> None:
    """Processes on this state directory that were killed are taken out of the group, which would wait for them otherwise."""
    log = structlog.get_logger()
    for member_id in take_dead_members(config.state_dir, application_id):
        try:
            await leave_group(broker.admin, application_id, member_id, config.kafka.request_timeout_ms)
            log.info("left_for_a_dead_member", member=member_id)
        except Retriable as reason:
            log.warning("left_to_its_session_timeout", reason=str(reason))
