"""Tracing changes nothing that is decided, and what comes of a traced record carries its trace on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine import CHANGELOG, COUNTS, COUNTS_STORE, TOPOLOGY, WORDS, batch
from ticketmaster.broker.port import Headers, Pair
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.task import Task
from ticketmaster.streams.topology import CommitPlan, Outputs, Processor, Stores, Topology
from ticketmaster.telemetry.tracing import Kind, Span, Tracer

UNREADABLE = b"?"


class NotedSpan(Span):
    """A span that says whose child it is."""

    def __init__(self, name: str, parent: Headers) -> None:
        self.name = name
        self.headers = [("traceparent", parent[0][1] + b">" + name.encode())]
        self.error: str | None = None

    def end(self, error: str = "") -> None:
        self.error = error


class NotingTracer(Tracer):
    """Traces what has a parent, but for those whose context says "no"."""

    enabled = True

    def __init__(self) -> None:
        self.spans: list[NotedSpan] = []

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Headers,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[Headers] = (),
        start_ns: int | None = None,
    ) -> Span:
        if parent[0][1] == b"no":
            return super().start(name, kind, parent)
        self.spans.append(NotedSpan(name, parent))
        return self.spans[-1]


class Picky(Processor):
    """Counts words, as the other does, and rejects what can't be read."""

    def __init__(self, partition: int) -> None:
        self._inner = TOPOLOGY.new_processor(partition)

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        for at, record in enumerate(records):
            if record[0] == UNREADABLE:
                outputs.reject(at, "unreadable")
            else:
                self._inner.process(topic, [record], stores, outputs)

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        self._inner.give_up(topic, record, stores, outputs)

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        self._inner.end_transaction(stores, outputs)


PICKY = Topology(TOPOLOGY.application_id, TOPOLOGY.sources, TOPOLOGY.stores, Picky)
KEYS = st.lists(st.sampled_from([b"a", b"b", b"c", UNREADABLE]), min_size=1, max_size=12)


def planned(keys: Sequence[bytes], traced: Mapping[int, bytes], tracer: Tracer) -> CommitPlan:
    """The plan of one batch, some of whose records have a context."""
    task = Task(PICKY, 0, tracer)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))
    task.queue(batch(WORDS, keys, 7)._replace(headers={at: [("traceparent", context)] for at, context in traced.items()}))
    return task.decide(100)


@given(KEYS, st.data())
def test_what_is_decided_does_not_depend_on_what_is_traced(keys: list[bytes], data: st.DataObject) -> None:
    traced = data.draw(st.dictionaries(st.integers(0, len(keys) - 1), st.sampled_from([b"x", b"no"])))
    plain, tracer = planned(keys, {}, Tracer()), NotingTracer()

    plan = planned(keys, traced, tracer)

    assert plan.outputs == plain.outputs
    assert plan.offsets == plain.offsets
    assert plan.dead_letters == plain.dead_letters
    assert len(plan.spans) == len(tracer.spans) == sum(context == b"x" for context in traced.values())


def test_what_comes_of_a_traced_record_and_only_that_carries_its_trace() -> None:
    tracer = NotingTracer()

    plan = planned([b"a", UNREADABLE, b"b", b"a"], {1: b"one", 3: b"two"}, tracer)

    decided = f">decide {WORDS.topic}".encode()
    assert plan.outputs.headers == {COUNTS: {2: [("traceparent", b"two" + decided)]}}
    assert CHANGELOG not in plan.outputs.headers
    assert [span.error for span in tracer.spans] == ["unreadable", ""]
    assert [letter.offset for letter in plan.dead_letters] == [8]


def test_headers_mean_nothing_where_nothing_is_traced() -> None:
    plan = planned([b"a"], {0: b"one"}, Tracer())
    assert (plan.spans, plan.outputs.headers) == ([], {})
