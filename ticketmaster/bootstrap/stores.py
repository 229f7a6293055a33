"""Which stores the roles keep in which files, and the log that each is a copy of."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from ticketmaster.broker.port import TopicPartition
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.lives import RESERVATIONS
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.streams import topology
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire import topics

# The roles that have tasks, as data: how many partitions there are makes no difference to what they read and keep.
TOPOLOGIES: Final = (event_topology(1), reservation_topology(1, AreaCache(1, lambda: True)))
# Where the records go that a role can't read.
LETTERS: Final = tuple(dead_letter_topic(source) for role in TOPOLOGIES for source in role.sources)
# The stores in a file of each role, which is called like the first one, and their logs.
STORES: Final = {
    **{role.application_id: role.stores for role in TOPOLOGIES},
    topics.TICKET_SERVICE: (topology.Store(RESERVATIONS, topics.USER_RESERVATION.name),),
}


class Store(NamedTuple):
    """A store, by its number and name in a file of state, and the log that it is a copy of."""

    file: Path
    number: int
    name: str
    source: TopicPartition


def stores_below(folder: Path, pattern: str, application_at: int) -> list[Store]:
    """The files ``<partition>/<store>.db`` of our roles, anywhere below a folder.

    ``application_at`` is where in the path the application's id stands.
    """
    found = []
    for file in sorted(folder.rglob(pattern)):
        application_id, partition = file.parts[application_at], file.parts[-2]
        stores = STORES.get(application_id, ())
        if stores and file.stem == stores[0].name and partition.isdecimal():
            for number, (name, changelog) in enumerate(stores):
                found.append(Store(file, number, name, TopicPartition(changelog, int(partition))))
    return found
