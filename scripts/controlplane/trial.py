"""Applies the manifests to a control plane and checks what its controllers do: pods, disks, budgets, rollouts, evictions, deletion."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import yaml

from scripts.controlplane import kit
from scripts.controlplane.api import Object
from scripts.controlplane.definitions import definitions
from scripts.controlplane.plane import Plane, control_plane
from scripts.controlplane.stand_ins import CORE, StandIns, is_ready, sources
from scripts.deploy.manifests import LOCAL, NAMESPACE, ROLES, ROOT, Additions, documents, joined, kind, overlays, render
from scripts.deploy.nodes import nodes
from scripts.errors import ScriptError
from scripts.kafka.kits import tail
from scripts.programs import need

# For what takes seconds, on a machine with other work.
STEP_TIMEOUT_S: Final = 120.0
# For a whole `make deploy`.
COMMAND_TIMEOUT_S: Final = 240.0
POLL_S: Final = 0.2
# How long it is watched that something does not happen.
WATCH_S: Final = 2.0
IMAGE: Final = "registry.example/ticketmaster:"
SETS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
BUDGETS: Final = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
SLICES: Final = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"

# Each rollout goes pod by pod, and larger sizes differ from this one by numbers only.
ROLLED: Final = ("16-instance-perf",)


def trials(sizes: Sequence[str] = ()) -> Iterator[str]:
    """Tries these sizes wholly, or all, of which one cloud size is rolled out; one line of each. ScriptError: something is wrong."""
    with trial() as each:
        rolled = sizes or ROLLED
        for size in sizes or overlays():
            begin_s = time.monotonic()
            told = each.local() if size == LOCAL else each.cloud(size, roll=size in rolled)
            yield f"Kubernetes {kit.VERSION}, {size}: {told} ({time.monotonic() - begin_s:.0f} s)"


@contextmanager
def trial() -> Iterator[Trial]:
    """A control plane that knows all kinds, and what stands in for nodes."""
    with control_plane() as plane:
        stand_ins = StandIns(plane.api)
        found = Trial(plane, stand_ins)
        found.define()
        stand_ins.start()
        try:
            yield found
        finally:
            stand_ins.stop()


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial itself. Each part ends with a cluster in which nothing of ours is left."""

    plane: Plane
    stand_ins: StandIns

    def define(self) -> None:
        """Kinds of others."""
        self.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.dump_all(definitions(), Dumper=yaml.CSafeDumper))
        self.until("kinds are served", lambda: ", ".join(each["metadata"]["name"] for each in self._kinds() if not is_established(each)))

    def _kinds(self) -> list[Object]:
        return self.plane.api.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")

    def local(self) -> str:
        """`make deploy`, again with another image, and `make destroy`, as on a laptop."""
        self.stand_ins.have(nodes(LOCAL))
        # As docs/deployment.md has it: the operator is there before.
        self.kubectl("create", "namespace", NAMESPACE)
        self.make("deploy")
        first = list(yaml.safe_load_all(render(LOCAL)))
        self.check_running(first)
        self.stand_ins.forget()
        self.make("deploy", f"IMAGE={IMAGE}2")
        self.check_rolled(f"{IMAGE}2")
        self.check_running(first)
        self.make("destroy", f"CONFIRM={LOCAL}")
        self.check_gone()
        self.kubectl("delete", "namespace", NAMESPACE, f"--timeout={STEP_TIMEOUT_S:.0f}s")
        return "make deploy, an image rolled out by make deploy, make destroy"

    def cloud(self, size: str, *, roll: bool) -> str:
        """Everything at once by server-side apply; with `roll`, evictions and a rollout as well; the end of the namespace."""
        self.stand_ins.have(nodes(size))
        self.stand_ins.held = None
        objects = self.apply(size, "1")
        self.check_running(objects)
        self.check_spread_over_nodes()
        if roll:
            self.roll(size, objects)
        self.kubectl("delete", "namespace", NAMESPACE, f"--timeout={STEP_TIMEOUT_S:.0f}s")
        self.check_gone()
        counts = Counter(each["kind"] for each in objects)
        pods = sum(each["spec"]["replicas"] for each in objects if each["kind"] == "StatefulSet")
        told = f"{counts.total()} objects applied, {pods} pods on {len(nodes(size))} nodes, taken away"
        return f"{told}; before that evicted, stuck and rolled" if roll else told

    def roll(self, size: str, objects: Sequence[Object]) -> None:
        """Evictions, an image that never gets ready, and one that does."""
        self.check_evictions()
        self.check_stuck(size)
        self.stand_ins.forget()
        # As after a bad release: the next image is rolled out while the bad one is stuck.
        self.apply(size, "3")
        self.check_rolled(f"{IMAGE}3")
        self.check_running(objects)

    def apply(self, size: str, tag: str) -> list[Object]:
        """All objects of a size with this image, and the Secrets that `make deploy` makes."""
        texts = documents(render(size, Additions(image=f"{IMAGE}{tag}")))
        namespace = [each for each in texts if kind(each) == "Namespace"]
        self.server_side(joined(namespace))
        objects: list[Object] = list(yaml.safe_load_all(joined(texts)))
        # A Job can't be changed.
        self.kubectl("delete", "job/topics", "--ignore-not-found")
        self.server_side(joined([*(each for each in texts if each not in namespace), *map(yaml.safe_dump, secrets(objects))]))
        return objects

    def server_side(self, text: str) -> None:
        """Strictly: no field that the server does not know, no warning."""
        self.kubectl("apply", "--server-side", "--validate=strict", "--warnings-as-errors", "--filename=-", stdin=text)

    # --- What must be seen ---------------------------------------------------------------------------------------------------

    def check_running(self, objects: Sequence[Object]) -> None:
        """Pods, disks, budgets and addresses are as many as the manifests say."""
        sets = {each["metadata"]["name"]: each["spec"]["replicas"] for each in objects if each["kind"] == "StatefulSet"}
        self.until("pods are ready", lambda: self._unready(sets))
        self.until("the Job `topics` is complete", self._unfinished)
        budgets = {each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"}
        self.until("disruption budgets allow one", lambda: self._budgets(sets, budgets))
        services = {each["metadata"]["name"] for each in objects if each["kind"] == "Service"}
        leading = {each["metadata"]["name"]: each["metadata"]["name"] for each in objects if each["kind"] == "StatefulSet"}
        leading |= {each["spec"]["serviceName"]: each["metadata"]["name"] for each in objects if each["kind"] == "StatefulSet"}
        self.until("Services lead to pods", lambda: self._services({name: pods_of(leading[name], sets) for name in services}))
        self.until("each pod has a disk", lambda: self._disks(sum(sets.values())))

    def check_spread_over_nodes(self) -> None:
        """No zone has two pods of a role more than another."""
        zones = {
            each["metadata"]["name"]: each["metadata"]["labels"]["topology.kubernetes.io/zone"]
            for each in self.plane.api.items("/api/v1/nodes")
        }
        for role in ROLES:
            counts = Counter(dict.fromkeys(zones.values(), 0))
            counts.update(zones[each["spec"]["nodeName"]] for each in self.pods(role))
            if max(counts.values()) - min(counts.values()) > 1:
                raise ScriptError(f"the {role} pods are not spread over the zones: {dict(counts)}")

    def check_evictions(self) -> None:
        """Of two pods of a role, only one at a time may be evicted."""
        self.stand_ins.held = ""
        for role in ROLES:
            if not self.plane.api.evict(NAMESPACE, f"{role}-0"):
                raise ScriptError(f"the disruption budget of {role} keeps a node from being drained, though all pods are ready")
            self.until(f"{role}-0 is made anew", partial(self._not_new, role))
            if len(self.pods(role)) > 1 and self.plane.api.evict(NAMESPACE, f"{role}-1"):
                raise ScriptError(f"the disruption budget of {role} lets a second pod be evicted while the first is not ready")
        self.stand_ins.held = None
        self.until("evicted pods are ready again", lambda: self._unready({role: len(self.pods(role)) for role in ROLES}))

    def check_stuck(self, size: str) -> None:
        """An image that never gets ready takes one pod of each role, and no more."""
        replicas = {role: len(self.pods(role)) for role in ROLES}
        self.stand_ins.held = f"{IMAGE}2"
        self.apply(size, "2")
        self.until("the rollout begins", lambda: "" if self._with_image(f"{IMAGE}2") >= len(ROLES) else "no pod has the image")
        deadline_s = time.monotonic() + WATCH_S
        while time.monotonic() < deadline_s:
            for role, number in replicas.items():
                ready = sum(map(is_ready, self.pods(role)))
                if ready < number - 1:
                    raise ScriptError(f"a rollout of {role} that gets stuck leaves {ready} of {number} pods ready")
            time.sleep(POLL_S)

    def check_rolled(self, image: str) -> None:
        """All pods of our roles have the image, and of each role one at a time was not ready."""

        def old() -> str:
            found = [
                each["metadata"]["name"] for role in ROLES for each in self.pods(role) if each["spec"]["containers"][0]["image"] != image
            ]
            return ", ".join(found)

        self.until(f"all roles run {image}", old)
        for role in ROLES:
            if self.stand_ins.unready_max[role] > 1:
                raise ScriptError(f"{self.stand_ins.unready_max[role]} pods of {role} were not ready at once while an image was rolled out")

    def check_gone(self) -> None:
        """No pod and no disk is left."""
        self.until("pods are gone", lambda: ", ".join(each["metadata"]["name"] for each in self.items("pods")))
        self.until(
            "disks are gone", lambda: ", ".join(each["metadata"]["name"] for each in self.plane.api.items("/api/v1/persistentvolumes"))
        )

    # --- How it is seen: what is missing, as text, or nothing -------------------------------------------------------------------

    def _unready(self, sets: dict[str, int]) -> str:
        missing = []
        for name, replicas in sets.items():
            found = self.plane.api.get(f"{SETS}/{name}")
            state = found.get("status", {})
            if found["metadata"]["generation"] != state.get("observedGeneration") or state.get("updateRevision") != state.get(
                "currentRevision"
            ):
                missing.append(f"{name} is being rolled out")
            elif state.get("availableReplicas", 0) != replicas:
                missing.append(f"{name} has {state.get('availableReplicas', 0)} of {replicas} pods")
        return "; ".join([*missing, *self._reasons()]) if missing else ""

    def _reasons(self) -> Iterator[str]:
        """What keeps pods from running; of many the first."""
        for pod in self.items("pods"):
            refused = [each["message"] for each in pod["status"].get("conditions", []) if each["status"] == "False" and each.get("message")]
            if told := pod["status"].get("message") or "".join(refused[:1]):
                yield f"{pod['metadata']['name']}: {told}"
                return
        for event in self.items("events"):
            if event["type"] == "Warning" and event["reason"].startswith("FailedCreate"):
                yield event["message"]
                return

    def _unfinished(self) -> str:
        job = self.plane.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/topics")
        done = [each["type"] for each in job.get("status", {}).get("conditions", []) if each["status"] == "True"]
        return "" if "Complete" in done else f"it is {', '.join(done) or 'under way'}"

    def _budgets(self, sets: dict[str, int], names: set[str]) -> str:
        missing = []
        for each in self.plane.api.items(BUDGETS):
            name, state = each["metadata"]["name"], each.get("status", {})
            names = names - {name}
            if (state.get("expectedPods"), state.get("disruptionsAllowed")) != (sets[name], 1):
                missing.append(f"{name} covers {state.get('expectedPods')} pods and allows {state.get('disruptionsAllowed')}")
        return "; ".join([*missing, *sorted(names)])

    def _disks(self, count: int) -> str:
        phases = Counter(each["status"].get("phase", "Pending") for each in self.items("persistentvolumeclaims"))
        return "" if phases == {"Bound": count} else f"the claims are {dict(phases)}"

    def _services(self, wanted: dict[str, set[str]]) -> str:
        found: dict[str, set[str]] = {name: set() for name in wanted}
        for each in self.plane.api.items(SLICES):
            pods = {one["targetRef"]["name"] for one in each["endpoints"] or []}
            found.setdefault(each["metadata"]["labels"]["kubernetes.io/service-name"], set()).update(pods)
        wrong = [name for name, pods in wanted.items() if found[name] != pods]
        return "; ".join(f"{name} leads to {', '.join(sorted(found[name])) or 'nothing'}" for name in wrong)

    def _not_new(self, role: str) -> str:
        new = [each for each in self.pods(role) if "deletionTimestamp" not in each["metadata"] and not is_ready(each)]
        return "" if f"{role}-0" in {each["metadata"]["name"] for each in new} else "the old one is still there"

    def _with_image(self, image: str) -> int:
        return sum(each["spec"]["containers"][0]["image"] == image for role in ROLES for each in self.pods(role))

    # --- Tools ---------------------------------------------------------------------------------------------------------------

    def items(self, collection: str) -> list[Object]:
        """Everything of a collection in our namespace."""
        return self.plane.api.items(f"{CORE}/{collection}")

    def pods(self, role: str) -> list[Object]:
        """The pods of a role."""
        return [each for each in self.items("pods") if each["metadata"]["labels"].get("app.kubernetes.io/name") == role]

    def until(self, what: str, missing: Callable[[], str]) -> None:
        """Waits until nothing is missing."""
        deadline_s = time.monotonic() + STEP_TIMEOUT_S
        while told := missing():
            if time.monotonic() > deadline_s:
                raise ScriptError(f"not within {STEP_TIMEOUT_S:.0f} s: {what}: {told}")
            self._check_stand_ins()
            time.sleep(POLL_S)

    def _check_stand_ins(self) -> None:
        if self.stand_ins.failure is not None:
            raise ScriptError(f"the stand-ins for nodes failed: {self.stand_ins.failure}")

    def kubectl(self, *arguments: str, stdin: str = "") -> None:
        """In our namespace. ScriptError: it fails."""
        self._run(["kubectl", "--namespace", NAMESPACE, *arguments], stdin)

    def make(self, target: str, *variables: str) -> None:
        """As a person calls it, on the cluster that kubectl talks to."""
        settings = [word for variable in (f"PERF_TYPE={LOCAL}", *variables) for word in ("-e", variable)]
        self._run(["make", "--no-print-directory", target, *settings])

    def _run(self, command: list[str], stdin: str = "") -> None:
        program = need(command[0], what_for="applies the manifests")
        # `make deploy-check` may run this: its own flags are not for another make.
        inherited = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
        environment = inherited | {"KUBECONFIG": str(self.plane.kubeconfig)}
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as said:
            given.write(stdin)
            given.seek(0)
            # In a session of its own, so that nothing of it is left when it must end.
            process = subprocess.Popen(
                [program, *command[1:]], cwd=ROOT, env=environment, stdin=given, stdout=said, stderr=said, start_new_session=True
            )
            self._wait(process)
            said.seek(0)
            self._check_stand_ins()
            if process.returncode:
                raise ScriptError(f"`{' '.join(command)}` failed; its output ends:\n{tail(said.read())}")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it ends by itself, or is ended because it can't any more."""
        deadline_s = time.monotonic() + COMMAND_TIMEOUT_S
        try:
            while process.poll() is None and time.monotonic() < deadline_s and self.stand_ins.failure is None:
                time.sleep(POLL_S / 2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def is_established(definition: Object) -> bool:
    """Whether the server serves the kind; a new definition has no conditions yet."""
    conditions = definition.get("status", {}).get("conditions") or []
    return {"type": "Established", "status": "True"} in [{key: each[key] for key in ("type", "status")} for each in conditions]


def pods_of(name: str, sets: dict[str, int]) -> set[str]:
    """The names of a StatefulSet's pods."""
    return {f"{name}-{number}" for number in range(sets[name])}


def secrets(objects: Sequence[Object]) -> list[Object]:
    """Those that pods take files from and that no overlay has, as they hold credentials."""
    templates = [each["spec"]["template"] for each in objects if "template" in each.get("spec", {})]
    named = {name for pod in templates for kind, name in sources(pod) if kind == "secrets"}
    there = {each["metadata"]["name"] for each in objects if each["kind"] == "Secret"}
    content = {"client.properties": "bootstrap.servers=kafka:9092"}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content} for name in sorted(named - there)]
