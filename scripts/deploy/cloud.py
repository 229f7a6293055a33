"""A deployment in the cloud: what Terraform makes, what it may not take away by the way, and the cluster that it has made."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.deploy.confirming import confirm
from scripts.deploy.manifests import ROOT
from scripts.deploy.programs import TERRAFORM, Programs, say
from scripts.errors import UsageError
from scripts.programs import need

# Terraform takes variables from the environment, so that no secret is on a command line.
_KEYS: Final = ("TF_VAR_confluent_cloud_api_key", "TF_VAR_confluent_cloud_api_secret")
_PROJECT: Final = "TF_VAR_google_project"
_NETWORKS: Final = "TF_VAR_authorized_networks"
_REGION: Final = "TF_VAR_region"
_KUBERNETES: Final = ("kubectl", "gcloud", "gke-gcloud-auth-plugin")
# As deploy/terraform/variables.tf has it.
REGION: Final = "asia-east1"
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9]{0,9}")
_CHANGES: Final = 2
# Terraform refuses to destroy what holds a sale. It reads a file of this name over the others: `destroy` writes it, when it has asked.
_OVERRIDE: Final = "destroying_override.tf"
PROTECTED: Final = {
    "kafka": ("confluent_environment", "confluent_kafka_cluster"),
    "kubernetes": ("google_container_cluster",),
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """A deployment: which one, how large, and where its Terraform state is. ``confirmed`` is what was said in advance."""

    overlay: str
    environment: str
    domain: str
    state_bucket: str
    confirmed: str

    @property
    def name(self) -> str:
        """Of its Kubernetes cluster, and of all that Terraform makes."""
        return f"ticketmaster-{self.environment}"

    def check(self) -> None:
        """UsageError: something is missing without which Terraform would fail, some of it after clusters are made and cost money."""
        self._check_environment()
        need("terraform", *_KUBERNETES)
        if not self.state_bucket:
            raise UsageError("STATE_BUCKET is not set: Terraform's state is kept in a bucket, which docs/deployment.md says how to make")
        _check_variables(*_KEYS, _PROJECT, _NETWORKS)
        _check_login("application-default", "print-access-token", wanted="Terraform asks as you: gcloud auth application-default login")
        _check_login("print-access-token", wanted="kubectl asks as you: gcloud auth login")

    def check_upgrade(self) -> None:
        """As :meth:`check`, where Terraform is not needed."""
        self._check_environment()
        need(*_KUBERNETES)
        _check_variables(_PROJECT)
        _check_login("print-access-token", wanted="kubectl asks as you: gcloud auth login")

    def _check_environment(self) -> None:
        if not _ENVIRONMENT.fullmatch(self.environment):
            raise UsageError(f"ENVIRONMENT {self.environment} is not a letter and up to nine letters or digits")

    def begin(self) -> Programs:
        """Terraform, with the state of this environment and of no other."""
        # One that destroyed and was killed may have left its override.
        for module in PROTECTED:
            (ROOT / TERRAFORM / module / _OVERRIDE).unlink(missing_ok=True)
        programs = Programs(ROOT)
        backend = (f"bucket={self.state_bucket}", f"prefix=ticketmaster/{self.environment}")
        programs.terraform("init", "-reconfigure", *(f"-backend-config={each}" for each in backend))
        return programs

    def make(self, programs: Programs) -> None:
        """Shows what would be changed, asks, and does that and nothing else. Nothing to change: nothing is asked."""
        with tempfile.TemporaryDirectory(prefix="ticketmaster-") as folder:
            plan = Path(folder) / "plan"
            found = programs.terraform("plan", "-detailed-exitcode", f"-out={plan}", *self._variables(), accepted=(0, _CHANGES))
            if found != _CHANGES:
                say("Terraform: nothing to change")
                return
            gone = _deleted(programs, plan)
            warning = f"This plan DELETES {', '.join(gone)}" if gone else "This plan changes what costs money"
            confirm(f"{warning}, in the environment {self.environment}", self.environment, self.confirmed)
            programs.terraform("apply", str(plan))

    def destroy(self, programs: Programs) -> None:
        """Takes away all that Terraform has made, also what it otherwise may not."""
        with lifting_protection(ROOT / TERRAFORM):
            programs.terraform("destroy", "-auto-approve", *self._variables())

    def _variables(self) -> list[str]:
        values = {"perf_type": self.overlay, "environment": self.environment, "domain": self.domain}
        return [f"-var={name}={value}" for name, value in values.items() if value]

    @contextmanager
    def cluster(self) -> Iterator[Programs]:
        """Programs that talk to its Kubernetes cluster, whatever cluster kubectl talks to otherwise."""
        with tempfile.TemporaryDirectory(prefix="ticketmaster-") as folder:
            programs = Programs(ROOT, {"KUBECONFIG": str(Path(folder) / "kubeconfig")})
            where = (f"--region={os.environ.get(_REGION) or REGION}", f"--project={os.environ[_PROJECT]}")
            programs.run("gcloud", "container", "clusters", "get-credentials", self.name, *where)
            yield programs


@contextmanager
def lifting_protection(root: Path, protected: Mapping[str, Sequence[str]] = PROTECTED) -> Iterator[None]:
    """Lets Terraform destroy what is protected in the modules of a folder, for as long as the block lasts."""
    files = {root / module / _OVERRIDE: kinds for module, kinds in protected.items()}
    try:
        for file, kinds in files.items():
            blocks = [f'resource "{kind}" "this" {{\n  lifecycle {{\n    prevent_destroy = false\n  }}\n}}\n' for kind in kinds]
            file.write_text("".join(blocks))
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _check_variables(*names: str) -> None:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UsageError(f"{', '.join(missing)} must be set in the environment: docs/deployment.md says where they come from")


def _check_login(*command: str, wanted: str) -> None:
    if not Programs(ROOT).knows("gcloud", "auth", *command):
        raise UsageError(f"gcloud knows no one who has logged in. {wanted}")


def _deleted(programs: Programs, plan: Path) -> list[str]:
    """What a plan takes away, or makes anew."""
    shown = json.loads(programs.ask("terraform", f"-chdir={TERRAFORM}", "show", "-json", str(plan)))
    return [each["address"] for each in shown.get("resource_changes", []) if "delete" in each["change"]["actions"]]
