"""`make deploy` and `make destroy`, with programs that only note how they were called; kubectl renders, and does nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from scripts.deploy.errors import UsageError
from scripts.deploy.manifests import Additions, image_of, render
from tests.support.tools import needs

ROOT: Final = Path(__file__).resolve().parents[2]
VARIABLES: Final = {
    "TF_VAR_confluent_cloud_api_key": "cloud-key",
    "TF_VAR_confluent_cloud_api_secret": "cloud-secret",
    "TF_VAR_google_project": "a-project",
}
PROGRAMS: Final = ("kubectl", "terraform", "gcloud", "gke-gcloud-auth-plugin")
# Notes how it was called, and its standard input; answers what it is asked for; fails where a test wants it. `kubectl kustomize` is real.
FAKE: Final = """#!/bin/sh
name=${{0##*/}}
if [ "$name $1" = "kubectl kustomize" ]; then exec {kubectl} "$@"; fi
line="$name $*"
stdin=$({cat})
printf '%s\\037%s\\037%s\\036' "$line" "$stdin" "$KUBECONFIG" >> {folder}/calls
if [ -e {folder}/failing ]; then
    read -r failing < {folder}/failing
    case $line in *"$failing"*) exit 3 ;; esac
fi
case $line in
    *current-context) echo kind-test ;;
    *cluster_name) printf ticketmaster ;;
    *"raw region") printf asia-east1 ;;
    *google_project) printf a-project ;;
    *client_properties) printf 'bootstrap.servers=b:9092\\npassword=geheim\\n' ;;
    *"create secret"*) echo "kind: Secret" ;;
