"""Changes of events, from the request to the record that answers it: the event as it is then, with the id of the change.

Every process follows all events, so that each sees the answers to what it asked itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, partitions_of
from ticketmaster.clock import Clock
from ticketmaster.domain.event import EventLimits, limit_violation, name_violation
from ticketmaster.domain.rules import ANY_REVISION, CHANGEABLE, NO_RULES, ChangeRefusal, EventChange, Status
from ticketmaster.streams.jobs import in_turns
from ticketmaster.ticket import problems
from ticketmaster.ticket.bodies import UNDECODABLE, Int32, malformed
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.changing import new_change_id
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.heads import HeaderLines
from ticketmaster.ticket.problems import Headers, Problem
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.ticket.times import parse_time
from ticketmaster.ticket.waiting import Waiting
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import encode_change, read_rules_of
from ticketmaster.wire.frames import FRAMES

_IF_MATCH: Final = "if-match"
CANCEL: Final[Mapping[str, Any]] = {"status": Status.CANCELLED}
_NS_PER_MS = 1_000_000
_REFUSALS: Final = {
    ChangeRefusal.REVISION: problems.REVISION_CONFLICT,
    ChangeRefusal.WINDOW: problems.INVALID_WINDOW,
    ChangeRefusal.HOLD: problems.INVALID_HOLD,
    ChangeRefusal.CANCELLED: problems.EVENT_CANCELLED,
}
# The tag of an event as GET tells it, which ends in the revision where there is one; or the revision alone.
_TAG = re.compile(r'"(?:[0-9a-f]{24}(?:\.(\d{1,9}))?|(\d{1,9}))"', re.ASCII)
_TIMES = frozenset({"opening_ms", "closing_ms", "start_ms", "end_ms"})


class _EventPatch(Struct, forbid_unknown_fields=True, rename=dict(CHANGEABLE)):
    artist: str | UnsetType | None = UNSET
    opening_ms: Raw | UnsetType = UNSET
    closing_ms: Raw | UnsetType = UNSET
    start_ms: Raw | UnsetType = UNSET
    end_ms: Raw | UnsetType = UNSET
    hold_seconds: Int32 | UnsetType | None = UNSET
    hold_seconds_max: Int32 | UnsetType | None = UNSET
    seats_per_user_max: Int32 | UnsetType | None = UNSET
    status: Literal["OPEN", "PAUSED", "CLOSED"] | UnsetType = UNSET


_decode_patch = msgspec.json.Decoder(_EventPatch).decode


def read_patch(body: bytes, limits: EventLimits) -> dict[str, Any]:
    """The new values of an event, by the names of EventRules' fields; null takes one away. Problem: it breaks a rule."""
    try:
        patch = _decode_patch(body)
    except UNDECODABLE as cause:
        raise malformed(body, cause) from cause
    given = {name: value for name in CHANGEABLE if (value := getattr(patch, name)) is not UNSET}
    return {name: _value(name, value, limits) for name, value in given.items()}


def _value(name: str, value: Any, limits: EventLimits) -> Any:  # noqa: ANN401 - as the field has it
    field = CHANGEABLE[name]
    if name in _TIMES:
        # One that is taken away is 0, which is none.
        return parse_time(field, bytes(value), 0) // _NS_PER_MS
    if name == "status":
        return Status[value]
    if name == "artist":
        if value and (broken := name_violation(field, value, limits.name_bytes_max)):
            raise Problem(400, broken.code, f"{broken.message}.")
        return value or ""
    number = int(value or 0)
    if name == "seats_per_user_max":
        if value is not None and (broken := limit_violation(number, limits)):
            raise Problem(400, broken.code, f"{broken.message}.")
    elif not 0 <= number <= limits.hold_seconds_max:
        raise Problem(400, "invalid_hold", f"{field} is from 0 to {limits.hold_seconds_max}; 0 is no hold.")
    return number


