"""The commands of `scripts/deploy/deploy`."""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.deploy.errors import DeployError, UsageError
from scripts.deploy.manifests import (
    LOCAL,
    NAMESPACE,
    ROLES,
    ROOT,
    Additions,
    check_spread,
    documents,
    joined,
    kind,
    name,
    partitions,
    processes,
    render,
)
from scripts.deploy.programs import Programs, need, say

# Terraform takes variables from the environment, so that no secret is on a command line.
VARIABLES = ("TF_VAR_confluent_cloud_api_key", "TF_VAR_confluent_cloud_api_secret", "TF_VAR_google_project")
CLOUD_PROGRAMS = ("kubectl", "terraform", "gcloud", "gke-gcloud-auth-plugin")
SECRET = "client-properties"  # noqa: S105 - its name
OPERATOR = "kafkas.kafka.strimzi.io"
INTERRUPTED = 130
# A restoration of much state, of pod after pod.
ROLLOUT_TIMEOUT = "30m"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except DeployError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line. Empty values are those that `make` was not given."""
    top = argparse.ArgumentParser(prog="deploy", description="Puts ticketmaster on Kubernetes, or takes it away.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = _with_size(commands.add_parser("apply", help="make or change clusters and pods as the overlay says"))
    command.add_argument("--partitions", default="", metavar="N", help="of every topic; topics that exist keep theirs (the overlay's)")
    command.add_argument("--image", default="", metavar="NAME:TAG", help="that the pods run; the cluster must be able to pull it")
    command.set_defaults(command=apply)

    command = _with_size(commands.add_parser("destroy", help="take away pods, state, and what Terraform has made"))
    command.set_defaults(command=destroy)
    return top


def _with_size(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--perf-type", required=True, metavar="OVERLAY", help="a folder of deploy/overlays")
    return command


def apply(options: argparse.Namespace) -> None:
    """All that can be found wrong is found before anything is made."""
    if options.partitions and not (options.partitions.isdecimal() and int(options.partitions)):
        raise UsageError(f"PARTITIONS_COUNT {options.partitions} is not a number of at least 1")
    additions = Additions(image=options.image, partitions=int(options.partitions or 0))
    rendered = render(options.perf_type, additions)
    check_spread(rendered)
    counts = ", ".join(f"{number} {role}" for role, number in processes(rendered).items())
    say(f"{options.perf_type}: {partitions(rendered)} partitions; processes: {counts}")
    if options.perf_type == LOCAL:
        apply_local(Programs(ROOT), rendered)
    else:
        if not options.image:
            raise UsageError(
                "IMAGE is not set: push the image where the cluster can pull it, and name it, -e IMAGE=registry/ticketmaster:TAG"
            )
        check_cloud()
        apply_cloud(options.perf_type, additions)


def apply_local(programs: Programs, rendered: str) -> None:
    """On the cluster that kubectl talks to now."""
    _tell_context(programs)
    if not programs.knows("kubectl", "get", "crd", OPERATOR):
        raise UsageError("the cluster has no Strimzi operator, or can't be reached: docs/deployment.md says how to install it")
    apply_all(programs, rendered, kafka=True)
    say(f"it serves: kubectl --namespace {NAMESPACE} port-forward service/ticket 8080:80, then http://localhost:8080/docs")


def apply_cloud(overlay: str, additions: Additions) -> None:
    """Clusters first, then their credentials, then the pods."""
    terraform = Programs(ROOT)
    terraform.terraform("init")
    terraform.terraform("apply", "-auto-approve", f"-var=perf_type={overlay}")
    properties = terraform.output("client_properties")
    digest = hashlib.sha256(properties.encode()).hexdigest()[:16]
    rendered = render(overlay, Additions(additions.image, additions.partitions, digest))
    with cluster(terraform) as programs:
        apply_all(programs, rendered, properties=properties)
        for gateway in ("outside", "inside"):
            programs.kubectl("wait", f"gateway/{gateway}", "--for=condition=Programmed", "--timeout=15m")
            programs.kubectl("get", f"gateway/{gateway}")


def apply_all(programs: Programs, rendered: str, *, kafka: bool = False, properties: str = "") -> None:
    """Namespace and credentials, then what the roles need, then topics, then the roles."""
    objects = documents(rendered)
    namespace = [each for each in objects if kind(each) == "Namespace"]
    job = [each for each in objects if kind(each) == "Job"]
    roles = [each for each in objects if kind(each) == "StatefulSet" and name(each) in ROLES]
    rest = [each for each in objects if each not in (*namespace, *job, *roles)]

    _apply(programs, namespace)
    if properties:
        command = ("kubectl", "--namespace", NAMESPACE, "create", "secret", "generic", SECRET, "--dry-run=client", "-o", "yaml")
        _apply(programs, [programs.ask(*command, "--from-file=client.properties=/dev/stdin", stdin=properties)])
    _apply(programs, rest)
    if kafka:
        programs.kubectl("wait", "kafka/kafka", "--for=condition=Ready", "--timeout=15m")
        programs.kubectl("rollout", "status", "statefulset/schema-registry", "--timeout=5m")
    # The last Job's pod can't be changed.
    programs.kubectl("delete", "job/topics", "--ignore-not-found")
    _apply(programs, job)
    try:
        programs.kubectl("wait", "job/topics", "--for=condition=Complete", "--timeout=11m")
    except DeployError:
        with suppress(DeployError):
            programs.kubectl("logs", "job/topics", "--tail=20")
        raise
    _apply(programs, roles)
    for role in ROLES:
        programs.kubectl("rollout", "status", f"statefulset/{role}", f"--timeout={ROLLOUT_TIMEOUT}")


def _apply(programs: Programs, objects: Sequence[str]) -> None:
    programs.kubectl("apply", "--filename=-", stdin=joined(objects))


def destroy(options: argparse.Namespace) -> None:
    """Pods and state first, then, in a cloud, what Terraform has made."""
    rendered = render(options.perf_type)
    if options.perf_type == LOCAL:
        programs = Programs(ROOT)
        _tell_context(programs)
        # The namespace stays: Strimzi's operator lives in it.
        objects = [each for each in documents(rendered) if kind(each) != "Namespace"]
        programs.kubectl("delete", "--filename=-", "--ignore-not-found", "--timeout=10m", stdin=joined(objects))
        programs.kubectl("wait", "persistentvolumeclaims", "--all", "--for=delete", "--timeout=5m")
        return
    check_cloud()
    terraform = Programs(ROOT)
    terraform.terraform("init")
    if terraform.knows("terraform", "-chdir=deploy/terraform", "output", "-raw", "cluster_name"):
        with cluster(terraform) as programs:
            # Load balancers and disks can be taken away only while there is a cluster that knows of them.
            programs.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=15m")
            programs.run("kubectl", "wait", "persistentvolumes", "--all", "--for=delete", "--timeout=5m")
    else:
        say("Terraform knows of no Kubernetes cluster: nothing to delete there")
    terraform.terraform("destroy", "-auto-approve", f"-var=perf_type={options.perf_type}")


def _tell_context(programs: Programs) -> None:
    command = ("kubectl", "config", "current-context")
    if not programs.knows(*command):
        raise UsageError(
            "kubectl has no current cluster: start one, e.g. kind create cluster, or choose one, kubectl config use-context NAME"
        )
    say(f"the cluster is the current one of kubectl: {programs.ask(*command).strip()}")


def check_cloud() -> None:
    """UsageError: a program or a variable is missing."""
    need(*CLOUD_PROGRAMS)
    missing = [variable for variable in VARIABLES if not os.environ.get(variable)]
    if missing:
        raise UsageError(f"{', '.join(missing)} must be set in the environment: docs/deployment.md says where they come from")


@contextmanager
def cluster(terraform: Programs) -> Iterator[Programs]:
    """Programs that talk to the cluster that Terraform has made, whatever cluster kubectl talks to otherwise."""
    with tempfile.TemporaryDirectory(prefix="ticketmaster-") as folder:
        programs = Programs(ROOT, {"KUBECONFIG": str(Path(folder) / "kubeconfig")})
        where = [f"--{flag}={terraform.output(output)}" for flag, output in (("region", "region"), ("project", "google_project"))]
        programs.run("gcloud", "container", "clusters", "get-credentials", terraform.output("cluster_name"), *where)
        yield programs
