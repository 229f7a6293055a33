"""`make deploy` and `make destroy`, with programs that only note how they were called; kubectl renders, and does nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from scripts.deploy.cloud import PROTECTED
from scripts.deploy.confirming import confirm
from scripts.deploy.manifests import Additions, documents, image_of, kind, name, render
from scripts.deploy.rollout import rollout_timeout_s
from scripts.errors import UsageError
from tests.deploy.conftest import OVERLAYS
from tests.support.tools import needs

ROOT: Final = Path(__file__).resolve().parents[2]
VARIABLES: Final = {
    "TF_VAR_confluent_cloud_api_key": "cloud-key",
    "TF_VAR_confluent_cloud_api_secret": "cloud-secret",
    "TF_VAR_google_project": "a-project",
    "TF_VAR_authorized_networks": '["203.0.113.7/32"]',
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
    *cluster_name) printf ticketmaster-main ;;
    *" show -json "*) if [ -e {folder}/plan ]; then {cat} {folder}/plan; else echo '{{}}'; fi ;;
    *" plan "*) if [ -e {folder}/plan ]; then exit 2; fi ;;
    *client_properties) printf '{properties}' ;;
    *dns_records) printf '["tickets.test. A 203.0.113.9"]' ;;
    *"create secret"*) echo "kind: Secret" ;;
    *"get secret/"*) printf {secret} ;;
    *"get job/topics"*) if [ -e {folder}/topics ]; then {cat} {folder}/topics; else printf 'Complete '; fi ;;
esac
"""
ACCOUNTS: Final = ("ticket", "reservation", "event", "topics")
PROPERTIES: Final = {account: f"bootstrap.servers=b:9092\npassword=geheim-{account}" for account in ACCOUNTS}
PLACE: Final = ("--state-bucket", "a-bucket")
CLOUD: Final = ("apply", "--perf-type", "40-instance-perf", "--image", "registry/ticketmaster:1.2.3", *PLACE)
UPGRADE: Final = ("upgrade", *CLOUD[1:5])
DESTROY: Final = ("destroy", "--perf-type", "16-instance-perf", *PLACE)


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

    def works(self) -> None:
        """Nothing fails any more."""
        (self.folder / "failing").unlink()

    def forget(self) -> None:
        """Begins the list of calls anew."""
        (self.folder / "calls").unlink()

    def plans(self, **actions: list[str]) -> None:
        """Terraform has found this to do, by address; nothing, unless it is said."""
        changes = [{"address": address, "change": {"actions": each}} for address, each in actions.items()]
        (self.folder / "plan").write_text(json.dumps({"resource_changes": changes}))

    def topics(self, *conditions: str) -> None:
        """Sets the conditions of the Job that creates topics."""
        (self.folder / "topics").write_text(" ".join(conditions))

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

    def applied_texts(self) -> list[str]:
        """Each `kubectl apply`, in order."""
        return [stdin for line, stdin, _ in self.calls if line.startswith("kubectl") and " apply " in line]

    def applied(self) -> list[set[str]]:
        """The kinds and names of each."""
        return [
            {f"{each['kind']} {each.get('metadata', {}).get('name', '')}".strip() for each in yaml.safe_load_all(text)}
            for text in self.applied_texts()
        ]


def equipped(folder: Path) -> Machine:
    """With all programs."""
    needs("kubectl", "rendering deploy/overlays")
    (folder / "bin").mkdir()
    for program in PROGRAMS:
        file = folder / "bin" / program
        told = {
            "properties": json.dumps(PROPERTIES).replace("\\", "\\\\"),
            "secret": base64.b64encode(PROPERTIES["event"].encode()).decode(),
        }
        file.write_text(FAKE.format(kubectl=shutil.which("kubectl"), cat=shutil.which("cat"), folder=folder, **told))
        file.chmod(0o755)
    return Machine(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return equipped(tmp_path)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, int, str]:
    """A machine that has deployed to a cloud, the exit code, and what was said."""
    machine = equipped(tmp_path_factory.mktemp("deployed"))
    machine.plans(**{"module.kafka.confluent_kafka_cluster.this": ["create"]})
    return machine, *machine.run(*CLOUD, "--confirm", "main", environment=VARIABLES)


