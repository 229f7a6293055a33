"""Our schemas in a registry: what is registered, what would be, and what the registry refuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ticketmaster.bootstrap.remedies import Remedies
from ticketmaster.bootstrap.running import run
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.wire.registry import ORIGINAL_RECORDS
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry, Subject, subjects


class SchemaReport(NamedTuple):
    """A subject: the id of our schema if it is registered, and why it can't be if it is incompatible."""

    subject: str
    record: str
    schema_id: int | None
    incompatible: list[str]


def run_check(settings: RegistrySettings, folder: Path | None) -> list[SchemaReport]:
    """Looks at every subject, for the schemas of this release or of a folder; changes nothing. UsageError: the registry is not there."""

    async def look(registry: SchemaRegistry, subject: Subject) -> SchemaReport:
        schema_id = await registry.known_id(subject)
        wrong = [] if schema_id is not None else await registry.incompatibilities(subject)
        return SchemaReport(subject.name, subject.record, schema_id, wrong)

    return run(_for_each(settings, subjects(folder), look))


def run_register(settings: RegistrySettings) -> list[SchemaReport]:
    """Registers what is not registered. UsageError: the registry is not there, or refuses one without which nothing works.

    One that it refuses besides has no id, and the reason.
    """

    async def register(registry: SchemaRegistry, subject: Subject) -> SchemaReport:
        try:
            return SchemaReport(subject.name, subject.record, await registry.register(subject), [])
        except UsageError as refusal:
            if subject.record in ORIGINAL_RECORDS:
                raise
            return SchemaReport(subject.name, subject.record, None, [str(refusal)])

    return run(_for_each(settings, subjects(), register))


@contextmanager
def registry_is_there() -> Iterator[None]:
    """For a command, which does not wait. UsageError: the registry is away."""
    try:
        yield
    except Retriable as reason:
        raise UsageError(f"{reason}; is it running, and is schema.registry.url right?") from reason


async def registered_ids(registry: SchemaRegistry, remedies: Remedies) -> dict[str, int]:
    """The ids of our schemas by record, for who only reads. UsageError: one is not registered."""
    ids = {}
    for subject in subjects():
        schema_id = await registry.known_id(subject)
        if schema_id is None and subject.record not in ORIGINAL_RECORDS:
            continue
        if schema_id is None:
            raise UsageError(
                f"the registry has no schema {subject.record} as {subject.name}; "
                f"run `{remedies.schemas('register')}` (a role does so too, when it starts)"
            )
        ids[subject.record] = schema_id
    return ids


async def _for_each(
    settings: RegistrySettings, chosen: Sequence[Subject], work: Callable[[SchemaRegistry, Subject], Awaitable[SchemaReport]]
) -> list[SchemaReport]:
    with registry_is_there():
        async with SchemaRegistry(settings) as registry:
            return [await work(registry, subject) for subject in chosen]
