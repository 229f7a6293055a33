"""`make deploy-check` finds what is wrong: planted faults, and missing programs."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.deploy.manifests import NAMESPACE, documents, render
from scripts.deploy.schemas import OUTSIDE, Checker
from scripts.errors import ScriptError
from tests.deploy.conftest import Find, Manifests
from tests.support.tools import needs

ROOT: Final = Path(__file__).resolve().parents[2]


def check(path: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of the program, where PATH holds these folders only."""
    env = {name: value for name, value in os.environ.items() if name != "CI"} | environment | {"PATH": path}
    command = [sys.executable, "scripts/deploy/check"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_missing_program_is_told_and_is_a_fault_only_where_everything_must_run(tmp_path: Path) -> None:
    code, said = check(str(tmp_path))
    assert code == 0
    assert "skipped  no kubectl found, which renders the overlays of deploy/" in said
    assert "ok       deploy/terraform: " in said

    assert check(str(tmp_path), CI="true")[0] == 1


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "complaint"),
    [
        ("StatefulSet", "ticket", ("spec", "template", "spec", "containers", 0, "imagePullPolice"), "Always", "imagePullPolice"),
        ("StatefulSet", "event", ("spec", "replicas"), "two", "two"),
        ("PodMonitoring", "ticketmaster", ("spec", "endpoints", 0, "interval"), 15, "15"),
        ("Rules", "ticketmaster", ("spec", "groups", 0, "rules", 0, "for"), "soon", "soon"),
        ("PodDisruptionBudget", "event", ("spec", "maxUnavailable"), [1], "maxUnavailable"),
        ("Job", "topics", ("apiVersion",), "batch/v7", "no batch/v7 Job"),
        ("HTTPRoute", "ticket", ("spec", "rules", 0, "matches", 0, "path", "type"), "Prefix", "Prefix"),
        ("Gateway", "inside", ("spec", "gatewayClass"), "x", "gatewayClass"),
        ("HealthCheckPolicy", "ticket", ("spec", "default", "config", "httpHealthCheck", "port"), "http", "http"),
    ],
)
def test_an_object_that_breaks_its_schema_is_found(
    find: Find, kind: str, name: str, path: tuple[str | int, ...], value: object, complaint: str
) -> None:
    sound = find("40-instance-perf", kind, name)
    broken: Any = copy.deepcopy(sound)
    *folders, last = path
    inner = broken
    for folder in folders:
        inner = inner[folder]
    inner[last] = value

    checker = Checker()
    assert checker.problems([sound]) == []
    (first, *_) = checker.problems([broken])
    assert f"{kind} {name}" in first
    assert complaint in first


def test_an_object_that_is_there_twice_is_found(find: Find) -> None:
    service = find("local", "Service", "ticket")

    assert Checker().problems([service, service]) == ["Service ticket is there twice"]


def test_a_kind_that_nobody_knows_is_found() -> None:
    (problem, *_) = Checker().problems([{"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "metadata": {"name": "t"}}])

    assert "no kafka.strimzi.io/v1 KafkaTopic" in problem


def test_the_components_that_no_overlay_has_are_rendered_too(everything: Manifests) -> None:
    (objects,) = [objects for name, objects in everything.items() if "tracing" in name]
    (role,) = [each for each in objects if each["kind"] == "StatefulSet" and each["metadata"]["name"] == "event"]

    (named,) = [each["configMapRef"]["name"] for each in role["spec"]["template"]["spec"]["containers"][0]["envFrom"]]
    assert ("ConfigMap", named) in {(each["kind"], each["metadata"]["name"]) for each in objects}
    assert "PodMonitor" in {each["kind"] for each in objects}
    assert ("Gateway", "outside") in {(each["kind"], each["metadata"]["name"]) for each in everything[OUTSIDE]}
    assert [each for each in objects if each["kind"] != "Namespace" and each["metadata"].get("namespace") != NAMESPACE] == []


def test_what_kustomize_refuses_is_said_in_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("kubectl", "rendering deploy/overlays")
    overlay = tmp_path / "deploy/overlays/local"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    monkeypatch.setattr("scripts.deploy.manifests.ROOT", tmp_path)
    monkeypatch.setattr("scripts.deploy.manifests.DEPLOY", tmp_path / "deploy")

    with pytest.raises(ScriptError, match=r"nothing\.yaml"):
        render("local")


def test_a_rendered_text_is_taken_apart_at_its_objects() -> None:
    assert documents("kind: A\n---\nkind: B\n") == ["kind: A", "kind: B\n"]