def revision_of(headers: HeaderLines) -> int:
    """The only revision that may be changed, by If-Match. Problem: it names none."""
    # One whose value is not ASCII is there, and has no line: it must not let a change pass whatever the revision is.
    if _IF_MATCH not in headers:
        return ANY_REVISION
    if_match = headers.get_all(_IF_MATCH)
    if if_match == ["*"]:
        return ANY_REVISION
    found = _TAG.fullmatch(if_match[0].strip()) if len(if_match) == 1 else None
    if found is None:
        raise problems.invalid_if_match()
    return int(found[1] or found[2] or 0)


class _Pending(NamedTuple):
    event_id: str
    responder: Responder


class EventChanges:
    """Changes of events that wait for their answers."""

    def __init__(
        self, catalog: Catalog, commands: Commands, partitions: int, clock: Clock, wait_ms: int, refusal: Callable[[], Problem | None]
    ) -> None:
        """``refusal()``: why nothing more is taken on."""
        self._catalog = catalog
        self._commands = commands
        self._partitions = partitions
        self._sources = partitions_of(topics.CHANGE_EVENT.name, partitions)
        self._clock = clock
        self._wait_s = wait_ms / 1000
        self._refusal = refusal
        self._waiting: Waiting[_Pending] = Waiting()
        self.waiters = self._waiting.waiters
        """Those who wait for their answer."""

    def take(self, event_id: str, values: Mapping[str, Any], revision: int, responder: Responder) -> None:
        """Makes a change, and answers with the event as it is then."""
        rules = self._catalog.rules(event_id)
        if refusal := self._refusal() if FRAMES.has_all else problems.HOLDS_UNAVAILABLE:
            refuse(responder, refusal)
        elif not self._catalog.is_whole:
            refuse(responder, problems.NOT_SERVING)
        elif rules is NO_RULES and not self._catalog.has_areas(event_id):
            refuse(responder, problems.NO_SUCH_EVENT)
        elif not values:
            refused = revision not in (ANY_REVISION, rules.revision)
            self._answer(_Pending(event_id, responder), ChangeRefusal.REVISION if refused else "")
        else:
            change_id, key = new_change_id(self._clock), event_id.encode()
            self._waiting.add(change_id, _Pending(event_id, responder), asyncio.get_running_loop().time() + self._wait_s)
            command = encode_change(EventChange(change_id.decode(), event_id, revision, values))
            source = self._sources[partition_of(key, self._partitions)]
            self._commands.add(source, key, command, _Appended(self._fail, change_id))

    def on_events(self, records: Sequence[Pair]) -> None:
        """The log has these events; the catalog has them, too."""
        if not len(self._waiting):
            return
        for _, value in records:
            try:
                rules = None if value is None else read_rules_of(value)
            except UNREADABLE:
                continue
            for pending in self._waiting.take(rules.change_id.encode()) if rules else ():
                self._answer(pending, rules.change_refusal if rules else "")

    def _answer(self, pending: _Pending, refusal: str) -> None:
        event = self._catalog.event(pending.event_id)
        if refusal:
            refuse(pending.responder, _REFUSALS.get(refusal, problems.INTERNAL_ERROR))
        elif event is None:
            refuse(pending.responder, problems.NO_SUCH_EVENT)
        else:
            pending.responder.response_bytes(200, [*JSON, ("etag", event.tag)], event.body)

    def _fail(self, change_id: bytes, status: int, headers: Headers, body: bytes) -> None:
        for pending in self._waiting.take(change_id):
            pending.responder.response_bytes(status, headers, body)

    async def sweep(self, now_s: float) -> None:
        """Answers those who have waited long enough."""
        await in_turns(self._waiting.take_expired(now_s), lambda pending: refuse(pending.responder, problems.CHANGE_NOT_ANSWERED))

    async def give_up(self) -> None:
        """Answers everybody."""
        await self.sweep(float("inf"))


class _Appended:
    """Takes what became of a command in the log. Unless that failed, the client waits on for what becomes of the change."""

    __slots__ = ("_change_id", "_fail")

    def __init__(self, fail: Callable[[bytes, int, Headers, bytes], None], change_id: bytes) -> None:
        self._fail = fail
        self._change_id = change_id

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if status != 200:
            self._fail(self._change_id, status, headers, body)
