"""One run: a safety phase in which everything may fail, then a liveness phase in which everything must come to rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import NamedTuple

from ticketmaster.simulation.checker import Checker
from ticketmaster.simulation.crowd import Crowd
from ticketmaster.simulation.deployment import Deployment
from ticketmaster.simulation.disk import Disk
from ticketmaster.simulation.faults import Faults
from ticketmaster.simulation.host import Host
from ticketmaster.simulation.journal import Journal, Write
from ticketmaster.simulation.kafka.faults import KafkaFaults
from ticketmaster.simulation.kafka.foreign import foreign
from ticketmaster.simulation.kafka.host import KafkaHost
from ticketmaster.simulation.kafka.virtual import DialingLoop, aiokafka_on
from ticketmaster.simulation.loop import Stuck, VirtualLoop

_REST_WITHIN_S = 240.0
# Whatever still lies in the network has arrived by then.
_CALM_S = 20.0
# The partitions of a transaction are told of its end one after the other.
_MARKED_S = 5.0
_SAMPLE = 40
_FOREIGN = "foreign"
# So much of what other gateways write has an id of another schema.
_FOREIGN_SHARE = 0.7
_LOOK_S = 0.5
_RULED_EACH = 4
_UNWINDING_STEPS_MAX = 1_000_000
_ABANDONED: list[object] = []


# Of faults, each of which a run may leave out. Those behind the first line only a Kafka has.
KINDS = (
    *("processes", "network", "clocks", "disks", "power", "outsiders", "offsets"),
    *("brokers", "connections", "rebalances", "replicas", "deposed", "foreign"),
)


class Size(NamedTuple):
    """How much is in a run. ``steps_max``: callbacks of the event loop, past which a run has failed."""

    commands: int = 1_100
    faults: int = 24
    steps_max: int = 5_000_000
    kafka: bool = False
    # Kinds of faults that are left out.
    without: tuple[str, ...] = ()
    # Whether events have rules; None: those of every fourth seed have.
    rules: bool | None = None


def has_rules(seed: int, size: Size) -> bool:
    """Whether the events of a run have rules."""
    return seed % _RULED_EACH == _RULED_EACH - 1 if size.rules is None else size.rules


class Outcome(NamedTuple):
    """What a run came to; sound if there is no violation."""

    seed: int
    digest: str
    virtual_s: float
    steps: int
    commands: int
    acknowledged: int
    decided: int
    records: int
    faults: Counter[str]
    violations: list[str]


def simulate(seed: int, size: Size, write: Write | None = None) -> Outcome:
    """Runs a seed; ``write`` is given every line of the journal."""
    if not size.kafka:
        return _run(VirtualLoop(), seed, size, write)
    loop = DialingLoop()
    with aiokafka_on(loop, Random(f"{seed} aiokafka")):
        return _run(loop, seed, size, write)


def _run(loop: VirtualLoop, seed: int, size: Size, write: Write | None) -> Outcome:
    run = _Run(seed, size, write)
    try:
        loop.limit(size.steps_max)
        loop.run_until_complete(run.run())
    except Stuck as reason:
        run.journal.violations.append(f"{reason}")
        _abandon(loop)
        return run.outcome(loop)
    outcome = run.outcome(loop)
    try:
        loop.limit(loop.steps + _UNWINDING_STEPS_MAX)
        loop.run_until_complete(run.close())
    except Stuck:
        _abandon(loop)
    else:
        loop.close()
    return outcome


def _abandon(loop: VirtualLoop) -> None:
    """What hangs or spins can't be unwound: it is left as it stands, for as long as this process lives."""
    _ABANDONED.append(asyncio.all_tasks(loop))
    loop.set_exception_handler(lambda *_: None)