def test_a_cloud_gets_clusters_then_credentials_then_what_roles_need_then_topics_then_roles(deployed: tuple[Machine, int, str]) -> None:
    machine, code, said = deployed

    assert (code, said.splitlines()[0]) == (0, "deploy: 40-instance-perf: 40 partitions; processes: 40 ticket, 20 reservation, 20 event")
    order = (
        "init -input=false -reconfigure -backend-config=bucket=a-bucket -backend-config=prefix=ticketmaster/main",
        "terraform -chdir=deploy/terraform plan",
        "terraform -chdir=deploy/terraform show",
        "terraform -chdir=deploy/terraform apply",
        "gcloud container clusters get-credentials",
        "create secret",
        "delete job/topics",
        "get job/topics",
        "rollout status statefulset/ticket",
        "wait gateway/inside",
    )
    positions = [next(number for number, line in enumerate(machine.lines) if call in line) for call in order]
    assert positions == sorted(positions)
    namespace, *secrets, rest, job, roles = machine.applied()
    assert (namespace, secrets, job) == ({"Namespace ticketmaster"}, [{"Secret"}] * len(ACCOUNTS), {"Job topics"})
    assert roles == {"StatefulSet ticket", "StatefulSet reservation", "StatefulSet event"}
    assert {"Gateway inside", "HTTPRoute ticket", "PodDisruptionBudget event", "Service ticket-peers", "Rules ticketmaster"} <= rest
    assert "Gateway outside" not in rest


def test_a_cloud_deployment_speaks_to_the_cluster_that_terraform_has_made_only(deployed: tuple[Machine, int, str]) -> None:
    machine, _, _ = deployed

    used = {kubeconfig for line, _, kubeconfig in machine.calls if line.startswith(("kubectl", "gcloud container"))}
    assert len(used) == 1
    assert used != {"/of/the/user"}
    assert not Path(used.pop()).exists(), "the credentials outlive the command"


def test_secrets_are_on_no_command_line_and_in_nothing_that_is_said(deployed: tuple[Machine, int, str]) -> None:
    machine, _, said = deployed

    for secret in ("cloud-secret", "geheim"):
        assert secret not in said
        assert not any(secret in line for line in machine.lines)
    given = {line.split()[6]: stdin for line, stdin, _ in machine.calls if "create secret" in line}
    assert given == {f"{account}-client": text for account, text in PROPERTIES.items()}


def digests(roles: str) -> dict[str, str]:
    """What each role's pods have for their credentials."""
    objects = [each for each in yaml.safe_load_all(roles) if each["kind"] == "StatefulSet"]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["ticketmaster/client-properties"] for each in objects
    }


def test_the_pods_of_a_role_restart_when_its_credentials_change(deployed: tuple[Machine, int, str]) -> None:
    machine, _, _ = deployed
    first = digests(machine.applied_texts()[-1])
    assert len(set(first.values())) == len(first) == 3

    given = Additions().with_digests({"ticket": "aaaa", "reservation": "bbbb", "event": "cccc", "topics": "dddd"})
    assert digests(render("1-instance-perf", given)) == {"ticket": "aaaa", "reservation": "bbbb", "event": "cccc"}


# --- What is changed, and what only if somebody says so ----------------------------------------------------------------------


def test_what_is_as_it_must_be_is_not_asked_about(machine: Machine) -> None:
    code, said = machine.run(*CLOUD, environment=VARIABLES)

    assert (code, "Terraform: nothing to change" in said) == (0, True)
    assert not any(" apply " in line for line in machine.lines if line.startswith("terraform"))


def test_a_plan_is_shown_and_done_when_somebody_has_said_yes_and_not_otherwise(machine: Machine) -> None:
    machine.plans(**{"module.kubernetes.google_container_node_pool.this": ["update"]})

    code, said = machine.run(*CLOUD, environment=VARIABLES)
    expected = "This plan changes what costs money, in the environment main: nobody is there to be asked; "
    assert (code, said.splitlines()[-1]) == (2, f"deploy: {expected}if it is what you want, say so with -e CONFIRM=main")
    code, said = machine.run(*CLOUD, "--confirm", "staging", environment=VARIABLES)
    assert (code, said.splitlines()[-1]) == (2, "deploy: CONFIRM is staging, and this is main: nothing is changed")
    assert not any(" apply " in line or line.startswith("kubectl") for line in machine.lines)

    assert machine.run(*CLOUD, "--confirm", "main", environment=VARIABLES)[0] == 0
    planned, applied = (
        [line.split() for line in machine.lines if f" {word} " in line and line.startswith("terraform")][-1] for word in ("plan", "apply")
    )
    (file,) = [word.removeprefix("-out=") for word in planned if word.startswith("-out=")]
    assert applied[-1] == file, "something else than what was shown"


def test_what_a_plan_would_delete_is_said_in_the_question(machine: Machine) -> None:
    machine.plans(
        **{"module.kubernetes.google_compute_router.this": ["update"], "module.kafka.confluent_service_account.old": ["delete"]},
        **{"module.kubernetes.google_container_node_pool.this": ["delete", "create"]},
    )
    _, said = machine.run(*CLOUD, environment=VARIABLES)

    expected = "This plan DELETES module.kafka.confluent_service_account.old, module.kubernetes.google_container_node_pool.this, in"
    assert expected in said.splitlines()[-1]


