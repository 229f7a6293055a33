"""The simulated cluster: brokers that share what all replicas have, and say who leads and coordinates what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from random import Random
from typing import Any, Final

from ticketmaster.broker.port import TopicPartition
from ticketmaster.simulation.kafka import codes, wire
from ticketmaster.simulation.kafka.connection import Answer
from ticketmaster.simulation.kafka.groups import Group, Joined, JoinRequest, Note, Synced
from ticketmaster.simulation.kafka.log import Aborted, OnStable, PartitionLog, keys_of, producer_of
from ticketmaster.simulation.kafka.nodes import Deposed, Ends, Node
from ticketmaster.simulation.kafka.transactions import Identity, Transactions
from ticketmaster.simulation.kafka.wire import Asked
from ticketmaster.simulation.loop import VirtualLoop

PORT: Final = 9092
_CLUSTER: Final = "simulated"
_EARLIEST: Final = -2
_READ_COMMITTED: Final = 1
_NO_OFFSET: Final = -1
_NO_SESSION: Final = 0
_NO_REPLICA: Final = -1
_PARTITION_BYTES_MAX: Final = 20_000
_GROUP_TYPE: Final = 0
_TRANSACTION_TYPE: Final = 1
_TRANSACTION_VERSIONS: Final = {True: 2, False: 0}
_LOADING_S: Final = (0.0, 0.05, 0.5, 2.0)

# A coordinated thing: a group, or a transactional id.
What = tuple[int, str]


class Cluster:
    """All brokers. ``on_commit(group, offsets)`` and ``on_stable(partition, batch)`` see what becomes final.

    ``on_violation`` is told what no client may ask for.
    """

    def __init__(
        self,
        nodes: int,
        loop: VirtualLoop,
        random: Random,
        note: Note,
        on_stable: OnStable,
        on_commit: Callable[[str, Mapping[TopicPartition, int]], None],
        on_violation: Callable[[str], None],
    ) -> None:
        self.nodes = [Node(number, self.handle) for number in range(1, nodes + 1)]
        self.deposed = Deposed(loop.time)
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.groups: dict[str, Group] = {}
        # Partitions that have too few replicas to be written to; and when somebody was last refused one for that.
        self.sick: set[TopicPartition] = set()
        self.refused_at_s: dict[TopicPartition, float] = {}
        # Told what a client knows to be in the log that it wrote outside transactions: (client, partition, keys).
        self.on_acknowledged: Callable[[str, TopicPartition, list[bytes]], None] = lambda *_: None
        self._loop = loop
        self._random = random
        self._note = note
        self._on_stable = on_stable
        self._on_commit = on_commit
        self._on_violation = on_violation
        self._outside = Context()
        self._leaders: dict[TopicPartition, Node] = {}
        self._coordinators: dict[What, Node] = {}
        self._loading_until_s: dict[What, float] = {}
        self.transactions = Transactions(newer=random.random() < 0.5, logs=self.logs, group=self.group, random=random, later=self.later)
        self._handlers: Final[dict[str, Callable[[Node, Asked, Answer], None]]] = {
            "ApiVersion": self._api_versions,
            "ApiVersions": self._features,
            "Metadata": self._metadata,
            "FindCoordinator": self._find_coordinator,
            "Produce": self._produce,
            "Fetch": self._fetch,
            "Offset": self._offsets,
            "OffsetFetch": self._group_offsets,
            "JoinGroup": self._join,
            "SyncGroup": self._sync,
            "Heartbeat": self._heartbeat,
            "LeaveGroup": self._leave,
            "InitProducerId": self._init_producer,
            "AddPartitionsToTxn": self._add_partitions,
            "AddOffsetsToTxn": self._add_offsets,
            "TxnOffsetCommit": self._move_offsets,
            "EndTxn": self._end_transaction,
        }

    def create_topic(self, name: str, partitions: int, *, timed_by_log: bool = False) -> None:
        """Creates a topic, if there is none; ``timed_by_log``: its records have the time at which they come."""
        for number in range(partitions):
            source = TopicPartition(name, number)
            if source not in self.logs:
                self.logs[source] = PartitionLog(source, self._on_stable, timed_by_log=timed_by_log)
                self._leaders[source] = self._random.choice(self.nodes)

    def later(self, delay_s: float, action: Callable[[], None]) -> object:
        """Does something in a while, in nobody's process."""
        return self._loop.call_later(delay_s, action, context=self._outside)

    def group(self, name: str) -> Group:
        """A group, made when it is first asked for."""
        if name not in self.groups:
            self.groups[name] = Group(name, self._random, self.later, self._note, self._on_commit)
        return self.groups[name]

    # Who leads and coordinates.

    def _up(self, besides: Node | None = None) -> list[Node]:
        return [node for node in self.nodes if node.is_up and node is not besides] or [node for node in self.nodes if node.is_up]

    def _coordinator(self, what: What) -> Node | None:
        node = self._coordinators.get(what)
        if node is None and (candidates := self._up()):
            node = self._coordinators[what] = self._random.choice(candidates)
        return node

    def move_leader(self, source: TopicPartition) -> None:
        """Another broker leads."""
        self._leaders[source] = self._random.choice(self._up(self._leaders[source]) or self.nodes)

    def move_coordinator(self, what: What) -> None:
        """Another broker coordinates: it reads what there is, and then it is behind for a moment."""
        self._coordinators[what] = self._random.choice(self._up(self._coordinators.get(what)) or self.nodes)
        self._loading_until_s[what] = self._loop.time() + self._random.choice(_LOADING_S)
        if what[0] == _GROUP_TYPE and what[1] in self.groups:
            self.groups[what[1]].move()

    @property
    def coordinated(self) -> list[What]:
        """Groups and transactional ids that somebody has asked for."""
        return list(self._coordinators)

    def take_down(self, node: Node) -> None:
        """A broker ends: others lead and coordinate."""
        node.is_up = False
        self._hand_over(node)

    def depose(self, node: Node, seconds: float) -> None:
        """Others lead and coordinate, and a broker does not know that for a while."""
        led = {source: self._known(source) for source, leader in self._leaders.items() if leader is node}
        self.deposed.add(node, seconds, dict(self._leaders), led)
        self._hand_over(node)

    def _hand_over(self, node: Node) -> None:
        for source in [source for source, leader in self._leaders.items() if leader is node]:
            self.move_leader(source)
        for what in [what for what, coordinator in self._coordinators.items() if coordinator is node]:
            self.move_coordinator(what)

    def _known(self, source: TopicPartition) -> Ends:
        return Ends(self.logs[source].end, self.logs[source].stable_end)

    def _told_by(self, node: Node, source: TopicPartition) -> Ends | None:
        """Where a log ends by a broker that leads it, or takes itself for its leader."""
        return self.deposed.ends(node, source) or (self._known(source) if self._leaders[source] is node else None)

    def _refused(self, node: Node, what: What) -> int:
        """Why a broker does not coordinate; 0 if it does."""
        if self._coordinator(what) is not node:
            return codes.NOT_COORDINATOR
        return codes.COORDINATOR_LOAD_IN_PROGRESS if self._loop.time() < self._loading_until_s.get(what, 0.0) else codes.NONE

    # What is asked.

    def handle(self, node: Node, asked: Asked, answer: Answer) -> None:
        """Sees to a request that has come to a broker."""
        self._handlers[asked.name](node, asked, answer)

    def _api_versions(self, _node: Node, asked: Asked, answer: Answer) -> None:
        answer(asked.answer(codes.NONE, wire.versions()))

    def _features(self, _node: Node, asked: Asked, answer: Answer) -> None:
        spoken: list[Any] = [(*version, {}) for version in wire.versions()]
        answer(asked.answer(codes.NONE, spoken, 0, wire.feature_tags(_TRANSACTION_VERSIONS[self.transactions.newer])))

    def _metadata(self, node: Node, asked: Asked, answer: Answer) -> None:
        wanted = None if asked.request.topics is None else set(asked.request.topics)
        if wanted and asked.request.allow_auto_topic_creation:
            # A real cluster may create them, whoever wants only to look.
            self._on_violation(f"{asked.client_id} asks for topics in a way that creates them: {sorted(wanted)}")
        numbers = [node.number for node in self.nodes]
        topics: dict[str, list[Any]] = defaultdict(list)
        for source, leader in (self.deposed.leaders(node) or self._leaders).items():
            if wanted is None or source.topic in wanted:
                number, code = (leader.number, codes.NONE) if leader.is_up else (-1, codes.LEADER_NOT_AVAILABLE)
                topics[source.topic].append((code, source.partition, number, numbers, numbers, []))
        found: list[Any] = [(codes.NONE, topic, False, partitions) for topic, partitions in topics.items()]
        found += [(codes.UNKNOWN_TOPIC_OR_PARTITION, topic, False, []) for topic in sorted((wanted or set()) - topics.keys())]
        brokers = [(node.number, node.host, PORT, None) for node in self.nodes if node.is_up]
        answer(asked.answer(0, brokers, _CLUSTER, brokers[0][0], found))

    def _find_coordinator(self, _node: Node, asked: Asked, answer: Answer) -> None:
        coordinator = self._coordinator((asked.request.coordinator_type, asked.request.coordinator_key))
        if coordinator is None or not coordinator.is_up:
            answer(asked.answer(0, codes.COORDINATOR_NOT_AVAILABLE, None, -1, "", -1))
        else:
            answer(asked.answer(0, codes.NONE, None, coordinator.number, coordinator.host, PORT))

    # Logs.

    def _produce(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        flexible = request.FLEXIBLE_VERSION
        topics: list[Any] = []
        acknowledged: list[tuple[TopicPartition, bytes]] = []
        for topic, partitions, *_tags in request.topics:
            written: list[Any] = []
            for number, data, *_more in partitions:
                code, offset = self._written(node, asked, TopicPartition(topic, number), data)
                if not code and request.transactional_id is None:
                    acknowledged.append((TopicPartition(topic, number), data))
                plain = (number, code, offset, -1, 0)
                written.append((*plain, [], None, {}) if flexible else plain)
            topics.append((topic, written, {}) if flexible else (topic, written))

        def delivered() -> None:
            for source, data in acknowledged:
                self.on_acknowledged(asked.client_id, source, keys_of(data))

        answer(asked.answer(topics, 0, {}) if flexible else asked.answer(topics, 0), delivered)

    def _written(self, node: Node, asked: Asked, source: TopicPartition, data: bytes) -> tuple[int, int]:
        if self._leaders[source] is not node:
            # Of one that does not know, no replica takes it.
            return codes.NOT_ENOUGH_REPLICAS if self.deposed.ends(node, source) else codes.NOT_LEADER_OR_FOLLOWER, -1
        if asked.request.transactional_id is not None:
            code = self.transactions.may_write(asked.request.transactional_id, Identity(*producer_of(data)), source)
            if code:
                return code, -1
        if source in self.sick:
            self.refused_at_s[source] = self._loop.time()
            return codes.NOT_ENOUGH_REPLICAS, -1
        return self.logs[source].append(data)

    def _fetch(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        asked_for = [
            (TopicPartition(topic, number), offset, bytes_max)
            for topic, partitions in request.topics
            for number, _, offset, _, bytes_max in partitions
        ]
        answered = False

        def finish() -> None:
            nonlocal answered
            if not answered and node.is_up:
                answered = True
                answer(self._fetched(node, asked, asked_for))

        if any((ends := self._told_by(node, source)) is None or offset != ends.stable_end for source, offset, _ in asked_for):
            finish()
            return
        for source, _, _ in asked_for:
            self.logs[source].waiting.append(finish)
        self.later(request.max_wait_time / 1000, finish)

    def _fetched(self, node: Node, asked: Asked, asked_for: Iterable[tuple[TopicPartition, int, int]]) -> bytes:
        topics: dict[str, list[Any]] = defaultdict(list)
        committed = asked.request.isolation_level == _READ_COMMITTED
        for source, offset, bytes_max in asked_for:
            log, code, ends = self.logs[source], codes.NONE, self._told_by(node, source)
            if ends is None:
                code, ends = codes.NOT_LEADER_OR_FOLLOWER, self._known(source)
            elif offset > ends.end:
                code = codes.OFFSET_OUT_OF_RANGE
            data, aborted = b"", list[Aborted]()
            if not code:
                data, aborted = log.read(offset, ends.stable_end if committed else ends.end, min(bytes_max, _PARTITION_BYTES_MAX))
            shown = [(one.producer_id, one.first_offset) for one in aborted] if committed else []
            topics[source.topic].append((source.partition, code, *ends, 0, shown, _NO_REPLICA, data))
        return asked.answer(0, codes.NONE, _NO_SESSION, list(topics.items()))

    def _offsets(self, node: Node, asked: Asked, answer: Answer) -> None:
        committed = asked.request.isolation_level == _READ_COMMITTED
        topics: list[Any] = []
        for topic, partitions in asked.request.topics:
            found: list[Any] = []
            for number, timestamp in partitions:
                ends = self._told_by(node, TopicPartition(topic, number))
                if ends is None:
                    found.append((number, codes.NOT_LEADER_OR_FOLLOWER, -1, -1))
                else:
                    end = ends.stable_end if committed else ends.end
                    found.append((number, codes.NONE, -1, 0 if timestamp == _EARLIEST else end))
            topics.append((topic, found))
        answer(asked.answer(0, topics))

    # Groups.

    def _group_offsets(self, node: Node, asked: Asked, answer: Answer) -> None:
        name = asked.request.consumer_group
        code = self._refused(node, (_GROUP_TYPE, name))
        offsets = self.group(name).committed()
        topics = [
            (
                topic,
                [(number, _NO_OFFSET if code else offsets.get(TopicPartition(topic, number), _NO_OFFSET), "", code) for number in numbers],
            )
            for topic, numbers in asked.request.topics
        ]
        answer(asked.answer(0, topics, code))

    def _join(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request

        def tell(joined: Joined) -> None:
            answer(asked.answer(0, *joined))

        if code := self._refused(node, (_GROUP_TYPE, request.group)):
            tell(Joined(code))
            return
        protocols = [(name, bytes(told)) for name, told in request.group_protocols]
        session_s, rebalance_s = request.session_timeout / 1000, request.rebalance_timeout / 1000
        self.group(request.group).join(JoinRequest(request.member_id, asked.client_id, session_s, rebalance_s, protocols), tell)

    def _sync(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request

        def tell(synced: Synced) -> None:
            answer(asked.answer(0, *synced))

        code = self._refused(node, (_GROUP_TYPE, request.group))
        if code:
            # A group that is still being read is joined anew.
            tell(Synced(codes.REBALANCE_IN_PROGRESS if code == codes.COORDINATOR_LOAD_IN_PROGRESS else code))
            return
        self.group(request.group).sync(request.member_id, request.generation_id, dict(request.group_assignment), tell)

    def _heartbeat(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        code = self._refused(node, (_GROUP_TYPE, request.group))
        if code == codes.COORDINATOR_LOAD_IN_PROGRESS:
            # Nobody can tell yet: it is answered as if all were well.
            code = codes.NONE
        elif not code:
            code = self.group(request.group).heartbeat(request.member_id, request.generation_id)
        answer(asked.answer(0, code))

    def _leave(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        code = self._refused(node, (_GROUP_TYPE, request.group)) or self.group(request.group).leave(request.member_id)
        answer(asked.answer(0, code))

    # Transactions.

    def _init_producer(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        if request.transactional_id is None:
            answer(asked.answer(0, codes.NONE, self.transactions.new_producer_id(), 0))
            return
        code, who = self._refused(node, (_TRANSACTION_TYPE, request.transactional_id)), Identity(-1, -1)
        if not code:
            code, who = self.transactions.init(request.transactional_id, request.transaction_timeout_ms)
        answer(asked.answer(0, code, *(Identity(-1, -1) if code else who)))

    def _add_partitions(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        # Clients name them in the order of a set, which every process has another one of.
        sources = sorted(TopicPartition(topic, number) for topic, numbers in request.topics for number in numbers)
        code = self._refused(node, (_TRANSACTION_TYPE, request.transactional_id))
        code = code or self.transactions.add(request.transactional_id, Identity(request.producer_id, request.producer_epoch), sources)
        answer(asked.answer(0, [(topic, [(number, code) for number in numbers]) for topic, numbers in request.topics]))

    def _add_offsets(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        who = Identity(request.producer_id, request.producer_epoch)
        code = self._refused(node, (_TRANSACTION_TYPE, request.transactional_id))
        answer(asked.answer(0, code or self.transactions.add(request.transactional_id, who, (), request.group_id)))

    def _move_offsets(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        flexible = request.FLEXIBLE_VERSION
        offsets = {TopicPartition(topic, number): offset for topic, each, *_ in request.topics for number, offset, *_ in each}
        code = self._refused(node, (_GROUP_TYPE, request.group_id))
        if not code:
            who = Identity(request.producer_id, request.producer_epoch)
            code = self.transactions.move(request.transactional_id, who, request.group_id, offsets)
        if not code:
            self.group(request.group_id).has_written()
        if flexible:
            answer(asked.answer(0, [(topic, [(number, code, {}) for number, *_ in each], {}) for topic, each, *_ in request.topics], {}))
        else:
            answer(asked.answer(0, [(topic, [(number, code) for number, *_ in each]) for topic, each in request.topics]))

    def _end_transaction(self, node: Node, asked: Asked, answer: Answer) -> None:
        request = asked.request
        commits = request.commits if request.FLEXIBLE_VERSION else request.transaction_result
        who = Identity(request.producer_id, request.producer_epoch)
        code = self._refused(node, (_TRANSACTION_TYPE, request.transactional_id))
        if not code:
            code, who = self.transactions.end(request.transactional_id, who, commits=commits)
        answer(asked.answer(0, code, *who, {}) if request.FLEXIBLE_VERSION else asked.answer(0, code))
