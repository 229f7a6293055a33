"""The plan of a numbered request: the same requests, mutations and bytes for the same seed and number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from tests.fuzz.corpus import Case
from tests.fuzz.frames import broken_frames
from tests.fuzz.messages import Expect, Message
from tests.fuzz.mutations import aim, mutate

_AIMED = 0.6
# Of one hundred requests: how many mutations.
_COUNTS = [0] * 20 + [1] * 60 + [2] * 15 + [3] * 5
_FIXED_WEIGHT, _WEIGHT = 1, 6


class End(Enum):
    """What becomes of the connection once everything is sent."""

    # It is read on, and kept if it may be.
    READ = "read"
    # The client says that nothing more will come.
    SHUT = "shut"
    CLOSE = "close"
    RESET = "reset"


@dataclass(slots=True)
class Plan:
    """One number's requests and how they travel. ``data`` is what goes over an HTTP/1.1 connection, or a raw one; empty: HTTP/2."""

    number: int
    messages: list[Message]
    delivery: str = "whole"
    data: bytes = b""
    # Where ``data`` is parted, and how long each pause is.
    cuts: list[int] = field(default_factory=list)
    pause_s: float = 0.0
    end: End = End.READ
    # How long the server may take before the connection is ended, where it may wait for more.
    grace_s: float = 0.0
    # HTTP/2: how many bytes of the body are sent, None: all of it.
    body_bytes: int | None = None

    @property
    def operation(self) -> str:
        """The operation that it began as."""
        return self.messages[0].operation

    @property
    def mutations(self) -> list[str]:
        """The changes that were made to it."""
        wire = [] if self.delivery == "whole" else [f"connection: {self.delivery}"]
        return [*self.messages[0].mutations, *wire] or ["none"]

    @property
    def is_kept(self) -> bool:
        """Whether the connection may be used before and after."""
        return self.end == End.READ and all(message.is_kept() for message in self.messages)


class Planner:
    """Makes plans."""

    def __init__(self, corpus: Sequence[Case], seed: int) -> None:
        self._seed = seed
        self._cases: dict[str, list[Case]] = {}
        for case in corpus:
            self._cases.setdefault(case.operation, []).append(case)
        self._labels = sorted(self._cases)
        self._weights = [_WEIGHT if len(self._cases[label]) > 1 else _FIXED_WEIGHT for label in self._labels]

    def plan(self, number: int) -> Plan:
        """The plan of a number."""
        random = Random(f"{self._seed}/{number}")
        message = self._message(random)
        mutate(random, message, random.choice(_COUNTS))
        plan = Plan(number, [message])
        _DELIVERIES[random.choices(_NAMES, _DELIVERY_WEIGHTS)[0]](self, random, plan)
        return plan

    def _message(self, random: Random) -> Message:
        label = random.choices(self._labels, self._weights)[0]
        message = random.choice(self._cases[label]).message()
        if random.random() < _AIMED:
            aim(random, message)
        return message

    # Ways to send it.

    def _whole(self, random: Random, plan: Plan) -> None:
        plan.data = plan.messages[0].rendered()
        if plan.messages[0].expect == Expect.ANYTHING:
            plan.grace_s = random.choice([0.0, 0.01, 0.05])

    def _in_pieces(self, random: Random, plan: Plan) -> None:
        """Parted anywhere; some byte by byte at the beginning."""
        self._whole(random, plan)
        plan.delivery = "pieces"
        size = len(plan.data)
        cuts = range(1, min(size, 30)) if random.random() < 0.2 else (random.randrange(size + 1) for _ in range(random.choice([1, 2, 5])))
        plan.cuts = sorted(set(cuts))
        plan.pause_s = random.choice([0.0, 0.001, 0.005])

    def _pipelined(self, random: Random, plan: Plan) -> None:
        """Several at once, the answers in their order."""
        if not plan.messages[0].is_kept():
            self._whole(random, plan)
            return
        plan.delivery = "pipelined"
        others = [self._message(random) for _ in range(random.choice([1, 2, 5, 20]))]
        at = random.randrange(len(others) + 1)
        plan.messages = [*others[:at], plan.messages[0], *others[at:]]
        plan.data = b"".join(message.rendered() for message in plan.messages)
        # The first one counts as the plan's.
        plan.messages[0].mutations = plan.messages[0].mutations or plan.messages[at].mutations

    def _cut(self, random: Random, plan: Plan) -> None:
        """Broken off at any byte, politely or not."""
        plan.delivery = "cut"
        data = plan.messages[0].rendered()
        plan.data = data[: random.randrange(len(data) + 1)]
        plan.end = random.choice([End.SHUT, End.SHUT, End.CLOSE, End.RESET])
        plan.grace_s = random.choice([0.0, 0.0, 0.002, 0.02])
        plan.messages[0].at_least(Expect.ANYTHING)

    def _flipped(self, random: Random, plan: Plan) -> None:
        """Bits turned over anywhere, in the head most of all."""
        _without_head(plan)
        plan.delivery = "flipped"
        data = bytearray(plan.messages[0].rendered())
        reach = len(plan.messages[0].head()) if random.random() < 0.8 else len(data)
        for _ in range(random.choice([1, 1, 3, 10])):
            data[random.randrange(reach)] ^= 1 << random.randrange(8)
        self._as_garbage(random, plan, bytes(data))

    def _garbage(self, random: Random, plan: Plan) -> None:
        """Something else before the request line."""
        _without_head(plan)
        plan.delivery = "garbage"
        self._as_garbage(
            random, plan, random.choice([*_GARBAGE, random.randbytes(random.choice([1, 10, 3_000]))]) + plan.messages[0].rendered()
        )

    def _as_garbage(self, random: Random, plan: Plan, data: bytes) -> None:
        plan.data = data
        plan.end = End.SHUT
        plan.grace_s = random.choice([0.0, 0.01, 0.05])
        plan.messages[0].at_least(Expect.ANYTHING)

    def _http2(self, random: Random, plan: Plan) -> None:
        """As a stream of its own, or several at once."""
        message = plan.messages[0]
        if not _fits_http2(message):
            self._whole(random, plan)
            return
        plan.delivery = "http2"
        if random.random() < 0.2:
            plan.messages += [self._message(random) for _ in range(random.choice([1, 5, 20]))]

    def _http2_cut(self, random: Random, plan: Plan) -> None:
        """A stream that is broken off."""
        if not _fits_http2(plan.messages[0]):
            self._cut(random, plan)
            return
        plan.delivery = "http2 cut"
        plan.body_bytes = random.randrange(len(plan.messages[0].sent_body()) + 1)
        plan.end = random.choice([End.RESET, End.RESET, End.RESET, End.CLOSE])
        plan.grace_s = random.choice([0.0, 0.002, 0.02])
        plan.messages[0].at_least(Expect.ANYTHING)

    def _http2_frames(self, random: Random, plan: Plan) -> None:
        """The preface and frames that break the rules."""
        plan.delivery = "http2 frames"
        self._as_garbage(random, plan, broken_frames(random, plan.messages[0]))


