"""Bugs of the life of a reservation, to be planted: holds, payments, cancellations, seats that come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.simulation.planting import Mutants, replaced
from ticketmaster.broker.port import Pair
from ticketmaster.domain import life as domain
from ticketmaster.domain.life import Change, Kind, Life, Moved
from ticketmaster.domain.reservation import State
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.event.processor import EventProcessor, LiveArea
from ticketmaster.event.stores import HOLDERS, RULES
from ticketmaster.reservation import lives
from ticketmaster.reservation.lives import DEADLINES, Lives
from ticketmaster.reservation.processor import ReservationProcessor
from ticketmaster.state.overlay import Overlay
from ticketmaster.state.port import Steps
from ticketmaster.streams.task import Task
from ticketmaster.wire import topics
from ticketmaster.wire.deadlines import HOLD
from ticketmaster.wire.holders import CLOSED

MUTANTS = Mutants()
mutant = MUTANTS.add


class _Store:
    """A store of which something is forgotten, or not seen."""

    def __init__(self, store: Any, *, keeps: Callable[[bytes | None], bool] = bool, sees: Callable[[bytes], bool] = bool) -> None:
        self._store = store
        self.scan, self.prefetch = store.scan, store.prefetch
        self._keeps = keeps
        self._sees = sees

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._store.get(key)
        return value if value is not None and self._sees(value) else None

    def put(self, key: bytes, value: bytes | None) -> None:
        if value is None or self._keeps(value):
            self._store.put(key, value)


# Holds and their ends.


@mutant("a hold ends before its instant")
def _ends_early() -> AbstractContextManager[Any]:
    change = Lives.change

    def read_further(self: Lives, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        change(self, records, stores, outputs)
        self._read_ms += 1_500

    return replaced(Lives, "change", read_further)


@mutant("a hold ends by the clock of its task, whatever there is to be read")
@contextmanager
def _ends_by_the_clock() -> Any:
    on_time = Lives.on_time

    def on_time_at_once(self: Lives, now_ms: int, stores: Any, outputs: Any) -> None:
        self._read_ms = max(self._read_ms, now_ms)
        on_time(self, now_ms, stores, outputs)

    next_ms = property(lambda self: self._deadlines.next_ms)
    with replaced(Lives, "on_time", on_time_at_once), replaced(Lives, "deadline_ms", next_ms):
        yield


@mutant("a hold that was extended ends when it would have")
def _extended_in_vain() -> AbstractContextManager[Any]:
    return replaced(lives, "is_over", lambda state, life, _: state is State.RESERVED and life.hold_expires_ms > 0)


@mutant("the store is not told of an extension")
def _extension_not_kept() -> AbstractContextManager[Any]:
    change = Lives.change

    def change_and_forget(self: Lives, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        deadlines = _Store(stores[DEADLINES], keeps=lambda value: value is not None and value[0] != HOLD)
        change(self, records, {**stores, DEADLINES: deadlines}, outputs)

    return replaced(Lives, "change", change_and_forget)


@mutant("a task that starts forgets the holds that are open")
def _not_restored() -> AbstractContextManager[Any]:
    def restored(*_: Any) -> Steps:
        yield from ()

    return replaced(ReservationProcessor, "restored", restored)


@mutant("no tick is sent")
def _no_tick() -> AbstractContextManager[Any]:
    on_time = Lives.on_time

    def on_time_without(self: Lives, now_ms: int, stores: Any, outputs: Any) -> None:
        on_time(self, now_ms, stores, outputs)
        outputs.pop(self._changes, None)

    return replaced(Lives, "on_time", on_time_without)


@mutant("the end of a hold is told to nobody")
def _end_not_told() -> AbstractContextManager[Any]:
    end = Lives._end

    def end_silently(self: Lives, key: bytes, stores: Any, outputs: Any) -> bool:
        ended = end(self, key, stores, outputs)
        outputs[self._decisions].clear()
        return ended

    return replaced(Lives, "_end", end_silently)


@mutant("what was prefetched for the ends of holds is taken for the newest")
def _prefetched_hides() -> AbstractContextManager[Any]:
    def prefetch(self: Overlay, keys: Sequence[bytes]) -> None:
        self._newer.update(self.table.get_all(keys))

    return replaced(Overlay, "prefetch", prefetch)


@mutant("an area forgets that its seats are held for a while only")
def _area_without_rules() -> AbstractContextManager[Any]:
    area = EventProcessor._area

    def area_without(self: EventProcessor, key: bytes, stores: Any) -> LiveArea | None:
        return area(self, key, {**stores, RULES: _Store(stores[RULES], sees=lambda _: False)})

    return replaced(EventProcessor, "_area", area_without)


# Payments and cancellations.


def _changing(
    change_to: Callable[[Change, State, Moved], Moved], before: Callable[[Change], Change] = lambda change: change
) -> AbstractContextManager[Any]:
    def changed(change: Change, state: State, reason: str, life: Life, time_ms: int, **how: Any) -> Moved | None:
        moved = domain.changed(before(change), state, reason, life, time_ms, **how)
        return None if moved is None else change_to(change, state, moved)

    return replaced(lives, "changed", changed)


@mutant("anybody may cancel what is paid")
def _refunded() -> AbstractContextManager[Any]:
    return _changing(lambda _change, _state, moved: moved, lambda change: change._replace(refund=True))


@mutant("a payment is refused as if the hold had ended")
def _refused() -> AbstractContextManager[Any]:
    def refuse(change: Change, state: State, moved: Moved) -> Moved:
        ends = change.kind is Kind.PAY and state is State.RESERVED and moved.state is State.PAID and change.reference.endswith(b"7")
        return domain._refused(domain.expired(moved.life), domain.ChangeRefusal.HOLD_EXPIRED) if ends else moved

    return _changing(refuse)


@mutant("a payment that comes after the end of the hold is made")
def _paid_late() -> AbstractContextManager[Any]:
    def changed(change: Change, state: State, reason: str, life: Life, time_ms: int, **how: Any) -> Moved | None:
        just_before_ms = min(time_ms, life.hold_expires_ms - 1) if life.hold_expires_ms else time_ms
        return domain.changed(change, state, reason, life, just_before_ms, **how)

    return replaced(lives, "changed", changed)


@mutant("a hold ends although it is paid")
@contextmanager
def _ends_paid() -> Any:
    def pay(change: Change, _state: State, moved: Moved) -> Moved:
        return moved._replace(life=moved.life._replace(hold_expires_ms=1)) if change.kind is Kind.PAY else moved

    def is_over(state: State, life: Life, time_ms: int) -> bool:
        return state in (State.RESERVED, State.PAID) and 0 < life.hold_expires_ms <= time_ms

    with _changing(pay), replaced(lives, "is_over", is_over):
        yield


@mutant("a change is made outside of the transaction that passes it")
def _offsets_of_changes() -> AbstractContextManager[Any]:
    decide = Task.decide

    def decide_without(self: Task, *args: Any) -> Any:
        plan = decide(self, *args)
        if any(plan.outputs.values()):
            for source in [source for source in plan.offsets if source.topic == topics.CHANGE_RESERVATION.name]:
                del plan.offsets[source]
        return plan

    return replaced(Task, "decide", decide_without)


# Seats that come back.


@mutant("seats that come for a cancelled reservation are kept")
def _late_success_kept() -> AbstractContextManager[Any]:
    return replaced(Lives, "give_back", lambda *_: None)


@mutant("seats are given back as often as it is told")
def _released_again() -> AbstractContextManager[Any]:
    release = EventProcessor._release

    def release_again(self: EventProcessor, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        release(self, records, {**stores, HOLDERS: _Store(stores[HOLDERS], sees=lambda value: value != CLOSED)}, outputs)

    return replaced(EventProcessor, "_release", release_again)


@mutant("the seat beside is given back, too")
def _released_beside() -> AbstractContextManager[Any]:
    release = LiveArea.release

    def release_more(self: LiveArea, seats: Any) -> list[tuple[int, int]]:
        there = list(seats)
        return release(self, [*there, *((row, col + 1) for row, col in there[-1:])])

    return replaced(LiveArea, "release", release_more)


@mutant("a holder that gave its seats back stays one")
def _not_closed() -> AbstractContextManager[Any]:
    release = EventProcessor._release

    def release_open(self: EventProcessor, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        release(self, records, {**stores, HOLDERS: _Store(stores[HOLDERS], keeps=lambda value: value != CLOSED)}, outputs)

    return replaced(EventProcessor, "_release", release_open)


@mutant("a search does not go back to seats that came back")
def _search_goes_on() -> AbstractContextManager[Any]:
    return replaced(SeatMap, "_search_again", lambda *_: None)


@mutant("some of the seats do not come back")
def _released_less() -> AbstractContextManager[Any]:
    release = LiveArea.release

    def release_less(self: LiveArea, seats: Any) -> list[tuple[int, int]]:
        return release(self, list(seats)[:1])

    return replaced(LiveArea, "release", release_less)
