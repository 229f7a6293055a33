"""A run: legs of faults, one after the other, in a sale that goes on; after each leg all is stopped in order and audited."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path

from tests.chaos.buyers import Buyers
from tests.chaos.faults import KINDS, Scene
from tests.chaos.fleet import ROLES, Fleet
from tests.chaos.lives import LivedSale
from tests.chaos.poison import KEY_PREFIX
from tests.chaos.report import Outcome, Report
from tests.process.client import Lost, ask
from tests.support.kafka import Cluster

BUYERS = 24
# So long they rest between two purchases, on average: what they buy is read again by every audit.
PAUSE_S = 0.12
# A fault's consequences are over by then: session time-outs, elections, restorations.
OVER_S = 90.0
# So many decisions are looked up in each ticket process at the end of a leg, besides all that no buyer has seen.
SAMPLE = 2_000
AUDIT_S = 300.0
# In every round but the first, these come so much more often: they are what happens.
OFTEN = {"ticket killed": 2, "reservation killed": 2, "event killed": 2, "two roles killed at once": 2, "all processes killed at once": 2}


class Broken(Exception):
    """A fault broke a promise; the text says which fault, and how to have it again."""


def schedule(kinds: Collection[str], faults: int, seed: int) -> list[str]:
    """The faults of a run: first each kind once, then again with those of OFTEN more often, each round in an order of its own."""

    def rounds() -> Iterator[str]:
        for number in count():
            bag = [kind for kind in sorted(kinds) for _ in range(OFTEN.get(kind, 0) + 1 if number else 1)]
            yield from random.Random(f"{seed}-{number}").sample(bag, len(bag))

    return list(islice(rounds(), faults))


class Run:
    """One cluster, one fleet, one report."""

    def __init__(self, fleet: Fleet, cluster: Cluster, seed: int, report_file: Path | None) -> None:
        self.report = Report(seed)
        self._fleet = fleet
        self._scene = Scene(fleet, cluster, random.Random(seed))
        self._report_file = report_file

    async def legs(self, faults: Sequence[str], faults_per_leg: int) -> None:
        """All of it. Broken: a promise was; the report is written all the same."""
        began_s = time.monotonic()
        try:
            for leg, begin in enumerate(range(0, len(faults), faults_per_leg), 1):
                await self._leg(leg, begin + 1, faults[begin : begin + faults_per_leg])
        finally:
            report, scene = self.report, self._scene
            report.seconds = time.monotonic() - began_s
            report.process_kills, report.broker_kills, report.notes = self._fleet.killed, scene.brokers_killed, scene.notes
            if self._report_file:
                self._report_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
            _say(f"\n{report.text()}")

    async def _leg(self, leg: int, first: int, faults: Sequence[str]) -> None:
        fleet, seed = self._fleet, self.report.seed
        sale = LivedSale(random.Random(f"{seed}-{leg}").randrange(1 << 32), areas=8, rows=40, cols=60)
        try:
            await asyncio.to_thread(fleet.start_all, 2)
            async with self._selling(sale) as buyers:
                for number, kind in enumerate(faults, first):
                    await self._announce(sale, f"{seed}-{number}")
                    await self._fault(number, kind, buyers)
            await sale.settle(fleet.addresses()[0])
            for address in fleet.addresses():
                await sale.check(address, sample=SAMPLE)
            await asyncio.to_thread(fleet.stop_all)
            await asyncio.to_thread(self._audit)
            assert_has_seen(self.report.audits[-1]["totals"], self.report.acknowledged + len(sale.answered))
        except Exception as cause:
            first_cause = _first(cause)
            if isinstance(first_cause, Broken):
                raise first_cause from cause
            self.report.violations.append(f"leg {leg}: {_reason(cause)}")
            struck = f"faults {first} to {first + len(faults) - 1}"
            raise Broken(f"seed {seed}, leg {leg}, after the {struck}: {_reason(cause)}; they were: {', '.join(faults)}") from cause
        finally:
            self.report.acknowledged += len(sale.answered)
            self.report.decided += len(sale.decisions)
            self._scene.notes.update(sale.told())
        _say(f"leg {leg}: {len(sale.answered)} acknowledged, the audit is sound")

    @asynccontextmanager
    async def _selling(self, sale: LivedSale) -> AsyncIterator[Buyers]:
        """Buyers at work; what fails in them ends the block."""
        buyers = Buyers(sale, self._fleet, BUYERS, PAUSE_S)
        await self._announce(sale, f"{self.report.seed}-{time.time_ns()}")
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._scene.health.watch())
            buying = group.create_task(buyers.buy())
            await self._until_over(buyers, time.monotonic())
            yield buyers
            buyers.stop()
            await buying
            watching.cancel()

    async def _announce(self, sale: LivedSale, event: str) -> None:
        """A fresh event, so that there are seats to sell; asked for until it is answered."""
        async with asyncio.timeout(OVER_S):
            while event not in sale.events:
                for address in self._fleet.addresses():
                    try:
                        if (await ask(address, "POST", "/v1/event", sale.event_body(event))).status == 200:
                            sale.events.append(event)
                            break
                    except (Lost, TimeoutError):
                        continue

    async def _fault(self, number: int, kind: str, buyers: Buyers) -> None:
        scene, health = self._scene, self._scene.health
        # Of each fault its own: the same seed has the same fault, whatever the faults before it drew.
        scene.choice = random.Random(f"{self.report.seed}-{number}")
        await asyncio.sleep(scene.choice.uniform(0.1, 1.5))
        struck_s, unhealthy_s = time.monotonic(), health.unhealthy_s
        violation = ""
        try:
            await KINDS[kind](scene)
            await self._until_over(buyers, time.monotonic())
        except (AssertionError, Lost, OSError) as cause:
            violation = _reason(cause)
            raise Broken(f"seed {self.report.seed}, fault {number}, {kind}: {violation}") from cause
        finally:
            now_s = time.monotonic()
            ill_s = health.unhealthy_s - unhealthy_s
            outcome = Outcome(number, kind, buyers.silence_s(struck_s, now_s), buyers.wait_s(struck_s, now_s), ill_s, violation)
            self.report.outcomes.append(outcome)
            _say(
                f"{number:>4} {kind:<45} no decision for {outcome.unavailable_s:6.2f} s, longest wait {outcome.wait_s:6.2f} s, "
                f"not well {outcome.unhealthy_s:6.2f} s, {now_s - struck_s:6.1f} s in all, {len(buyers.purchases)} sold"
            )

    async def _until_over(self, buyers: Buyers, since_s: float) -> None:
        """Every buyer has been served since then, every process says that it is well, and none has ended by itself."""
        fleet, health = self._fleet, self._scene.health
        end_s = time.monotonic() + OVER_S
        while unserved := buyers.unserved(since_s) or int(not await health.are_well(*ROLES)):
            died = fleet.died()
            assert not died, f"ended although nobody told it to: {'; '.join(died)}"
            if time.monotonic() > end_s:
                ill = [address for address in fleet.serving(*ROLES) if not await health.is_well(address)]
                raise AssertionError(f"not over in {OVER_S} s: {unserved} buyers are not served, not well: {ill or 'nobody'}")
            await asyncio.sleep(0.05)

    def _audit(self) -> None:
        """Sound, but for stores that were damaged on purpose and not opened since, and for poison in topics that only our roles write."""
        sound, said = self._fleet.audited(AUDIT_S)
        flipped = [store for store in dict.fromkeys(self._scene.flipped) if store.exists()]
        if not sound and flipped:
            for store in flipped:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{store}{suffix}").unlink(missing_ok=True)
            self._scene.notes["audits that found a flipped bit in a store"] += 1
            sound, said = self._fleet.audited(AUDIT_S)
        self._scene.flipped.clear()
        if not sound and not _is_poison(said):
            raise AssertionError(said)
        self._scene.notes["audits that named the poisoned records"] += not sound
        self.report.audits.append({"sound": True, "totals": json.loads(said)["totals"]})


def assert_has_seen(totals: Mapping[str, int], acknowledged: int) -> None:
    """An audit that has read nothing, or another sale, finds nothing wrong; neither has one of a leg in which nobody bought."""
    assert totals["decisions"] >= acknowledged > 0, (
        f"{acknowledged} were acknowledged, and the audit has seen {totals['decisions']} decisions"
    )


def _is_poison(said: str) -> bool:
    """Whether all that an audit has found are poisoned records: their keys say what they are."""
    try:
        findings = json.loads(said)["findings"]
    except ValueError:
        return False
    return bool(findings) and all(KEY_PREFIX in example["text"] for finding in findings for example in finding["examples"])


def _first(cause: BaseException) -> BaseException:
    """What went wrong first, of however many."""
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


def _reason(cause: BaseException) -> str:
    cause = _first(cause)
    return f"{type(cause).__name__}: {cause}"


def _say(text: str) -> None:
    """For whoever looks: pytest shows it with -s."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
