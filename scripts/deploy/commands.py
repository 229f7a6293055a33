"""The commands of `scripts/deploy/deploy`."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

from scripts.deploy.cloud import Cloud
from scripts.deploy.confirming import confirm
from scripts.deploy.manifests import (
    ACCOUNTS,
    LOCAL,
    NAMESPACE,
    ROOT,
    Additions,
    check_spread,
    client_secret,
    documents,
    joined,
    kind,
    partitions,
    processes,
    render,
)
from scripts.deploy.programs import TERRAFORM, Programs, say
from scripts.deploy.rollout import apply_all
from scripts.errors import ScriptError, UsageError

OPERATOR = "kafkas.kafka.strimzi.io"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except ScriptError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line. Empty values are those that `make` was not given."""
    top = argparse.ArgumentParser(prog="deploy", description="Puts ticketmaster on Kubernetes, or takes it away.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = _with_place(commands.add_parser("apply", help="make or change clusters and pods as the overlay says"))
    _with_contents(command)
    command.set_defaults(command=apply)

    command = _with_place(commands.add_parser("upgrade", help="change pods only: another image or configuration, without Terraform"))
    _with_contents(command)
    command.set_defaults(command=upgrade)

    command = _with_place(commands.add_parser("destroy", help="take away pods, state, and what Terraform has made"))
    command.set_defaults(command=destroy)
    return top


def _with_place(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--perf-type", required=True, metavar="OVERLAY", help="a folder of deploy/overlays")
    command.add_argument("--environment", default="", metavar="NAME", help="which of several deployments in the cloud (main)")
    command.add_argument("--domain", default="", metavar="HOST", help="name by which the world reaches it; without one it does not")
    command.add_argument("--state-bucket", default="", metavar="BUCKET", help="of Google Cloud Storage, where Terraform's state is")
    command.add_argument("--confirm", default="", metavar="NAME", help="the answer to the question, for where nobody is to be asked")
    return command


def _with_contents(command: argparse.ArgumentParser) -> None:
    command.add_argument("--partitions", default="", metavar="N", help="of every topic; those that exist must have as many (the overlay's)")
    command.add_argument("--image", default="", metavar="NAME:TAG", help="that the pods run; the cluster must be able to pull it")


def apply(options: argparse.Namespace) -> None:
    """All that can be found wrong is found before anything is made."""
    additions, rendered = _contents(options)
    if options.perf_type == LOCAL:
        apply_local(Programs(ROOT), rendered)
        return
    cloud = _cloud(options)
    cloud.check()
    terraform = cloud.begin()
    cloud.make(terraform)
    if options.domain:
        # Before anything waits for the certificate.
        records: list[str] = json.loads(terraform.ask("terraform", f"-chdir={TERRAFORM}", "output", "-json", "dns_records"))
        say("\n  ".join(["the domain's DNS must have", *records]))
    properties: dict[str, str] = json.loads(terraform.ask("terraform", f"-chdir={TERRAFORM}", "output", "-json", "client_properties"))
    rendered = render(options.perf_type, additions.with_digests({account: _digest(text) for account, text in properties.items()}))
    with cloud.cluster() as programs:
        apply_all(programs, rendered, properties=properties)
        _show_gateways(programs, options)


def upgrade(options: argparse.Namespace) -> None:
    """As :func:`apply`, on clusters as they are, with the credentials that are there."""
    additions, rendered = _contents(options)
    if options.perf_type == LOCAL:
        apply_local(Programs(ROOT), rendered)
        return
    cloud = _cloud(options)
    cloud.check_upgrade()
    with cloud.cluster() as programs:
        apply_all(programs, render(options.perf_type, additions.with_digests(_digests_there(programs))))
        _show_gateways(programs, options)


def _contents(options: argparse.Namespace) -> tuple[Additions, str]:
    """(the additions to the overlay, the manifests that come of them). UsageError: an option is wrong."""
    if options.partitions and not (options.partitions.isdecimal() and int(options.partitions)):
        raise UsageError(f"PARTITIONS_COUNT {options.partitions} is not a number of at least 1")
    if options.domain and options.perf_type == LOCAL:
        raise UsageError("DOMAIN is for the cloud: the overlay local has no gateway")
    cloud = _cloud(options)
    additions = Additions(image=options.image, partitions=int(options.partitions or 0), domain=options.domain, name=cloud.name)
    rendered = render(options.perf_type, additions)
    check_spread(rendered)
    counts = ", ".join(f"{number} {role}" for role, number in processes(rendered).items())
    say(f"{options.perf_type}: {partitions(rendered)} partitions; processes: {counts}")
    if not options.image and options.perf_type != LOCAL:
        raise UsageError("IMAGE is not set: push the image where the cluster can pull it, and name it, -e IMAGE=registry/ticketmaster:TAG")
    return additions, rendered


def _cloud(options: argparse.Namespace) -> Cloud:
    return Cloud(options.perf_type, options.environment or "main", options.domain, options.state_bucket, options.confirm)


def _digest(properties: str) -> str:
    return hashlib.sha256(properties.encode()).hexdigest()[:16]


def _digests_there(programs: Programs) -> Mapping[str, str]:
    """Of the credentials that the cluster has: pods that have them already are not restarted for them."""
    found = {}
    for account in ACCOUNTS:
        command = ("kubectl", "--namespace", NAMESPACE, "get", f"secret/{client_secret(account)}")
        text = programs.ask(*command, r"--output=jsonpath={.data.client\.properties}")
        found[account] = _digest(base64.b64decode(text).decode())
    return found


def _show_gateways(programs: Programs, options: argparse.Namespace) -> None:
    for gateway in ("outside", "inside") if options.domain else ("inside",):
        programs.kubectl("wait", f"gateway/{gateway}", "--for=condition=Programmed", "--timeout=15m")
        programs.kubectl("get", f"gateway/{gateway}")


def apply_local(programs: Programs, rendered: str) -> None:
    """On the cluster that kubectl talks to now."""
    _tell_context(programs)
    if not programs.knows("kubectl", "get", "crd", OPERATOR):
        raise UsageError("the cluster has no Strimzi operator, or can't be reached: docs/deployment.md says how to install it")
    apply_all(programs, rendered, kafka=True)
    say(f"it serves: kubectl --namespace {NAMESPACE} port-forward service/ticket 8080:80, then http://localhost:8080/docs")


def destroy(options: argparse.Namespace) -> None:
    """Pods and state first, then, in a cloud, what Terraform has made. It asks before anything is taken away."""
    rendered = render(options.perf_type)
    if options.perf_type == LOCAL:
        _destroy_local(Programs(ROOT), rendered, options.confirm)
        return
    cloud = _cloud(options)
    cloud.check()
    what = f"This deletes the environment {cloud.environment}: both clusters, and every sale that is in them, for good"
    confirm(what, cloud.environment, cloud.confirmed)
    terraform = cloud.begin()
    if terraform.knows("terraform", f"-chdir={TERRAFORM}", "output", "-raw", "cluster_name"):
        with cloud.cluster() as programs:
            # Load balancers and disks can be taken away only while there is a cluster that knows of them.
            programs.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=15m")
            programs.run("kubectl", "wait", "persistentvolumes", "--all", "--for=delete", "--timeout=5m")
    else:
        say("Terraform knows of no Kubernetes cluster: nothing to delete there")
    cloud.destroy(terraform)


def _destroy_local(programs: Programs, rendered: str, confirmed: str) -> None:
    _tell_context(programs)
    confirm(f"This deletes the sale in the namespace {NAMESPACE} of that cluster, for good", LOCAL, confirmed)
    # The namespace stays: Strimzi's operator lives in it.
    objects = [each for each in documents(rendered) if kind(each) != "Namespace"]
    programs.kubectl("delete", "--filename=-", "--ignore-not-found", "--timeout=10m", stdin=joined(objects))
    programs.kubectl("wait", "persistentvolumeclaims", "--all", "--for=delete", "--timeout=5m")


def _tell_context(programs: Programs) -> None:
    command = ("kubectl", "config", "current-context")
    if not programs.knows(*command):
        raise UsageError(
            "kubectl has no current cluster: start one, e.g. kind create cluster, or choose one, kubectl config use-context NAME"
        )
    say(f"the cluster is the current one of kubectl: {programs.ask(*command).strip()}")