esac
"""
CLOUD: Final = ("apply", "--perf-type", "40-instance-perf", "--image", "registry/ticketmaster:1.2.3")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that has the programs that a test gives it."""

    folder: Path

    def run(self, *arguments: str, environment: dict[str, str] | None = None, command: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code, and what was said."""
        env = {"PATH": str(self.folder / "bin"), "HOME": str(self.folder), "KUBECONFIG": "/of/the/user"} | (environment or {})
        program = command or (sys.executable, "scripts/deploy/deploy")
        done = subprocess.run(
            [*program, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def fail(self, call: str) -> None:
        """Every call that contains this text."""
        (self.folder / "failing").write_text(f"{call}\n")

    def without(self, program: str) -> None:
        (self.folder / "bin" / program).unlink()

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Command line, standard input and kubeconfig of each call."""
        file = self.folder / "calls"
        calls = file.read_text().split("\x1e")[:-1] if file.exists() else []
        return [(line, stdin, kubeconfig) for line, stdin, kubeconfig in (call.split("\x1f") for call in calls)]

    @property
    def lines(self) -> list[str]:
        return [line for line, _, _ in self.calls]

    def applied(self) -> list[set[str]]:
        """The kinds and names of each `kubectl apply`, in order."""
        texts = [stdin for line, stdin, _ in self.calls if line.startswith("kubectl") and " apply " in line]
        return [
            {f"{each['kind']} {each.get('metadata', {}).get('name', '')}".strip() for each in yaml.safe_load_all(text)} for text in texts
        ]


def equipped(folder: Path) -> Machine:
    """With all programs."""
    needs("kubectl", "rendering deploy/overlays")
    (folder / "bin").mkdir()
    for program in PROGRAMS:
        file = folder / "bin" / program
        file.write_text(FAKE.format(kubectl=shutil.which("kubectl"), cat=shutil.which("cat"), folder=folder))
        file.chmod(0o755)
    return Machine(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return equipped(tmp_path)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, int, str]:
    """A machine that has deployed to a cloud, the exit code, and what was said."""
    machine = equipped(tmp_path_factory.mktemp("deployed"))
    return machine, *machine.run(*CLOUD, environment=VARIABLES)


def test_a_cloud_gets_clusters_then_credentials_then_what_roles_need_then_topics_then_roles(deployed: tuple[Machine, int, str]) -> None:
    machine, code, said = deployed

    assert (code, said.splitlines()[0]) == (0, "deploy: 40-instance-perf: 40 partitions; processes: 40 ticket, 20 reservation, 20 event")
    order = (
        "terraform -chdir=deploy/terraform init",
        "terraform -chdir=deploy/terraform apply",
        "gcloud container clusters get-credentials",
        "create secret",
        "delete job/topics",
        "wait job/topics",
        "rollout status statefulset/ticket",
        "wait gateway/outside",
    )
    positions = [next(number for number, line in enumerate(machine.lines) if call in line) for call in order]
    assert positions == sorted(positions)
    namespace, secret, rest, job, roles = machine.applied()
    assert (namespace, secret, job) == ({"Namespace ticketmaster"}, {"Secret"}, {"Job topics"})
    assert roles == {"StatefulSet ticket", "StatefulSet reservation", "StatefulSet event"}
    assert {"Gateway outside", "HTTPRoute ticket", "PodDisruptionBudget event", "Service ticket-peers"} <= rest


def test_a_cloud_deployment_speaks_to_the_cluster_that_terraform_has_made_only(deployed: tuple[Machine, int, str]) -> None:
    machine, _, _ = deployed

    used = {kubeconfig for line, _, kubeconfig in machine.calls if line.startswith(("kubectl", "gcloud"))}
    assert len(used) == 1
    assert used != {"/of/the/user"}
    assert not Path(used.pop()).exists(), "the credentials outlive the command"


def test_secrets_are_on_no_command_line_and_in_nothing_that_is_said(deployed: tuple[Machine, int, str]) -> None:
    machine, _, said = deployed

    for secret in ("cloud-secret", "geheim"):
        assert secret not in said
        assert not any(secret in line for line in machine.lines)
    (given,) = [stdin for line, stdin, _ in machine.calls if "create secret" in line]
    assert given == "bootstrap.servers=b:9092\npassword=geheim"


def test_pods_restart_when_their_credentials_change() -> None:
    needs("kubectl", "rendering deploy/overlays")
    texts = [render("1-instance-perf", Additions(client_digest=digest)) for digest in ("aaaa", "bbbb")]

    for text, digest in zip(texts, ("aaaa", "bbbb"), strict=True):
        assert text.count(f"ticketmaster/client-properties: {digest}") == 3


def test_the_local_overlay_needs_no_terraform_and_waits_for_its_kafka(machine: Machine) -> None:
    for program in ("terraform", "gcloud", "gke-gcloud-auth-plugin"):
        machine.without(program)
    code, said = machine.run("apply", "--perf-type", "local")

    assert (code, "kind-test" in said) == (0, True)
    assert next(number for number, line in enumerate(machine.lines) if "wait kafka/kafka" in line) < next(
        number for number, line in enumerate(machine.lines) if "delete job/topics" in line
    )
    assert {kubeconfig for _, _, kubeconfig in machine.calls} == {"/of/the/user"}


def test_image_and_partitions_that_were_asked_for_arrive(machine: Machine) -> None:
    code, _ = machine.run("apply", "--perf-type", "local", "--partitions", "6", "--image", "host:5000/a/b:1")

    assert code == 0
    job, roles = [stdin for line, stdin, _ in machine.calls if " apply " in line][-2:]
    assert 'name: PARTITIONS_COUNT\n          value: "6"' in job
    assert roles.count("image: host:5000/a/b:1\n") == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--perf-type", "2-instance-perf"),
            "PERF_TYPE 2-instance-perf is none of local, 1-instance-perf, 16-instance-perf, 40-instance-perf",
        ),
        (
            ("--perf-type", "40-instance-perf", "--partitions", "30"),
            "PARTITIONS_COUNT 30 can't be spread evenly over 40 ticket processes: take a multiple of 40",
        ),
        (("--perf-type", "local", "--partitions", "many"), "PARTITIONS_COUNT many is not a number of at least 1"),
        (("--perf-type", "local", "--partitions", "0"), "PARTITIONS_COUNT 0 is not a number of at least 1"),
        (
            ("--perf-type", "local", "--image", "host:5000/b"),
            "IMAGE host:5000/b has no tag: name the one that was pushed, e.g. host:5000/b:1.0.0",
        ),
    ],
)
def test_what_is_asked_for_wrongly_is_one_line_and_nothing_happens(machine: Machine, arguments: tuple[str, ...], expected: str) -> None:
    code, said = machine.run("apply", *arguments)

    assert (code, said) == (2, f"deploy: {expected}\n")
    assert machine.lines == []


