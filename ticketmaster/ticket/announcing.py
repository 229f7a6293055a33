"""Events that are announced: to the log, and answered when their areas can be seen."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, Producer, TopicPartition, ensure_durable
from ticketmaster.clock import Clock
from ticketmaster.domain.event import Event
from ticketmaster.errors import Fatal, Refused, Retriable
from ticketmaster.streams.jobs import cancel
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket import problems
from ticketmaster.ticket.bodies import event_json
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.wire import topics
from ticketmaster.wire.events import encode_event

# An announced event is answered when its areas can be seen, or after this long: it is in the log by then.
_VISIBLE_S: Final = 5.0
_VISIBLE_NS: Final = int(_VISIBLE_S * 1e9)


class Announcements:
    """Events on their way to the log, each with its client."""

    def __init__(self, producer: Producer, catalog: Catalog, partitions: int, clock: Clock, observer: Observer) -> None:
        self._producer = producer
        self._catalog = catalog
        self._partitions = partitions
        self._clock = clock
        self._observer = observer
        self.jobs: set[asyncio.Task[None]] = set()
        """One for each that is not answered."""
        self._catalog_changed = asyncio.Event()

    def take(self, event: Event, responder: Responder) -> None:
        """Announces an event."""
        key = event.event_name.encode()
        records: list[Pair] = [(key, encode_event(event))]
        command = {TopicPartition(topics.CREATE_EVENT.name, partition_of(key, self._partitions)): records}
        job = asyncio.create_task(self._announce(event, command, event_json(event), responder))
        self.jobs.add(job)
        job.add_done_callback(self.jobs.discard)

    async def _announce(self, event: Event, command: dict[TopicPartition, list[Pair]], answer: bytes, responder: Responder) -> None:
        try:
            ensure_durable(await self._producer.send(command))
        except Refused as reason:
            self._observer.commands_not_acknowledged(str(reason))
            refuse(responder, problems.COMMAND_TOO_LARGE)
            return
        except (Retriable, Fatal):
            refuse(responder, problems.LOG_UNAVAILABLE)
            return
        except asyncio.CancelledError:
            # Given up: it may be in the log or not.
            refuse(responder, problems.LOG_UNAVAILABLE)
            raise
        except Exception as defect:  # noqa: BLE001 - whatever it is, the client gets an answer
            structlog.get_logger().error("request_failed", exc_info=defect)
            refuse(responder, problems.INTERNAL_ERROR)
            return
        try:
            async with asyncio.timeout(_VISIBLE_S):
                while not self._is_visible(event):
                    self._catalog_changed.clear()
                    await self._catalog_changed.wait()
        except TimeoutError:
            pass
        finally:
            # Also when it is given up: the log has it.
            responder.response_bytes(200, JSON, answer)

    def _is_visible(self, event: Event) -> bool:
        name = event.event_name
        if event.areas and not self._catalog.has_areas(name, [area.area_id for area in event.areas]):
            return False
        # A window that is over by then is none.
        has_window = event.reservation_opening_ns < event.reservation_closing_ns > self._clock.now_ns() + _VISIBLE_NS
        return not (event.hold_seconds or event.seats_per_user_max or has_window) or self._catalog.has_rules(name)

    def on_catalog(self) -> None:
        """The catalog has changed."""
        self._catalog_changed.set()

    async def give_up(self) -> None:
        """Answers everybody. Behind a turn of the loop: each has begun, and answers when it is cancelled."""
        await cancel(*self.jobs)
