"""Bugs in what keeps the rules of events: windows, limits, changes, cancelled events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.simulation.planting import Mutants, replaced
from ticketmaster.broker.port import Pair
from ticketmaster.domain import rules
from ticketmaster.domain.life import ended_by_event
from ticketmaster.domain.rules import ANY_REVISION, EventRules, changed
from ticketmaster.event import events
from ticketmaster.event.events import Events
from ticketmaster.event.kept_rules import RulesByEvent
from ticketmaster.reservation import limits, lives
from ticketmaster.reservation.cancelling import CancelledEvents
from ticketmaster.reservation.limits import UserLimits
from ticketmaster.reservation.processor import ReservationProcessor
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.ticket import routes
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.organising import EventChanges
from ticketmaster.wire.reservations import processing
from ticketmaster.wire.rules import AreaRules, read_rules

MUTANTS = Mutants()
mutant = MUTANTS.add


@mutant("only the gateway looks at windows")
def _early_only() -> AbstractContextManager[Any]:
    return replaced(KnownRules, "refusal", lambda *_, **__: "")


@mutant("the closing of a window is nobody's matter")
@contextmanager
def _never_closed() -> Any:
    def refused_by_window(self: EventRules, time_ms: int) -> str:
        return "" if time_ms >= self.opening_ms else found(self, time_ms)

    found = EventRules.refused_by_window
    with replaced(EventRules, "refused_by_window", refused_by_window):
        yield


@mutant("an area sells what nobody has looked at, by a role that knows no rules")
@contextmanager
def _unchecked() -> Any:
    with replaced(AreaRules, "refusal", lambda *_: ""), replaced(KnownRules, "apply", lambda *_: []):
        yield


@mutant("a user's seats are not counted")
def _uncounted() -> AbstractContextManager[Any]:
    return replaced(UserLimits, "take", lambda *_: "")


@mutant("a user's seats are counted where the command is, not where the user's are")
@contextmanager
def _counted_anywhere() -> Any:
    with replaced(limits, "partition_of", lambda _key, _partitions: Here()):
        yield


class Here:
    """Any partition."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@mutant("a user's seats are free as soon as they are reserved")
def _freed_too_early() -> AbstractContextManager[Any]:
    take = UserLimits.take

    def take_and_free(self: UserLimits, key: bytes, create: bytes, command: Any, seats_max: int, stores: Any) -> str:
        refusal = take(self, key, create, command, seats_max, stores)
        if not refusal:
            self.free(key, processing(key, create), stores)
        return refusal

    return replaced(UserLimits, "take", take_and_free)


@mutant("the reservations of a cancelled event end before the last one was looked at")
def _looked_through_in_part() -> AbstractContextManager[Any]:
    cancel_some = CancelledEvents.cancel_some

    def cancel_a_few(self: CancelledEvents, now_ms: int, stores: Any, outputs: Any) -> None:
        cancel_some(self, now_ms, {**stores, lives.RESERVATIONS: Few(stores[lives.RESERVATIONS])}, outputs)

    return replaced(CancelledEvents, "cancel_some", cancel_a_few)


class Few:
    """A store of which a look finds the first ones only."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.get, self.put, self.prefetch = store.get, store.put, store.prefetch

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Any:
        found = self._store.scan(after, part, rows_max)
        return found._replace(items=found.items[:1])


@mutant("a cancelled event keeps its seats")
def _seats_kept() -> AbstractContextManager[Any]:
    ended = ended_by_event

    def keep(state: Any, life: Any) -> Any:
        moved = ended(state, life)
        return moved and moved._replace(frees=False)

    return replaced(lives, "ended_by_event", keep)


@mutant("one partition is told of a cancelled event")
@contextmanager
def _told_one() -> Any:
    make = Events.__init__

    def make_for_one(self: Events, *arguments: Any) -> None:
        make(self, *arguments)
        self._cancels = self._cancels[:1]

    with replaced(Events, "__init__", make_for_one):
        yield


@mutant("the areas are not told of a change")
def _untold() -> AbstractContextManager[Any]:
    change = Events.change

    def change_alone(self: Events, records: Sequence[Pair], known: Any, outputs: Any) -> None:
        change(self, records, known, outputs)
        for source in self._ruled_repartition:
            outputs.pop(source, None)

    return replaced(Events, "change", change_alone)


@mutant("a change of an event is made whatever revision it names")
def _any_revision() -> AbstractContextManager[Any]:
    refused = rules._refusal
    return replaced(rules, "_refusal", lambda known, change: refused(known, change._replace(revision=ANY_REVISION)))


@mutant("a change that is refused counts as a revision")
@contextmanager
def _refusals_counted() -> Any:
    def change_and_count(known: EventRules, change: Any) -> EventRules:
        new = changed(known, change)
        return new._replace(revision=new.revision + 1) if new is not known and new.change_refusal else new

    with replaced(events, "changed", change_and_count):
        yield


@mutant("an organiser is told that a change is made which was refused")
@contextmanager
def _told_as_made() -> Any:
    answer = EventChanges._answer
    with replaced(EventChanges, "_answer", lambda self, pending, _refusal: answer(self, pending, "")):
        yield


@mutant("a gateway overlooks the revision that a change names")
def _unconditional() -> AbstractContextManager[Any]:
    return replaced(routes, "revision_of", lambda _headers: ANY_REVISION)


@mutant("a box office is held to windows and pauses")
def _box_office_held() -> AbstractContextManager[Any]:
    refusal = KnownRules.refusal

    def refuse_all(self: KnownRules, known: EventRules, time_ms: int, *, box_office: bool) -> str:
        return refusal(self, known, time_ms, box_office=box_office and False)

    return replaced(KnownRules, "refusal", refuse_all)


@mutant("a box office is refused by the area of a sale that is paused")
def _box_office_paused() -> AbstractContextManager[Any]:
    refusal = AreaRules.refusal
    return replaced(AreaRules, "refusal", lambda self, checked: refusal(self, checked._replace(box_office=False)))


@mutant("the seats of a box office count for its user's limit")
@contextmanager
def _box_office_counted() -> Any:
    look = ReservationProcessor._looked_at

    def look_as_at_all(self: Any, *arguments: Any, box_office: bool) -> Any:
        refusal, checked = look(self, *arguments, box_office=False)
        return (refusal if refusal.startswith("[USER_LIMIT]") else ""), checked._replace(box_office=box_office)

    with replaced(ReservationProcessor, "_looked_at", look_as_at_all):
        yield


@mutant("everybody sells as a box office does")
@contextmanager
def _all_box_offices() -> Any:
    post = Gateway.post_reservation

    def post_as_box_office(self: Gateway, *arguments: Any, box_office: bool) -> None:
        post(self, *arguments, box_office=True)

    with replaced(Gateway, "post_reservation", post_as_box_office):
        yield


@mutant("areas that are not in memory do not hear of a change of their event")
def _heard_by_some() -> AbstractContextManager[Any]:
    tell = RulesByEvent.tell

    def tell_those_in_memory(self: RulesByEvent, event: bytes, rules: bytes, known: Any) -> None:
        # Without their first rules they would not be open.
        if event in self._shared or read_rules(rules).revision == 1:
            tell(self, event, rules, known)

    return replaced(RulesByEvent, "tell", tell_those_in_memory)