def test_what_a_cloud_lacks_is_named_before_anything_is_made(machine: Machine) -> None:
    def complaint(*arguments: str, **environment: str) -> str:
        code, said = machine.run(*(arguments or CLOUD), environment=environment)
        assert code == 2
        return said.splitlines()[-1]

    assert complaint(*CLOUD[:3], **VARIABLES).startswith("deploy: IMAGE is not set")
    assert complaint(**dict(list(VARIABLES.items())[:1])).startswith(
        "deploy: TF_VAR_confluent_cloud_api_secret, TF_VAR_google_project must be set in the environment"
    )
    machine.without("gcloud")
    machine.without("terraform")
    assert complaint(**VARIABLES).startswith("deploy: no terraform and no gcloud found: install what is missing")
    machine.without("kubectl")
    assert complaint(**VARIABLES).startswith("deploy: no kubectl found")
    assert machine.lines == []


def test_a_laptop_without_cluster_or_operator_is_told_what_to_do(machine: Machine) -> None:
    machine.fail("get crd")
    code, said = machine.run("apply", "--perf-type", "local")
    assert (code, "Strimzi operator" in said.splitlines()[-1]) == (2, True)

    machine.fail("current-context")
    code, said = machine.run("apply", "--perf-type", "local")
    assert (code, "kind create cluster" in said.splitlines()[-1]) == (2, True)


@pytest.mark.parametrize(("call", "after"), [("terraform -chdir=deploy/terraform apply", "gcloud"), ("wait job/topics", "rollout")])
def test_what_fails_ends_the_deployment_and_is_named(machine: Machine, call: str, after: str) -> None:
    machine.fail(call)
    code, said = machine.run(*CLOUD, environment=VARIABLES)

    assert code == 1
    assert said.splitlines()[-1].endswith("failed with exit code 3, see above")
    assert not any(after in line for line in machine.lines)
    assert any("logs job/topics" in line for line in machine.lines) == (call == "wait job/topics")


def test_destroying_takes_the_pods_away_while_there_is_a_cluster_and_then_the_clusters(machine: Machine) -> None:
    code, _ = machine.run("destroy", "--perf-type", "16-instance-perf", environment=VARIABLES)

    assert code == 0
    delete, wait, destroy = machine.lines[-3:]
    assert delete.startswith("kubectl delete namespace ticketmaster --ignore-not-found")
    assert wait.startswith("kubectl wait persistentvolumes --all --for=delete")
    assert destroy == "terraform -chdir=deploy/terraform destroy -auto-approve -var=perf_type=16-instance-perf -input=false"


def test_destroying_what_has_no_cluster_any_more_still_destroys_the_rest(machine: Machine) -> None:
    machine.fail("output -raw cluster_name")
    code, _ = machine.run("destroy", "--perf-type", "16-instance-perf", environment=VARIABLES)

    assert code == 0
    assert not any(line.startswith(("kubectl", "gcloud")) for line in machine.lines)
    assert " destroy " in machine.lines[-1]


def test_destroying_the_local_one_leaves_the_namespace_in_which_the_operator_lives(machine: Machine) -> None:
    code, _ = machine.run("destroy", "--perf-type", "local")

    assert code == 0
    (deleted,) = [stdin for line, stdin, _ in machine.calls if " delete " in line]
    kinds = [each["kind"] for each in yaml.safe_load_all(deleted)]
    assert "Namespace" not in kinds
    assert {"StatefulSet", "Kafka", "KafkaNodePool", "Secret", "Job"} <= set(kinds)
    assert machine.lines[-1].endswith("wait persistentvolumeclaims --all --for=delete --timeout=5m")


def test_make_hands_its_variables_on(machine: Machine) -> None:
    needs("make", "running make deploy")
    path = f"{machine.folder / 'bin'}:{os.environ['PATH']}"
    variables = ("-e", "PARTITIONS_COUNT=80", "-e", "PERF_TYPE=40-instance-perf", "-e", "IMAGE=a/b:1")
    code, said = machine.run("deploy", *variables, command=("make",), environment={**VARIABLES, "PATH": path})

    assert (code, said.splitlines()[0]) == (0, "deploy: 40-instance-perf: 80 partitions; processes: 40 ticket, 20 reservation, 20 event")


def test_an_image_is_named_by_tag_or_by_digest() -> None:
    assert image_of("a/b:1") == {"newName": "a/b", "newTag": "1"}
    assert image_of("host:5000/b@sha256:12") == {"newName": "host:5000/b", "digest": "sha256:12"}
    with pytest.raises(UsageError):
        image_of("b")
