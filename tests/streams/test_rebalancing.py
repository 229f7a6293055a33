"""Whether a member may still be asked while its group deals the partitions out anew. All on virtual time."""

from __future__ import annotations

import asyncio

from tests.support.consuming import until
from tests.support.engine import WORDS
from tests.support.working import Work, on_virtual_time
from ticketmaster.broker.port import Assignment
from ticketmaster.errors import Retriable
from ticketmaster.streams.settings import StreamSettings

LIMIT_S = StreamSettings().rebalance_max_ms / 1000


def test_a_rebalance_and_what_it_brings_are_told_from_trouble() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        assert not worker.rebalancing, "it has never had a partition"
        await until(lambda: worker.ready, "ready")
        partitions = sorted(worker.member.works)

        await worker.member.on_revoked(partitions)
        assert (worker.ready, worker.rebalancing) == (False, True)
        # One that was its own is gone, and comes back: it must be restored.
        worker.member.on_assigned(Assignment(partitions[:-1], 10, {}))
        worker.member.on_assigned(Assignment(partitions, 12, {}))
        assert (worker.ready, worker.rebalancing) == (False, True)
        await until(lambda: worker.ready, "ready")

        work.broker.failures = [Retriable("the broker is busy")]
        await work.send(WORDS, [b"a"])
        await until(lambda: bool(work.notes.restarted), "the task fails")
        assert (worker.ready, worker.rebalancing) == (False, False)

    on_virtual_time(test)


def test_a_rebalance_that_outlasts_every_rebalance_is_a_member_that_is_cut_off() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await until(lambda: worker.ready, "ready")
        partitions = sorted(worker.member.works)

        await worker.member.on_revoked(partitions)
        await asyncio.sleep(LIMIT_S - 1)
        assert worker.rebalancing
        # It tries again, which is no new rebalance.
        await worker.member.on_revoked(())
        await asyncio.sleep(1)
        assert not worker.rebalancing
        worker.member.on_assigned(Assignment(partitions, 11, {}))
        assert worker.rebalancing

    on_virtual_time(test)


def test_a_member_that_ends_does_not_wait_for_a_rebalance() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await until(lambda: worker.ready, "ready")
        await work.stop()

        assert (worker.ready, worker.rebalancing) == (False, False)

    on_virtual_time(test)