def test_each_environment_has_a_name_a_state_and_a_cluster_of_its_own(machine: Machine) -> None:
    code, _ = machine.run(*CLOUD, "--environment", "staging", environment=VARIABLES)

    assert code == 0
    lines = "\n".join(machine.lines)
    assert "-backend-config=prefix=ticketmaster/staging" in lines
    assert "-var=environment=staging" in lines
    assert "get-credentials ticketmaster-staging --region=asia-east1 --project=a-project" in lines

    code, said = machine.run(*CLOUD, "--environment", "Staging!", environment=VARIABLES)
    assert (code, said.splitlines()[-1]) == (2, "deploy: ENVIRONMENT Staging! is not a letter and up to nine letters or digits")


def test_an_upgrade_needs_no_terraform_and_restarts_no_pod_for_credentials_that_it_has(machine: Machine) -> None:
    machine.without("terraform")
    variables = {"TF_VAR_google_project": "a-project", "TF_VAR_region": "europe-west1"}
    code, _ = machine.run(*UPGRADE, environment=variables)

    assert code == 0
    assert any("get-credentials ticketmaster-main --region=europe-west1 --project=a-project" in line for line in machine.lines)
    assert not any("create secret" in line for line in machine.lines)
    roles = machine.applied_texts()[-1]
    assert roles.count("image: registry/ticketmaster:1.2.3\n") == 3
    # All have event's here, and this is its digest.
    assert set(digests(roles).values()) == {hashlib.sha256(PROPERTIES["event"].encode()).hexdigest()[:16]}


def test_the_world_gets_a_way_in_when_it_is_asked_for(machine: Machine) -> None:
    code, said = machine.run(*CLOUD, "--domain", "tickets.test", environment=VARIABLES)

    assert code == 0
    assert any("-var=domain=tickets.test" in line for line in machine.lines if " plan " in line)
    assert any("Gateway outside" in applied for applied in machine.applied())
    assert any("wait gateway/outside" in line for line in machine.lines)
    # Whoever must add them sees them before the gateway is waited for.
    assert said.index("  tickets.test. A 203.0.113.9\n") < said.index("wait gateway/outside")

    code, said = machine.run("apply", "--perf-type", "local", "--domain", "tickets.test")
    assert (code, "DOMAIN is for the cloud" in said) == (2, True)


# --- Waits -----------------------------------------------------------------------------------------------------------------------


def test_a_job_that_has_failed_ends_the_deployment_with_what_it_said(machine: Machine) -> None:
    machine.topics("FailureTarget", "Failed")
    code, said = machine.run(*CLOUD, environment=VARIABLES)

    assert (code, said.splitlines()[-1]) == (1, "deploy: the Job topics has failed, see above")
    assert any("logs job/topics" in line for line in machine.lines)
    assert not any("rollout" in line for line in machine.lines)


@pytest.mark.parametrize(("overlay", "seconds"), [("1-instance-perf", 1_800), ("40-instance-perf", 40 * (120 + 10 + 120))])
def test_a_rollout_is_waited_for_as_long_as_its_pods_may_take_one_after_the_other(overlay: str, seconds: int) -> None:
    needs("kubectl", "rendering deploy/overlays")
    sets = {name(each): each for each in documents(render(overlay)) if kind(each) == "StatefulSet"}

    assert rollout_timeout_s(sets["ticket"]) == seconds


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
            ("--perf-type", "3-instance-perf"),
            f"PERF_TYPE 3-instance-perf is none of {', '.join(OVERLAYS)}",
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
        "deploy: TF_VAR_confluent_cloud_api_secret, TF_VAR_google_project, TF_VAR_authorized_networks must be set in the environment"
    )
    assert complaint(*CLOUD[:5], **VARIABLES).startswith("deploy: STATE_BUCKET is not set")
    for login, expected in (("print-access-token", "gcloud auth application-default login"), ("auth print", "gcloud auth login")):
        machine.fail(login)
        assert complaint(**VARIABLES).endswith(f": {expected}")
    machine.works()
    assert {line for line in machine.lines if "print-access-token" not in line} == set()
    machine.forget()
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


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("terraform -chdir=deploy/terraform plan", "apply"),
        ("terraform -chdir=deploy/terraform apply", "gcloud container"),
        ("get job/topics", "rollout"),
    ],
)
def test_what_fails_ends_the_deployment_and_is_named(machine: Machine, call: str, after: str) -> None:
    machine.fail(call)
    machine.plans(**{"module.kafka.confluent_kafka_cluster.this": ["create"]})
    code, said = machine.run(*CLOUD, "--confirm", "main", environment=VARIABLES)

    assert code == 1
    assert said.splitlines()[-1].endswith("failed with exit code 3, see above")
    assert not any(after in line for line in machine.lines)


