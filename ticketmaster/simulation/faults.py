"""What goes wrong in a run, and when: drawn from the seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from ticketmaster.simulation.crowd import Crowd
from ticketmaster.simulation.deployment import Deployment
from ticketmaster.simulation.disk import Disk
from ticketmaster.simulation.roles import RoleProcess
from ticketmaster.wire import topics

_PROCESSES_MAX = 4
SHORT_S = (0.2, 1.0, 3.0)
_LONG_S = (0.5, 3.0, 8.0, 20.0)
# A role's process passes a few hundred steps in a busy second.
_STEPS = 300
_CLOCK_JUMPS_S = (-86_400.0, -3_600.0, -2.0, 2.0, 3_600.0)
_GROUPS = (topics.EVENT_SERVICE, topics.RESERVATION_SERVICE)
_GAPS_S = (0.05, 0.5, 2.0, 6.0)


Strike = Callable[[], Awaitable[None]]


class Faults:
    """Strikes a deployment, so many times; each kind as often as the seed likes."""

    def __init__(self, deployment: Deployment, crowd: Crowd, random: Random, count: int) -> None:
        self._deployment = deployment
        self._journal = deployment.journal
        self._crowd = crowd
        self._random = random
        self._count = count
        self._later: set[asyncio.Task[None]] = set()
        # Kinds that are left out.
        self.without: tuple[str, ...] = ()

    @staticmethod
    def span_s(count: int) -> float:
        """About how long so many faults take, in virtual seconds."""
        return count * sum(_GAPS_S) / len(_GAPS_S)

    async def strike(self) -> None:
        """Strikes, with pauses in between; returns when the last fault has come to its own end."""
        strikes = [strike for kind, each in self.kinds().items() if kind not in self.without for strike in each]
        for _ in range(self._count):
            await asyncio.sleep(self._random.choice(_GAPS_S))
            if strikes:
                await self._random.choice(strikes)()
        while self._later:
            await asyncio.wait(set(self._later))

    def kinds(self) -> dict[str, list[Strike]]:
        """What there is, by its kind; each as often as it stands there."""
        return {
            "processes": [
                self._kill,
                self._kill,
                self._kill,
                self._pause,
                self._pause,
                self._expel,
                self._restart,
                self._join,
                self._leave,
            ],
            "network": [self._cut, self._roughen],
            "clocks": [self._shift_clock, self._restart_with_wrong_clock],
            "disks": [self._fill_disk, self._damage_disk],
            "power": [self._lose_power],
            "offsets": [self._lose_offsets],
            "outsiders": [self._crowd.announce_again, self._crowd.repeat_commands, self._crowd.write_rubbish],
        }

    def end(self) -> None:
        """No fault goes on: the dead are dead, what was cut is whole, what was full has room."""
        for one in self._deployment.all:
            if one.killed:
                one.process.freeze()
            else:
                one.process.thaw()
            one.link.cut, one.link.rough, one.disk.full = False, 0.0, False

    def _victim(self) -> RoleProcess | None:
        candidates = [one for one in self._deployment.live if not one.process.frozen and not one.ended]
        return self._random.choice(candidates) if candidates else None

    def _after(self, seconds: float, action: Callable[[], Awaitable[None] | None]) -> None:
        async def act() -> None:
            await asyncio.sleep(seconds)
            done = action()
            if done is not None:
                await done

        job = asyncio.create_task(act())
        self._later.add(job)
        job.add_done_callback(self._later.discard)

    # The process.

    async def _kill(self) -> None:
        """It dies at any await, nothing is closed or cleaned up; a new one starts, on what its disk holds then."""
        one = self._victim()
        if one is None:
            return
        steps, what = self._random.randrange(_STEPS), self._random.choice(("kept", "kept", "torn", "lost", "damaged"))
        self._journal.fault(one.name, f"killed, state {what}", f"in {steps} steps")
        self._deployment.kill(one, steps)

        def replace() -> None:
            disk = Disk() if what == "lost" else one.disk.copy()
            if what == "torn":
                disk.tear(self._random)
            elif what == "damaged":
                disk.damage(self._random)
            self._deployment.start_process(one.roles, disk)

        self._after(self._random.choice(SHORT_S), replace)

    async def _pause(self) -> None:
        """It stands still, perhaps until others have taken over, and goes on as if nothing had happened."""
        one = self._victim()
        if one is None:
            return
        seconds = self._random.choice(_LONG_S)
        self._journal.fault(one.name, "paused", f"for {seconds} s")
        self._deployment.freeze(one, self._random.randrange(_STEPS))

        def go_on() -> None:
            if not one.killed:
                self._journal.note(one.name, "goes on")
                one.disturbed_at_s = asyncio.get_running_loop().time()
                one.process.thaw()

        self._after(seconds, go_on)

    async def _expel(self) -> None:
        """The group goes on without it, though it is well."""
        one = self._victim()
        if one:
            self._journal.fault(one.name, "expelled")
            one.expel()

    async def _restart(self) -> None:
        one = self._victim()
        if one:
            self._journal.fault(one.name, "restarted")
            await self._deployment.stop(one)
            self._deployment.check_failure(one)
            self._deployment.start_process(one.roles, one.disk.copy())

    async def _join(self) -> None:
        roles = self._random.choice(self._deployment.layout)
        if sum(one.roles == roles for one in self._deployment.live) < _PROCESSES_MAX:
            self._journal.fault("+".join(roles), "one more")
            self._deployment.start_process(roles, Disk())

    async def _leave(self) -> None:
        one = self._victim()
        if one and sum(other.roles == one.roles for other in self._deployment.live) > 1:
            self._journal.fault(one.name, "one less")
            await self._deployment.stop(one)
            self._deployment.check_failure(one)

    # What it stands on.

    async def _cut(self) -> None:
        one = self._victim()
        if one is None:
            return
        seconds = self._random.choice(_LONG_S)
        self._journal.fault(one.name, "network cut", f"for {seconds} s")
        one.link.cut = True
        self._after(seconds, lambda: setattr(one.link, "cut", False))

    async def _roughen(self) -> None:
        one = self._victim()
        if one is None:
            return
        self._journal.fault(one.name, "network rough")
        one.link.rough = 0.3
        self._after(self._random.choice(_LONG_S), lambda: setattr(one.link, "rough", 0.0))

    async def _shift_clock(self) -> None:
        one = self._victim()
        if one:
            seconds = self._random.choice(_CLOCK_JUMPS_S)
            self._journal.fault(one.name, "clock jumps", f"by {seconds} s")
            one.clock.shift_s += seconds

    async def _restart_with_wrong_clock(self) -> None:
        """It never knows better: what it begins with is all that it has."""
        one = self._victim()
        if one:
            seconds = self._random.choice(_CLOCK_JUMPS_S)
            self._journal.fault(one.name, "restarted with a wrong clock", f"by {seconds} s")
            await self._deployment.stop(one)
            self._deployment.check_failure(one)
            self._deployment.start_process(one.roles, one.disk.copy(), seconds)

    async def _fill_disk(self) -> None:
        one = self._victim()
        if one is None:
            return
        seconds = self._random.choice(_LONG_S)
        self._journal.fault(one.name, "disk full", f"for {seconds} s")
        one.disk.full = True
        self._after(seconds, lambda: setattr(one.disk, "full", False))

    async def _damage_disk(self) -> None:
        one = self._victim()
        if one and (place := one.disk.damage(self._random)):
            self._journal.fault(one.name, "disk damaged", f"{place}")

    async def _lose_offsets(self) -> None:
        group = self._random.choice(_GROUPS)
        self._journal.fault("broker", "offsets lost", f"of {group}")
        if self._deployment.host.is_up:
            self._deployment.host.lose_offsets(group)

    async def _lose_power(self) -> None:
        self._journal.fault("everything", "power lost")
        await self._deployment.lose_power()
