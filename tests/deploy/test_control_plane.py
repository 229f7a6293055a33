"""The trial of the manifests on a control plane: its parts, and faults that it must find. Those run where a control plane is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.controlplane import kit, trial
from scripts.controlplane.definitions import structural
from scripts.controlplane.stand_ins import sources, status
from scripts.deploy.custom_resources import SPECS
from scripts.deploy.manifests import NAMESPACE, ROLES, Additions, render
from scripts.errors import MissingError, ScriptError
from tests.deploy.conftest import Find
from tests.deploy.test_deploy_check import check

ROOT: Final = Path(__file__).resolve().parents[2]


def test_where_no_control_plane_is_installed_the_check_says_how_to_get_one_and_nothing_fails(tmp_path: Path) -> None:
    _, said = check(str(tmp_path), TICKETMASTER_CACHE=str(tmp_path / "cache"))

    (line,) = [line for line in said.splitlines() if "control plane" in line]
    assert line == "skipped  no control plane to apply the manifests to: `scripts/controlplane/install` builds one"


def test_an_installation_that_lacks_a_program_is_one_line(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "TICKETMASTER_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "scripts/controlplane/install"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("install: no ")
    assert done.stderr.count("\n") == 1


def test_it_is_one_line_as_well_where_there_is_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TICKETMASTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kit, "java_of", lambda _: None)
    said: list[str] = []

    with pytest.raises(MissingError, match="no etcd found"):
        kit.install(said.append)

    assert said == []


def test_kubernetes_own_modules_get_versions_that_exist() -> None:
    required = (
        "k8s.io/api v0.0.0",
        "k8s.io/klog/v2 v2.130.1",
        "k8s.io/utils v0.0.0-20250604170112-4c0f3b243397",
        "k8s.io/kms v0.0.0 // indirect",
    )
    theirs = "\n\t".join(("module k8s.io/kubernetes\n\ngo 1.24.0\n\nrequire (", *required)) + "\n)\n"

    lines = kit.go_mod(theirs).splitlines()
    assert lines == [
        "module controlplane",
        "go 1.24.0",
        f"require k8s.io/kubernetes v{kit.VERSION}",
        f"replace k8s.io/api => k8s.io/api v0.{kit.VERSION.removeprefix('1.')}",
        f"replace k8s.io/kms => k8s.io/kms v0.{kit.VERSION.removeprefix('1.')}",
    ]
    with pytest.raises(ScriptError, match="is not as it was"):
        kit.go_mod("module k8s.io/kubernetes\n\ngo 1.24.0\n")


@pytest.mark.parametrize("kind", SPECS)
def test_our_schemas_become_definitions_that_an_api_server_takes(kind: str) -> None:
    def check_types(schema: dict[str, Any]) -> None:
        assert isinstance(schema["type"], str)
        assert not {"const", "propertyNames"} & set(schema)
        assert schema.get("additionalProperties") is not False
        for each in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
            check_types(each)

    check_types(structural(SPECS[kind]))


def test_a_pod_waits_for_all_that_it_takes_files_and_variables_from_unless_it_may_lack() -> None:
    pod = {
        "metadata": {"name": "ticket-0"},
        "spec": {
            "volumes": [
                {"name": "f", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "a", "configMap": {"name": "files"}},
                {"name": "b", "secret": {"secretName": "secret"}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "state-x-0"}},
                {"name": "d", "configMap": {"name": "perhaps", "optional": True}},
                {"name": "e", "emptyDir": {}},
            ],
            "containers": [{"envFrom": [{"configMapRef": {"name": "variables"}}, {"configMapRef": {"name": "tracing", "optional": True}}]}],
        },
    }

    assert sources(pod) == {
        ("configmaps", "files"),
        ("configmaps", "variables"),
        ("secrets", "secret"),
        ("persistentvolumeclaims", "state-x-0"),
        ("persistentvolumeclaims", "ticket-0-f"),
    }


def test_a_pod_of_a_job_ends_and_others_run() -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}

    assert status({"metadata": {}, "spec": spec}, 1)["phase"] == "Running"
    assert status({"metadata": {"ownerReferences": [{"kind": "Job"}]}, "spec": spec}, 1)["phase"] == "Succeeded"


def test_the_documented_way_to_profile_a_pod_names_a_container_that_it_has(find: Find) -> None:
    (target,) = re.findall(r"--target=(\S+)", (ROOT / "docs/profiling.md").read_text())

    for role in ROLES:
        (container,) = find("40-instance-perf", "StatefulSet", role)["spec"]["template"]["spec"]["containers"]
        assert container["name"] == target


# --- On a control plane ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tried() -> Iterator[trial.Trial]:
    if not kit.is_installed():
        pytest.skip("no control plane is installed: `scripts/controlplane/install` builds one")
    with trial.trial() as running:
        yield running


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("terminationGracePeriodSeconds", "terminationGraceSeconds", "terminationGraceSeconds: field not declared"),
        ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "would violate PodSecurity"),
        ("configMap:\n          name: ticket-config", "configMap:\n          name: tickets-config", "it lacks configmap tickets-config"),
        ('cpu: "1"', 'cpu: "32"', "Insufficient cpu"),
        ("  selector:\n    app.kubernetes.io/name: ticket\n", "  selector:\n    app.kubernetes.io/name: event\n", "leads to"),
    ],
)
def test_a_planted_fault_is_found(tried: trial.Trial, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, complaint: str) -> None:
    def broken(size: str, additions: Additions) -> str:
        text = render(size, additions)
        assert right in text
        return text.replace(right, wrong)

    monkeypatch.setattr(trial, "render", broken)
    monkeypatch.setattr(trial, "STEP_TIMEOUT_S", 5.0)

    with pytest.raises(ScriptError, match=complaint):
        tried.cloud("1-instance-perf", roll=False)
    monkeypatch.undo()
    tried.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    tried.check_gone()
