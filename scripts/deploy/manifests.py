"""The manifests of a size: an overlay of deploy/overlays, with what one deployment adds to it."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from scripts.errors import ScriptError, UsageError
from scripts.programs import need

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
NAMESPACE: Final = "ticketmaster"
LOCAL: Final = "local"
ROLES: Final = ("ticket", "reservation", "event")
# Who has credentials of their own at Kafka: the roles, and the Job that makes the topics.
ACCOUNTS: Final = (*ROLES, "topics")
# What a pod may take to come back, beyond what its manifest says: volume, start, and a restoration.
_START_S: Final = 120
_SEPARATOR: Final = "---\n"


def overlays() -> list[str]:
    """Every size there is, by the number of instances; `local` comes first."""
    names = [path.parent.name for path in (DEPLOY / "overlays").glob("*/kustomization.yaml")]
    return sorted(names, key=lambda name: int("0" + name.partition("-")[0]) if name != LOCAL else -1)


@dataclass(frozen=True, slots=True)
class Additions:
    """What an overlay leaves open. Empty: as the overlay says.

    `image` is a repository with a tag or digest; `partitions` are those of every topic; `client_digests` stand for the credentials of each
    account, so that pods restart when theirs change; `components` are folders of deploy/components. With a `domain` there is a gateway for
    the world, by which everything that Terraform has made for it has the name `name`.
    """

    image: str = ""
    partitions: int = 0
    client_digests: Mapping[str, str] = field(default_factory=dict)
    components: Sequence[str] = ()
    domain: str = ""
    name: str = "ticketmaster"

    def with_digests(self, digests: Mapping[str, str]) -> Additions:
        """The same, with the credentials of each account."""
        return replace(self, client_digests=digests)

    def kustomization(self) -> dict[str, Any]:
        """The part of a kustomization that adds them."""
        return {
            "components": [
                f"../../deploy/components/{component}" for component in (*self.components, *(["outside"] if self.domain else []))
            ],
            "images": [{"name": "ticketmaster", **image_of(self.image)}] if self.image else [],
            "patches": [*self._partitions(), *self._digests(), *self._outside()],
        }

    def _partitions(self) -> list[dict[str, Any]]:
        if not self.partitions:
            return []
        env = [{"name": "PARTITIONS_COUNT", "value": str(self.partitions)}]
        spec = {"template": {"spec": {"containers": [{"name": "topics", "env": env}]}}}
        return [{"patch": json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "topics"}, "spec": spec})}]

    def _digests(self) -> list[dict[str, Any]]:
        return [
            {
                "target": {"kind": "StatefulSet", "name": role},
                "patch": _operation(
                    "add", "/spec/template/metadata/annotations/ticketmaster~1client-properties", self.client_digests[role]
                ),
            }
            for role in ROLES
            if role in self.client_digests
        ]

    def _outside(self) -> list[dict[str, Any]]:
        if not self.domain:
            return []
        certificate = "/spec/listeners/0/tls/options/networking.gke.io~1cert-manager-certs"
        return [
            {"target": {"kind": kind, "name": name}, "patch": _operation("replace", path, value)}
            for kind, name, path, value in (
                ("Gateway", "outside", "/spec/addresses/0/value", self.name),
                ("Gateway", "outside", certificate, self.name),
                ("GCPBackendPolicy", "buyers", "/spec/default/securityPolicy", self.name),
                ("HTTPRoute", "buyers", "/spec/hostnames/0", self.domain),
                ("HTTPRoute", "to-https", "/spec/hostnames/0", self.domain),
            )
        ]


def _operation(op: str, path: str, value: str) -> str:
    return json.dumps([{"op": op, "path": path, "value": value}])


def client_secret(account: str) -> str:
    """The Secret with the client properties of an account."""
    return f"{account}-client"


def image_of(name: str) -> dict[str, str]:
    """An image's name as kustomize takes it. UsageError: it has neither tag nor digest, so nobody could tell which image runs."""
    repository, at, digest = name.partition("@")
    if at:
        return {"newName": repository, "digest": digest}
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        raise UsageError(f"IMAGE {name} has no tag: name the one that was pushed, e.g. {name}:1.0.0")
    return {"newName": repository, "newTag": tag}


def render(overlay: str, additions: Additions | None = None) -> str:
    """The objects of an overlay as YAML. UsageError: there is no such overlay, or no kubectl. ScriptError: kustomize refuses it."""
    if overlay not in overlays():
        raise UsageError(f"PERF_TYPE {overlay} is none of {', '.join(overlays())}")
    kubectl = need("kubectl", what_for="renders the manifests")
    additions = additions or Additions()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    # Kustomize takes folders by relative paths only.
    with tempfile.TemporaryDirectory(prefix="deploy-", dir=cache) as folder:
        kustomization = {"resources": [f"../../deploy/overlays/{overlay}"], **additions.kustomization()}
        if overlay != LOCAL:
            (Path(folder) / "rules.yaml").write_text(rules())
            kustomization["resources"].append("rules.yaml")
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(kustomization))
        done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(f"kubectl kustomize refuses deploy/overlays/{overlay}: {done.stderr.strip()}")
    return done.stdout


def rules() -> str:
    """The alerts as an object for Google's managed Prometheus, which takes the groups of a rule file as they are."""
    groups = (DEPLOY / "observability/alerts.yml").read_text()
    head = {"apiVersion": "monitoring.googleapis.com/v1", "kind": "Rules", "metadata": {"name": "ticketmaster", "namespace": NAMESPACE}}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items()) + f"spec:\n{textwrap.indent(groups, '  ')}"


def documents(rendered: str) -> list[str]:
    """Each object of what `render` gives."""
    return rendered.split(f"\n{_SEPARATOR}")


def joined(documents: Sequence[str]) -> str:
    """Some of them as one text again."""
    return f"\n{_SEPARATOR}".join(documents)


def kind(document: str) -> str:
    """Of an object as kustomize writes it."""
    return _first(r"^kind: (\S+)$", document)


def name(document: str) -> str:
    """Of an object as kustomize writes it."""
    return _first(r"^  name: (\S+)$", document)


def partitions(rendered: str) -> int:
    """That the Job makes every topic with."""
    return int(_first(r'- name: PARTITIONS_COUNT\n +value: "(\d+)"$', rendered))


def processes(rendered: str) -> dict[str, int]:
    """How many processes each role has: pods, times the workers of each."""
    sets = {name(document): document for document in documents(rendered) if kind(document) == "StatefulSet"}
    return {
        role: int(_first(r"^  replicas: (\d+)$", sets[role])) * int(_first(r"^ +- --(?:workers|acceptors)=(\d+)$", sets[role]))
        for role in ROLES
    }


def seconds_a_pod(stateful_set: str) -> tuple[int, int]:
    """(how many pods a StatefulSet has, how long one may take to go and come again)."""
    found = [int(_first(rf"^ +{key}: (\d+)$", stateful_set)) for key in ("replicas", "terminationGracePeriodSeconds", "minReadySeconds")]
    pods, grace_s, steady_s = found
    return pods, grace_s + steady_s + _START_S


def check_spread(rendered: str) -> None:
    """UsageError: some process of a role would have more partitions than another, or none."""
    count = partitions(rendered)
    for role, number in processes(rendered).items():
        if count % number:
            raise UsageError(f"PARTITIONS_COUNT {count} can't be spread evenly over {number} {role} processes: take a multiple of {number}")


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ScriptError(f"nothing like {pattern} is in what kubectl kustomize wrote")
    return found[1]
