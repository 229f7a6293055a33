"""A cluster in a folder: cluster.json tells which servers belong to it, on which ports, and which processes they are."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.cache import locked
from scripts.errors import ScriptError, UsageError
from scripts.kafka import brokers, registry
from scripts.kafka.kits import KAFKA, REGISTRY, Say, installed, java, java_options, provide, tail
from scripts.kafka.processes import Process, spawn

FILE = "cluster.json"
# The same for a client, as `ticketmaster -c` takes it.
CLIENT_FILE = "client.properties"
# What the brokers are told besides.
OWN_SETTINGS_FILE = "broker.properties"
BROKERS = (1, 3)
# Below the ports that systems give to outgoing connections: a client that keeps trying to reach a stopped server must not get that
# server's port for its own end of the connection.
PORTS = range(20_000, 30_000)
POLL_S = 0.05
STOP_TIMEOUT_S = 20.0
REGISTRY_NAME = "registry"


@dataclass(frozen=True)
class Server:
    """A broker or the registry; its `name` is its folder, too. A broker's ports are its clients' and its controller's."""

    name: str
    ports: tuple[int, ...]
    process: Process | None = None

    @property
    def node(self) -> int | None:
        """A broker's id."""
        return None if self.name == REGISTRY_NAME else int(self.name.removeprefix("broker-"))

    def is_running(self) -> bool:
        """Whether its process is there, suspended or not."""
        return self.process is not None and self.process.is_running()

    def answers(self, others: frozenset[int] = frozenset()) -> bool:
        """Whether it serves, and a broker knows the others to serve."""
        if self.node is None:
            return registry.answers(self.ports[0])
        return {self.node, *others} <= brokers.answering(self.ports[0])

    def state(self) -> str:
        """In one word: silent is a server that is starting, suspended or in trouble."""
        if not self.is_running():
            return "down"
        return "up" if self.answers() else "silent"


