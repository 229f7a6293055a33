"""Stand-ins for nodes with their kubelets, for disks, for Strimzi's operator and for gateway controllers.

They report what the real ones would: a pod runs and is ready, a disk is there. No container runs.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

from scripts.controlplane.api import STRATEGIC_MERGE, Api, Object
from scripts.deploy.manifests import NAMESPACE
from scripts.deploy.nodes import Node
from scripts.errors import ScriptError

POLL_S: Final = 0.1
STORAGE_CLASS: Final = "trial"
DRIVER: Final = "disks.ticketmaster.example"
PODS_PER_NODE: Final = 110
# Pods have been ready for so long: nobody waits for `minReadySeconds` here.
READY_SINCE: Final = timedelta(hours=1)
CORE: Final = f"/api/v1/namespaces/{NAMESPACE}"
KAFKAS: Final = f"/apis/kafka.strimzi.io/v1/namespaces/{NAMESPACE}/kafkas"
GATEWAYS: Final = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways"


class StandIns:
    """Work in a thread of their own, from `start` to `stop`. Pods whose image begins with `held` never get ready."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._address = 0
        self._zones: dict[str, str] = {}
        self.held: str | None = None
        self.failure: Exception | None = None
        # Of each role, how many of its pods were not ready at once since the last `forget`.
        self.unready_max: dict[str, int] = defaultdict(int)

    def start(self) -> None:
        """Begins, with a class of disks that are made where the pod is, as clouds have it."""
        self._api.create(
            "/apis/storage.k8s.io/v1/storageclasses",
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": DRIVER,
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def forget(self) -> None:
        """Begins to count unready pods anew."""
        self.unready_max.clear()

    def have(self, nodes: Sequence[Node]) -> None:
        """These nodes, and no others."""
        wanted = {node.name: node for node in nodes}
        self._zones = {node.name: node.zone for node in nodes}
        for each in self._api.items("/api/v1/nodes"):
            if each["metadata"]["name"] not in wanted:
                self._api.delete(f"/api/v1/nodes/{each['metadata']['name']}", each["metadata"]["uid"])
        for node in wanted.values():
            self._api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels(node)}})
            self._api.change(f"/api/v1/nodes/{node.name}/status", {"status": node_status(node)}, STRATEGIC_MERGE)
            # The API server adds the taint to a new node; controllers that are not run here take it away.
            self._api.change(f"/api/v1/nodes/{node.name}", {"spec": {"taints": None}})

    def _run(self) -> None:
        while not self._end.wait(POLL_S):
            try:
                self._turn()
            except (ScriptError, httpx.HTTPError, OSError) as error:
                self.failure = error

    def _turn(self) -> None:
        pods = self._api.items(f"{CORE}/pods")
        self._count(pods)
        for pod in pods:
            self._look_after(pod)
        for claim in self._api.items(f"{CORE}/persistentvolumeclaims"):
            node = claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node")
            if node and not claim["spec"].get("volumeName"):
                self._api.create("/api/v1/persistentvolumes", volume(claim, self._zones[node]))
        for each in self._api.items("/api/v1/persistentvolumes"):
            if each.get("status", {}).get("phase") == "Released":
                self._api.delete(f"/api/v1/persistentvolumes/{each['metadata']['name']}", each["metadata"]["uid"])
        for path, condition in ((KAFKAS, "Ready"), (GATEWAYS, "Programmed")):
            for each in self._api.items(path):
                if condition not in {one["type"] for one in each.get("status", {}).get("conditions", []) if one["status"] == "True"}:
                    self._api.change(f"{path}/{each['metadata']['name']}/status", {"status": {"conditions": [condition_of(condition)]}})

    def _count(self, pods: list[Object]) -> None:
        unready: dict[str, int] = defaultdict(int)
        for pod in pods:
            if pod["status"].get("phase") != "Succeeded" and not is_ready(pod):
                unready[pod["metadata"]["labels"].get("app.kubernetes.io/name", "")] += 1
        for role, number in unready.items():
            self.unready_max[role] = max(self.unready_max[role], number)

    def _look_after(self, pod: Object) -> None:
        metadata, path = pod["metadata"], f"{CORE}/pods/{pod['metadata']['name']}"
        if not pod["spec"].get("nodeName"):
            return
        if "deletionTimestamp" in metadata:
            self._api.delete(path, metadata["uid"])
        elif pod["status"].get("phase") != "Pending" or (
            self.held is not None and pod["spec"]["containers"][0]["image"].startswith(self.held)
        ):
            return
        elif missing := self._missing(pod):
            said = {"phase": "Pending", "message": f"it lacks {', '.join(missing)}"}
            self._api.change(f"{path}/status", {"metadata": {"uid": metadata["uid"]}, "status": said}, STRATEGIC_MERGE)
        else:
            self._address += 1
            self._api.change(
                f"{path}/status", {"metadata": {"uid": metadata["uid"]}, "status": status(pod, self._address)}, STRATEGIC_MERGE
            )

    def _missing(self, pod: Object) -> list[str]:
        """What a kubelet would wait for: what the pod takes files and variables from."""
        return [f"{kind[:-1]} {name}" for kind, name in sources(pod) if not self._api.exists(f"{CORE}/{kind}/{name}")]


