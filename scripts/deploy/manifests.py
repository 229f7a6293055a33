"""The manifests of a size: an overlay of deploy/overlays, with what one deployment adds to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.deploy.errors import DeployError, UsageError

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
NAMESPACE: Final = "ticketmaster"
LOCAL: Final = "local"
ROLES: Final = ("ticket", "reservation", "event")
_SEPARATOR: Final = "---\n"


def overlays() -> list[str]:
    """Every size there is, by the number of instances; `local` comes first."""
    names = [path.parent.name for path in (DEPLOY / "overlays").glob("*/kustomization.yaml")]
    return sorted(names, key=lambda name: int("0" + name.partition("-")[0]) if name != LOCAL else -1)


@dataclass(frozen=True, slots=True)
class Additions:
    """What an overlay leaves open. Empty: as the overlay says.

    `image` is a repository with a tag or digest; `partitions` are those of every topic; `client_digest` stands for the credentials, so that
    pods restart when those change; `components` are folders of deploy/components.
    """

    image: str = ""
    partitions: int = 0
    client_digest: str = ""
    components: Sequence[str] = ()

    def kustomization(self) -> dict[str, Any]:
        """The part of a kustomization that adds them."""
        return {
            "images": [{"name": "ticketmaster", **image_of(self.image)}] if self.image else [],
            "patches": [*self._partitions(), *self._digest()],
        }

    def _partitions(self) -> list[dict[str, Any]]:
        if not self.partitions:
            return []
        env = [{"name": "PARTITIONS_COUNT", "value": str(self.partitions)}]
        spec = {"template": {"spec": {"containers": [{"name": "topics", "env": env}]}}}
        return [{"patch": json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "topics"}, "spec": spec})}]

    def _digest(self) -> list[dict[str, Any]]:
        if not self.client_digest:
            return []
        spec = {"template": {"metadata": {"annotations": {"ticketmaster/client-properties": self.client_digest}}}}
        patch = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "any"}, "spec": spec}
        return [{"target": {"kind": "StatefulSet"}, "patch": json.dumps(patch)}]


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
    """The objects of an overlay as YAML. UsageError: there is no such overlay, or no kubectl. DeployError: kustomize refuses it."""
    if overlay not in overlays():
        raise UsageError(f"PERF_TYPE {overlay} is none of {', '.join(overlays())}")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise UsageError("no kubectl found, which renders the manifests: install it and put it into PATH")
    additions = additions or Additions()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    # Kustomize takes folders by relative paths only.
    with tempfile.TemporaryDirectory(prefix="deploy-", dir=cache) as folder:
        kustomization = {
            "resources": [f"../../deploy/overlays/{overlay}"],
            "components": [f"../../deploy/components/{component}" for component in additions.components],
            **additions.kustomization(),
        }
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(kustomization))
        done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"kubectl kustomize refuses deploy/overlays/{overlay}: {done.stderr.strip()}")
    return done.stdout


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


def check_spread(rendered: str) -> None:
    """UsageError: some process of a role would have more partitions than another, or none."""
    count = partitions(rendered)
    for role, number in processes(rendered).items():
        if count % number:
            raise UsageError(f"PARTITIONS_COUNT {count} can't be spread evenly over {number} {role} processes: take a multiple of {number}")


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise DeployError(f"nothing like {pattern} is in what kubectl kustomize wrote")
    return found[1]