@dataclass(frozen=True)
class Plan:
    """What cluster.json holds."""

    cluster_id: str
    servers: Mapping[str, Server] = field(default_factory=dict)

    @property
    def brokers(self) -> Sequence[Server]:
        """In the order of their ids."""
        return [server for server in self.servers.values() if server.node is not None]

    def having(self, server: Server) -> Plan:
        """With a server added or replaced."""
        return replace(self, servers={**self.servers, server.name: server})

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        own = self.servers.get(REGISTRY_NAME)
        return {
            "cluster_id": self.cluster_id,
            "bootstrap_servers": ",".join(f"{brokers.HOST}:{server.ports[0]}" for server in self.brokers),
            "registry_url": registry.url(own.ports[0]) if own else None,
            "nodes": [
                {"id": server.node, "port": server.ports[0], "controller_port": server.ports[1], **_process_json(server)}
                for server in self.brokers
            ],
            "registry": {"port": own.ports[0], **_process_json(own)} if own else None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """What `to_json` gave."""
        plan = cls(data["cluster_id"])
        for node in data["nodes"]:
            plan = plan.having(Server(f"broker-{node['id']}", (node["port"], node["controller_port"]), _process(node)))
        own = data["registry"]
        return plan.having(Server(REGISTRY_NAME, (own["port"],), _process(own))) if own else plan


def _process_json(server: Server) -> dict[str, Any]:
    process = server.process
    return {"pid": process.pid if process else None, "started": process.started if process else None}


def _process(data: dict[str, Any]) -> Process | None:
    return Process(data["pid"], data["started"]) if data["pid"] else None


class Folder:
    """The cluster of a folder. Commands may run at the same time: each changes cluster.json under the folder's lock only."""

    def __init__(self, path: Path, say: Say) -> None:
        self.path = path.absolute()
        self._say = say

    def read(self) -> Plan:
        """What cluster.json says now."""
        try:
            return Plan.from_json(json.loads((self.path / FILE).read_text()))
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no cluster: make one with `scripts/kafka/cluster start {self.path}`") from None
        except (OSError, ValueError, KeyError) as cause:
            raise ScriptError(f"{self.path / FILE} can't be read: {cause!r}") from cause

    def start(self, broker_count: int | None, *, settings: Sequence[str], with_registry: bool, node: int | None, timeout_s: float) -> Plan:
        """Starts what isn't running, all or one broker, and returns when it answers; else what it started is killed again."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise UsageError(f"{self.path} can't be made: {cause.strerror}") from cause
        new: list[str] = []
        try:
            with locked(self.path):
                plan = self._complete(broker_count, with_registry=with_registry)
                # From here on: what is fetched before the first start of all takes as long as the network does.
                deadline_s = time.monotonic() + timeout_s
                if settings:
                    (self.path / OWN_SETTINGS_FILE).write_text("".join(f"{setting}\n" for setting in settings))
                chosen = [self._server(plan, node)] if node is not None else list(plan.servers.values())
                self._format(plan, chosen)
                for server in chosen:
                    if not server.is_running():
                        plan = plan.having(replace(server, process=self._spawn(plan, server)))
                        new.append(server.name)
                        self._write(plan)
            self._wait([plan.servers[server.name] for server in chosen], deadline_s, timeout_s)
        except BaseException:
            for name in new:
                self._end(self.read().servers[name], signal.SIGKILL, time.monotonic() + STOP_TIMEOUT_S)
            raise
        return plan

    def stop(self, node: int | None, number: signal.Signals) -> None:
        """Ends all servers or one broker. What does not end in time is killed."""
        self.read()
        with locked(self.path):
            plan = self.read()
            chosen = [self._server(plan, node)] if node is not None else list(plan.servers.values())
            for server in chosen:
                self._signal(server, number)
            deadline_s = time.monotonic() + STOP_TIMEOUT_S
            for server in chosen:
                self._end(server, number, deadline_s)
                plan = plan.having(replace(server, process=None))
            self._write(plan)

    def send(self, node: int, number: signal.Signals) -> None:
        """Suspends or resumes a broker."""
        server = self._server(self.read(), node)
        if server.process is None or not server.process.send(number):
            raise ScriptError(f"broker {node} of {self.path} is not running")

    def status(self) -> dict[str, Any]:
        """cluster.json and the path of a client's file, with a `state` for each server: up, silent or down."""
        plan = self.read()
        data = plan.to_json()
        for server, told in zip(plan.brokers, data["nodes"], strict=True):
            told["state"] = server.state()
        if data["registry"]:
            data["registry"]["state"] = plan.servers[REGISTRY_NAME].state()
        return data | {"client_file": str(self.path / CLIENT_FILE)}

    # --- The parts ---------------------------------------------------------------------------------------------------

    def _complete(self, broker_count: int | None, *, with_registry: bool) -> Plan:
        """The plan of the folder, made or extended."""
        if (self.path / FILE).exists():
            plan = self.read()
            if broker_count not in {None, len(plan.brokers)}:
                raise UsageError(f"{self.path} holds a cluster of {len(plan.brokers)}: leave --brokers out, or take another folder")
        elif any(self.path.iterdir()):
            raise UsageError(f"{self.path} is not empty and holds no cluster: take another folder")
        else:
            ports = iter(free_ports(2 * (broker_count or 1)))
            plan = Plan(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
            for node in range(1, 1 + (broker_count or 1)):
                plan = plan.having(Server(f"broker-{node}", (next(ports), next(ports))))
        if with_registry and REGISTRY_NAME not in plan.servers:
            plan = plan.having(Server(REGISTRY_NAME, tuple(free_ports(1))))
        java()
        provide([KAFKA, REGISTRY] if REGISTRY_NAME in plan.servers else [KAFKA], self._say)
        self._write(plan)
        return plan

    def _write(self, plan: Plan) -> None:
        """At once or not at all: others read it at any time."""
        data = plan.to_json()
        keys = {"bootstrap.servers": data["bootstrap_servers"], "schema.registry.url": data["registry_url"]}
        texts = {FILE: json.dumps(data, indent=2) + "\n", CLIENT_FILE: "".join(f"{key}={value}\n" for key, value in keys.items() if value)}
        for name, text in texts.items():
            new = self.path / f"{name}.new"
            new.write_text(text)
            new.replace(self.path / name)

    def _server(self, plan: Plan, node: int) -> Server:
        if f"broker-{node}" not in plan.servers:
            raise UsageError(f"{self.path} has no broker {node}: it has {', '.join(str(server.node) for server in plan.brokers)}")
        return plan.servers[f"broker-{node}"]

    def _own_settings(self) -> str:
        """What the folder's owner wants otherwise: of a key that is there twice, Kafka takes the last."""
        try:
            return (self.path / OWN_SETTINGS_FILE).read_text()
        except FileNotFoundError:
            return ""

    def _format(self, plan: Plan, servers: Iterable[Server]) -> None:
        """Makes the folders of new servers, for all of them at the same time."""
        ports = {server.node: brokers.Ports(*server.ports) for server in plan.brokers if server.node is not None}
        running: list[tuple[Server, subprocess.Popen[str]]] = []
        for server in servers:
            folder = self.path / server.name
            folder.mkdir(exist_ok=True)
            if server.node is None:
                continue
            (folder / "server.properties").write_text(brokers.properties(server.node, ports) + self._own_settings())
            (folder / "log4j2.properties").write_text(brokers.LOG4J)
            if (folder / "data" / "meta.properties").exists():
                continue
            arguments = ["kafka.tools.StorageTool", "format", f"--cluster-id={plan.cluster_id}", "--config", "server.properties"]
            command = [*_kafka("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"), *arguments]
            running.append((server, _piped(command, folder)))
        for server, process in running:
            output, _ = process.communicate()
            if process.returncode:
                raise ScriptError(f"the data folder of {server.name} could not be made:\n{tail(output)}")

    def _spawn(self, plan: Plan, server: Server) -> Process:
        folder = self.path / server.name
        if server.node is None:
            command = registry.command(java(), java_options(), installed(REGISTRY), server.ports[0])
        else:
            command = [*_kafka(*brokers.java_options(len(plan.brokers)), *java_options()), "kafka.Kafka", "server.properties"]
        return spawn(command, folder, self._log(server))

    def _log(self, server: Server) -> Path:
        return self.path / server.name / "server.log"

    def _wait(self, servers: Sequence[Server], deadline_s: float, timeout_s: float) -> None:
        """Until each of them answers, and all brokers among them know each other."""
        nodes = frozenset(server.node for server in servers if server.node is not None)
        missing = list(servers)
        while missing:
            for server in missing:
                if not server.is_running():
                    raise ScriptError(f"{server.name} ended while it was starting; {self._log_tail(server)}")
            missing = [server for server in missing if not server.answers(nodes)]
            if missing and time.monotonic() > deadline_s:
                raise ScriptError(f"{missing[0].name} does not answer after {timeout_s:.0f} s; {self._log_tail(missing[0])}")
            time.sleep(POLL_S if missing else 0)

    def _log_tail(self, server: Server) -> str:
        log = self._log(server)
        return f"its log {log} ends:\n{tail(log.read_text(errors='replace'))}"

    def _signal(self, server: Server, number: signal.Signals) -> None:
        if server.process is not None and server.process.send(number):
            # A suspended process hears nothing but SIGKILL.
            server.process.send(signal.SIGCONT)

    def _end(self, server: Server, number: signal.Signals, deadline_s: float) -> None:
        """Waits for a server that was told to end."""
        if number == signal.SIGKILL:
            self._signal(server, number)
        if server.process is None or server.process.wait(deadline_s):
            return
        self._say(f"{server.name} has not ended in {STOP_TIMEOUT_S:.0f} s: killing it")
        server.process.send(signal.SIGKILL)
        if not server.process.wait(time.monotonic() + STOP_TIMEOUT_S):
            raise ScriptError(f"{server.name}, process {server.process.pid}, does not end even by SIGKILL")


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((brokers.HOST, port))
            found.add(port)
    return list(found)


def _kafka(*options: str) -> list[str]:
    return [java(), *options, "-cp", f"{installed(KAFKA)}/*"]


def _piped(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