def sources(pod: Object) -> set[tuple[str, str]]:
    """The ConfigMaps, Secrets and claims without which a pod can't start."""
    found = set()
    for each in pod["spec"].get("volumes", []):
        for key, kind, field in (
            ("configMap", "configmaps", "name"),
            ("secret", "secrets", "secretName"),
            ("persistentVolumeClaim", "persistentvolumeclaims", "claimName"),
        ):
            if key in each and not each[key].get("optional"):
                found.add((kind, each[key][field]))
        # Of a template there is none yet.
        if "ephemeral" in each and "name" in pod["metadata"]:
            found.add(("persistentvolumeclaims", f"{pod['metadata']['name']}-{each['name']}"))
    for container in pod["spec"]["containers"]:
        for each in container.get("envFrom", []):
            for key, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if key in each and not each[key].get("optional"):
                    found.add((kind, each[key]["name"]))
    return found


def is_ready(pod: Object) -> bool:
    """Whether it says so, and is not about to end."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def status(pod: Object, address: int) -> Object:
    """Of a pod that runs and is ready; or, of a Job's, of one that has done its work."""
    now = moment(datetime.now(UTC))
    is_job = any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))
    state: Object = (
        {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        if is_job
        else {"running": {"startedAt": now}}
    )
    ip = f"10.132.{address // 250}.{address % 250 + 1}"
    conditions = [] if is_job else [condition_of("Initialized"), condition_of("ContainersReady"), condition_of("Ready")]
    return {
        "phase": "Succeeded" if is_job else "Running",
        "message": None,
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": "",
                "ready": not is_job,
                "restartCount": 0,
                "started": not is_job,
                "state": state,
            }
            for each in pod["spec"]["containers"]
        ],
    }


def condition_of(kind: str) -> Object:
    """That something is so, and has been for a while."""
    since = moment(datetime.now(UTC) - READY_SINCE)
    return {"type": kind, "status": "True", "reason": "Trial", "message": "", "lastTransitionTime": since}


def moment(time: datetime) -> str:
    """As Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def labels(node: Node) -> dict[str, str]:
    """By which pods are spread."""
    return {"kubernetes.io/hostname": node.name, "topology.kubernetes.io/zone": node.zone, "kubernetes.io/os": "linux"}


def node_status(node: Node) -> Object:
    """Ready, with this much to give."""
    room = {"cpu": f"{node.cpus * 1000:.0f}m", "memory": f"{node.memory_mib:.0f}Mi", "pods": str(PODS_PER_NODE)}
    return {"capacity": room, "allocatable": room, "conditions": [condition_of("Ready")]}


def volume(claim: Object, zone: str) -> dict[str, Any]:
    """The disk of a claim, in the zone of the node that its pod was put on."""
    metadata = claim["metadata"]
    terms = [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{metadata['uid']}", "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": claim["spec"]["resources"]["requests"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": NAMESPACE,
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "csi": {"driver": DRIVER, "volumeHandle": metadata["uid"]},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
        },
    }
