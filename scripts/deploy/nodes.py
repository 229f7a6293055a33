"""The nodes of each size: what Terraform makes for an overlay, and how much of a node GKE leaves to our pods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import hcl2

from scripts.deploy.manifests import DEPLOY, LOCAL
from scripts.errors import ScriptError

ZONES: Final = 3
MIB_PER_GIB: Final = 1024.0
# Of a machine type of Google's, n2-standard: memory for each CPU.
GIB_PER_CPU: Final = 4
# What GKE's own pods ask for on a node, at most: a guess on the safe side, in CPUs and in MiB.
SYSTEM_CPU: Final = 0.6
SYSTEM_MIB: Final = 800


@dataclass(frozen=True, slots=True)
class Node:
    """What our pods may ask for on it."""

    name: str
    zone: str
    cpus: float
    memory_mib: float


def nodes(overlay: str) -> list[Node]:
    """Those that an overlay runs on. `local` runs on one, with the 4 GiB that docs/deployment.md asks for."""
    if overlay == LOCAL:
        return [Node("laptop", "laptop", 4, 4 * MIB_PER_GIB)]
    made = size(overlay)
    found = re.fullmatch(r"n2-standard-(\d+)", made["machine_type"])
    if found is None:
        raise ScriptError(f"{made['machine_type']} is no n2-standard machine: how much memory has it?")
    cpus = int(found[1])
    free = allocatable_cpu(cpus) - SYSTEM_CPU, allocatable_mib(cpus * GIB_PER_CPU) - SYSTEM_MIB
    return [Node(f"node-{zone}-{number}", zone, *free) for zone in "abc"[:ZONES] for number in range(made["nodes_per_zone"])]


def size(overlay: str) -> dict[str, Any]:
    """What Terraform makes for an overlay."""
    options = hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True)
    (block,) = hcl2.loads((DEPLOY / "terraform/main.tf").read_text(), serialization_options=options)["locals"]
    found: dict[str, Any] = {str(name).strip('"'): value for name, value in block["sizes"].items()}[overlay]
    return found


def allocatable_cpu(cpus: int) -> float:
    """Of a GKE node: 6 % of the first CPU are kept back, 1 % of the second, 0.5 % of two more, 0.25 % of the rest."""
    return cpus - (0.06 + 0.01 * (cpus > 1) + 0.005 * min(max(cpus - 2, 0), 2) + 0.0025 * max(cpus - 4, 0))


def allocatable_mib(gib: int) -> float:
    """Of a GKE node: 25 % of the first 4 GiB are kept back, 20 % of 4 more, 10 % of 8 more, 6 % of the rest, and 100 MiB."""
    kept = 0.25 * min(gib, 4) + 0.2 * min(max(gib - 4, 0), 4) + 0.1 * min(max(gib - 8, 0), 8) + 0.06 * max(gib - 16, 0)
    return (gib - kept) * MIB_PER_GIB - 100