class _Run:
    def __init__(self, seed: int, size: Size, write: Write | None) -> None:
        self._seed = seed
        self._size = size
        self.journal = Journal(write)
        self._checker = Checker(self.journal)
        random = Random(f"{seed} run")
        partitions = random.choice((1, 2, 3, 4))
        machine = Random(f"{seed} host")
        host: Host | KafkaHost
        if size.kafka:
            host = KafkaHost(partitions, machine, self.journal, self._checker)
            self._checker.decided = host.decided
            compare = self._checker.check_restored
            self._deployment = Deployment(f"{seed}", random, self.journal, host, partitions, on_restored=compare)
            host.on_acknowledged = self._deployment.expect_told
        else:
            host = Host(partitions, machine, self.journal, self._checker.witness_whole)
            self._deployment = Deployment(f"{seed}", random, self.journal, host, partitions, self._checker.check_stored)
        span_s = Faults.span_s(size.faults)
        rules = Random(f"{seed} rules") if has_rules(seed, size) else None
        self._crowd = Crowd(self._deployment, Random(f"{seed} crowd"), size.commands, span_s, rules)
        self._crowd.on_told = self._checker.check_told
        self._checker.forged, self._crowd.releases = self._crowd.forged, self._checker.releases
        chance = Random(f"{seed} faults")
        if isinstance(host, KafkaHost):
            self._faults: Faults = KafkaFaults(self._deployment, self._crowd, chance, size.faults, host)
            if _FOREIGN not in size.without:
                self._crowd.write = lambda value: foreign(value, chance) if chance.random() < _FOREIGN_SHARE else value
        else:
            host.on_offsets_lost = self._checker.offsets_lost
            self._faults = Faults(self._deployment, self._crowd, chance, size.faults)
        self._faults.without = size.without
        self._lost = random.choice((0.0, 0.005, 0.02))

    async def run(self) -> None:
        """Both phases, and the checks."""
        deployment, crowd = self._deployment, self._crowd
        await deployment.start()
        supervising = asyncio.create_task(deployment.supervise())
        deployment.weather.lost = self._lost
        buying = asyncio.create_task(crowd.run())
        await self._faults.strike()
        self.journal.note("run", "the faults end")
        self._faults.end()
        deployment.weather.lost = 0.0
        for roles in deployment.layout:
            if not any(one.roles == roles for one in deployment.live):
                deployment.start_process(roles, Disk())
        if await self._at_rest(buying):
            await self._look_round()
            await crowd.buy_what_is_free(self._checker.areas())
            if await self._at_rest(buying):
                await asyncio.sleep(_MARKED_S)
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        buying.cancel()
        await asyncio.gather(buying, return_exceptions=True)
        for one in tuple(deployment.live):
            await deployment.stop(one)
            deployment.check_failure(one)
        self._check()

    async def _at_rest(self, buying: asyncio.Task[None]) -> bool:
        """Everything is decided, everybody told, and every process serves; whether that came in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _REST_WITHIN_S
        books = self._checker.books
        while loop.time() < deadline and not self.journal.violations:
            ready = all(one.ready for one in self._deployment.live)
            under_way = books.undecided() or books.open_holds or books.releasing() or books.cancelling() or books.behind()
            if buying.done() and ready and not under_way:
                buying.result()
                return True
            await asyncio.sleep(_LOOK_S)
        if not self.journal.violations:
            undecided, ends = ([key.decode() for key in keys] for keys in (books.undecided(), books.releasing()))
            waiting = [one.name for one in self._deployment.live if not one.ready]
            people = "have been told" if buying.done() else "still wait"
            self.journal.violation(
                f"not at rest: undecided {undecided[:5]}, {books.open_holds} holds, to be released {ends[:5]}, "
                f"statuses behind {books.behind()[:5]}, "
                f"not serving {waiting}, people {people}"
            )
        return False

    async def _look_round(self) -> None:
        """Nothing happens any more, and every gateway says the same of what was sold."""
        await asyncio.sleep(_CALM_S)
        before = self._checker.log_ends
        crowd = self._crowd
        random = Random(f"{self._seed} end")
        undecided = [name for name in crowd.acknowledged if name not in crowd.told]
        told = random.sample(sorted(crowd.told), min(_SAMPLE, len(crowd.told)))
        for one in self._deployment.serving("ticket"):
            for name in (*undecided, *told):
                if await crowd.look(name, one):
                    self._checker.check_last_told(name, next(reversed(crowd.told[name])))
                else:
                    self.journal.violation(f"{one.name} does not know what became of {name}")
            for area, view in sorted(self._checker.areas().items()):
                event, _, area_id = area.partition("#")
                reply = await self._deployment.ask(one, "GET", f"/v1/event/{event}/area/{area_id}")
                if reply is None or reply.status != 200 or reply.body != view:
                    self.journal.violation(f"{one.name} shows of {area} {reply}, the log has {view!r}")
        if self._checker.log_ends != before:
            self.journal.violation("something was written when everything had come to rest")

    def _check(self) -> None:
        self._checker.check_books()
        self._checker.check_people(self._crowd)
        for one in self._deployment.all:
            self._checker.check_store(one.name, one.disk)

    async def close(self) -> None:
        """Unwinds whatever still runs."""
        await self._deployment.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for job in rest:
            job.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def outcome(self, loop: VirtualLoop) -> Outcome:
        """What it came to."""
        return Outcome(
            seed=self._seed,
            digest=self.journal.digest,
            virtual_s=loop.time(),
            steps=loop.steps,
            commands=len(self._checker.commands),
            acknowledged=len(self._crowd.acknowledged),
            decided=len(self._checker.decisions),
            records=self._checker.records,
            faults=self.journal.faults,
            # The dead are unwound later, and may break any rule then.
            violations=list(self.journal.violations),
        )