# --- Destroying --------------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "goes_on"), [("main\n", True), ("yes\n", False), ("\n", False), ("", False)])
def test_somebody_at_a_terminal_is_asked_and_types_the_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, typed: str, goes_on: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    if goes_on:
        confirm("This deletes it", "main", "")
    else:
        with pytest.raises(UsageError, match="nothing is changed"):
            confirm("This deletes it", "main", "")

    assert capsys.readouterr().err == "deploy: This deletes it. To go on, type main:\n"


@pytest.mark.parametrize("arguments", [DESTROY, ("destroy", "--perf-type", "local")], ids=["cloud", "local"])
def test_nothing_is_destroyed_unless_somebody_says_what(machine: Machine, arguments: tuple[str, ...]) -> None:
    for more, expected in (((), "nobody is there to be asked"), (("--confirm", "yes"), "CONFIRM is yes, and this is")):
        code, said = machine.run(*arguments, *more, environment=VARIABLES)
        assert (code, expected in said.splitlines()[-1]) == (2, True)
    assert [line for line in machine.lines if "current-context" not in line and "print-access-token" not in line] == []


def test_destroying_takes_the_pods_away_while_there_is_a_cluster_and_then_the_clusters(machine: Machine) -> None:
    code, _ = machine.run(*DESTROY, "--confirm", "main", environment=VARIABLES)

    assert code == 0
    delete, wait, destroy = machine.lines[-3:]
    assert delete.startswith("kubectl delete namespace ticketmaster --ignore-not-found")
    assert wait.startswith("kubectl wait persistentvolumes --all --for=delete")
    assert destroy == (
        "terraform -chdir=deploy/terraform destroy -input=false -auto-approve -var=perf_type=16-instance-perf -var=environment=main"
    )


def test_what_terraform_protects_is_free_while_it_is_destroyed_and_protected_again_whatever_happens(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    terraform = equipped(tmp_path).folder / "bin/terraform"
    overrides = [ROOT / "deploy/terraform" / module / "destroying_override.tf" for module in PROTECTED]
    looks = "".join(f"case $2 in destroy) {shutil.which('cat')} {file} >> {seen}; exit 3 ;; esac\n" for file in overrides[:1])
    terraform.write_text(terraform.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{looks}"))

    code, _ = Machine(tmp_path).run(*DESTROY, "--confirm", "main", environment=VARIABLES)

    assert code == 1
    assert seen.read_text().count("prevent_destroy = false") == len(PROTECTED["kafka"])
    assert [file for file in overrides if file.exists()] == []


def test_destroying_what_has_no_cluster_any_more_still_destroys_the_rest(machine: Machine) -> None:
    machine.fail("output -raw cluster_name")
    code, _ = machine.run(*DESTROY, "--confirm", "main", environment=VARIABLES)

    assert code == 0
    assert not any(line.startswith(("kubectl", "gcloud container")) for line in machine.lines)
    assert " destroy " in machine.lines[-1]


def test_destroying_the_local_one_leaves_the_namespace_in_which_the_operator_lives(machine: Machine) -> None:
    code, _ = machine.run("destroy", "--perf-type", "local", "--confirm", "local")

    assert code == 0
    (deleted,) = [stdin for line, stdin, _ in machine.calls if " delete " in line]
    kinds = [each["kind"] for each in yaml.safe_load_all(deleted)]
    assert "Namespace" not in kinds
    assert {"StatefulSet", "Kafka", "KafkaNodePool", "Secret", "Job"} <= set(kinds)
    assert machine.lines[-1].endswith("wait persistentvolumeclaims --all --for=delete --timeout=5m")


def test_make_hands_its_variables_on(machine: Machine) -> None:
    needs("make", "running make deploy")
    path = f"{machine.folder / 'bin'}:{os.environ['PATH']}"
    variables = ("-e", "PARTITIONS_COUNT=80", "-e", "PERF_TYPE=40-instance-perf", "-e", "IMAGE=a/b:1", "-e", "STATE_BUCKET=s")
    code, said = machine.run("deploy", *variables, command=("make",), environment={**VARIABLES, "PATH": path})

    assert (code, said.splitlines()[0]) == (0, "deploy: 40-instance-perf: 80 partitions; processes: 40 ticket, 20 reservation, 20 event")


def test_an_image_is_named_by_tag_or_by_digest() -> None:
    assert image_of("a/b:1") == {"newName": "a/b", "newTag": "1"}
    assert image_of("host:5000/b@sha256:12") == {"newName": "host:5000/b", "digest": "sha256:12"}
    with pytest.raises(UsageError):
        image_of("b")
