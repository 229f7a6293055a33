"""The sizes, by numbers: that partitions, pods, worker processes, CPU, memory and nodes of each overlay fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.deploy.manifests import ROLES, check_spread, overlays, partitions, processes
from scripts.deploy.nodes import MIB_PER_GIB, ZONES, nodes, size
from tests.deploy.conftest import CLOUD, OVERLAYS, Find, Manifests

ROOT: Final = Path(__file__).resolve().parents[2]


def cpu(quantity: str) -> float:
    """In CPUs."""
    return float(quantity.removesuffix("m")) / 1000 if quantity.endswith("m") else float(quantity)


def mib(quantity: str) -> float:
    """In MiB."""
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * (MIB_PER_GIB if unit == "Gi" else 1)


def requests(workload: dict[str, Any]) -> dict[str, str]:
    """What a pod asks for."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: dict[str, str] = container["resources"]["requests"]
    return found


def row(overlay: str, text: str, find: Find) -> str:
    """The line of docs/deployment.md for an overlay."""
    cells = [f"`{overlay}`", str(partitions(text))]
    for role in ROLES:
        each = find(overlay, "StatefulSet", role)
        asked = requests(each)
        cells.append(f"{each['spec']['replicas']} × {asked['cpu']} CPU, {asked['memory']}")
    if overlay == "local":
        cells += ["your own cluster", "Strimzi, 1 broker"]
    else:
        made = size(overlay)
        cells += [f"{ZONES * made['nodes_per_zone']} {made['machine_type']}", f"Confluent Cloud, {made['kafka']}"]
    return f"| {' | '.join(cells)} |"


def test_these_are_all_the_overlays() -> None:
    assert tuple(overlays()) == OVERLAYS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_partitions_spread_evenly_over_the_processes_of_every_role(overlay: str, texts: dict[str, str], find: Find) -> None:
    text = texts[overlay]
    check_spread(text)

    # What the script reads from the text is what the objects say.
    workers = {role: find(overlay, "StatefulSet", role) for role in ROLES}
    counted = {}
    for role, each in workers.items():
        (container,) = each["spec"]["template"]["spec"]["containers"]
        (number,) = [argument.partition("=")[2] for argument in container["args"] if re.match("--(workers|acceptors)=", argument)]
        counted[role] = each["spec"]["replicas"] * int(number)
    assert processes(text) == counted
    assert {partitions(text) % number for number in counted.values()} == {0}


@pytest.mark.parametrize("overlay", CLOUD)
def test_the_name_of_a_size_is_its_number_of_ticket_processes_and_of_partitions(overlay: str, texts: dict[str, str]) -> None:
    text = texts[overlay]

    assert f"{processes(text)['ticket']}-instance-perf" == f"{partitions(text)}-instance-perf" == overlay


@pytest.mark.parametrize("overlay", CLOUD)
@pytest.mark.parametrize("role", ROLES)
def test_each_process_has_a_cpu_and_memory_is_not_overcommitted(overlay: str, role: str, texts: dict[str, str], find: Find) -> None:
    each = find(overlay, "StatefulSet", role)
    (container,) = each["spec"]["template"]["spec"]["containers"]

    assert cpu(requests(each)["cpu"]) >= processes(texts[overlay])[role] / each["spec"]["replicas"]
    assert container["resources"]["limits"] == {"memory": requests(each)["memory"]}, "a limit of CPU would throttle"


def without_room(overlay: str, objects: list[dict[str, Any]], nodes_lost: int) -> int:
    """How many pods find no room on the nodes that are left."""
    free = [[node.cpus, node.memory_mib] for node in nodes(overlay)[nodes_lost:]]
    pods = [
        (cpu(requests(each)["cpu"]), mib(requests(each)["memory"]))
        for each in objects
        if each["kind"] in {"StatefulSet", "Job"}
        for _ in range(each["spec"].get("replicas", 1))
    ]

    pending = 0
    # The largest first, each on the first node that has room for it.
    for needs_cpu, needs_mib in sorted(pods, reverse=True):
        node = next((node for node in free if node[0] >= needs_cpu and node[1] >= needs_mib), None)
        if node is None:
            pending += 1
        else:
            node[0] -= needs_cpu
            node[1] -= needs_mib
    return pending


@pytest.mark.parametrize("overlay", CLOUD)
def test_the_nodes_that_terraform_makes_hold_all_pods_also_when_one_of_them_is_lost(overlay: str, manifests: Manifests) -> None:
    assert without_room(overlay, manifests[overlay], nodes_lost=1) == 0


@pytest.mark.parametrize("overlay", CLOUD)
def test_a_lost_zone_leaves_as_many_pods_without_room_as_the_runbook_says(overlay: str, manifests: Manifests) -> None:
    pods = sum(each["spec"]["replicas"] for each in manifests[overlay] if each["kind"] == "StatefulSet")
    pending = without_room(overlay, manifests[overlay], nodes_lost=size(overlay)["nodes_per_zone"])

    is_large = CLOUD.index(overlay) >= CLOUD.index("16-instance-perf")
    assert pending == (pods / 8 if is_large else 0)
    assert "with `16-instance-perf` and larger, an eighth of the pods finds no room" in (ROOT / "docs/runbooks.md").read_text()


@pytest.mark.parametrize("overlay", CLOUD)
def test_a_larger_size_keeps_the_kind_of_kafka_so_that_none_is_replaced(overlay: str) -> None:
    assert size(overlay)["kafka"] == ("basic" if overlay == "1-instance-perf" else "standard")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_documentation_shows_the_numbers_of_the_overlay(overlay: str, texts: dict[str, str], find: Find) -> None:
    assert row(overlay, texts[overlay], find) in (ROOT / "docs/deployment.md").read_text().splitlines()