def _without_head(plan: Plan) -> None:
    """No HEAD where nobody can tell afterwards which answer is its: it has no body."""
    if plan.messages[0].method == b"HEAD":
        plan.messages[0].method = b"OPTIONS"


_GARBAGE = [
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b" ",
        b"\x00",
        b"\xef\xbb\xbf",
        b"GET\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\r",
        b"\r\n" * 500,
        b"GET / \r\n\r\n",
    ),
    *(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32,
        b"\x05\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *(
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n",
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/1.1\r\nhost",
        b"x" * 5_000,
        b"*1\r\n$4\r\nPING\r\n",
    ),
]
_DELIVERIES = {
    "whole": Planner._whole,
    "pieces": Planner._in_pieces,
    "pipelined": Planner._pipelined,
    "cut": Planner._cut,
    "flipped": Planner._flipped,
    "garbage": Planner._garbage,
    "http2": Planner._http2,
    "http2 cut": Planner._http2_cut,
    "http2 frames": Planner._http2_frames,
}
_NAMES = list(_DELIVERIES)
_DELIVERY_WEIGHTS = [54, 8, 4, 7, 4, 3, 14, 3, 3]


def _fits_http2(message: Message) -> bool:
    """Whether it is a request that HTTP/2 can carry as it is: its answer is owed there, too."""
    names = [name.lower() for name, _ in message.headers]
    of_the_connection = {b"connection", b"upgrade", b"te", b"keep-alive", b"http2-settings", b"host"}
    return (
        message.expect == Expect.ANSWER
        and message.framing is None
        and message.version == b"HTTP/1.1"
        and names.count(b"host") <= 1
        and not of_the_connection & set(names) - {b"host"}
        and re.fullmatch(rb"[A-Z]+", message.method) is not None
        and re.fullmatch(rb"/[!-~]*", message.target) is not None
        # The limit is 64 KiB, with 32 bytes more for each header.
        and sum(len(name) + len(value) + 32 for name, value in message.headers) + len(message.target) < 60_000
    )
