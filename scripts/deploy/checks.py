"""What `scripts/deploy/check` looks at: one line each of what was checked, and one of each problem."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

from scripts.controlplane import kit
from scripts.controlplane.trial import ROLLED, trials
from scripts.deploy.manifests import DEPLOY, LOCAL, ROOT
from scripts.deploy.schemas import VERSIONS, Checker, rendered
from scripts.deploy.terraform import problems as terraform_problems
from scripts.errors import MissingError, ScriptError
from scripts.programs import need

COMPOSE = ROOT / "docker-compose.yml"
TERRAFORM = DEPLOY / "terraform"


def main() -> int:
    """Checks everything; 1 if anything is wrong. Where CI is set, kubectl and Go must be there.

    With a control plane in the cache make, openssl and timeout must be, too.
    """
    # What asked for the checks may end them: then they end as by Ctrl-C, and take with them what they have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wrong = 0
    for check in (check_manifests, check_compose, check_terraform, check_terraform_itself, check_control_plane):
        try:
            for line in check():
                print(f"ok       {line}", flush=True)
        except MissingError as error:
            wrong += bool(os.environ.get("CI"))
            _skip(str(error))
        except ScriptError as error:
            wrong += 1
            print(f"wrong    {error}", file=sys.stderr, flush=True)
    return 1 if wrong else 0


def check_manifests() -> Iterator[str]:
    """Every overlay, rendered, against schemas."""
    need("kubectl", what_for="renders the overlays of deploy/")
    checker = Checker()
    for name, objects in rendered().items():
        _refuse(f"deploy/overlays, {name}", checker.problems(objects))
        yield f"deploy/overlays, {name}: {len(objects)} objects, by the schemas of Kubernetes {' and '.join(VERSIONS)} and ours"


def check_compose() -> Iterator[str]:
    """docker-compose.yml, by Compose's own library."""
    need("go", what_for="builds what reads docker-compose.yml")
    program = _output([sys.executable, "scripts/compose/install"]).strip()
    _output([program, "-format", "json", str(COMPOSE)])
    yield "docker-compose.yml, by Compose's library"


def check_terraform() -> Iterator[str]:
    """Syntax and references, without providers."""
    _refuse("deploy/terraform", terraform_problems(TERRAFORM))
    yield f"deploy/terraform: {len(list(TERRAFORM.rglob('*.tf')))} files, their syntax and what they refer to"


def check_terraform_itself() -> Iterator[str]:
    """What Terraform itself says, where somebody has it: the format, and what only the providers know, once `terraform init` has run."""
    if shutil.which("terraform") is None:
        _skip("no terraform found, which says whether deploy/terraform is formatted")
        return
    _output(["terraform", "fmt", "-check", "-recursive", str(TERRAFORM)])
    yield "deploy/terraform: its format"
    if not (TERRAFORM / ".terraform").is_dir():
        _skip(
            "deploy/terraform: terraform validate, until `terraform -chdir=deploy/terraform init -backend=false` has fetched the providers"
        )
        return
    _output(["terraform", f"-chdir={TERRAFORM}", "validate"])
    yield "deploy/terraform: terraform validate"


def check_control_plane() -> Iterator[str]:
    """Two sizes, applied to a control plane on this machine where one is installed: to build it takes nine minutes of CPU time.

    All sizes take four minutes: `scripts/controlplane/check`.
    """
    if not kit.is_installed():
        _skip("no control plane to apply the manifests to: `scripts/controlplane/install` builds one")
        return
    need("kubectl", "make", "openssl", "timeout", what_for="the trial on a control plane needs")
    yield from trials((LOCAL, *ROLLED))


def _skip(reason: str) -> None:
    print(f"skipped  {reason}", flush=True)


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise ScriptError("\nwrong    ".join(f"{what}: {problem}" for problem in problems))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        # Some say on stdout which files are wrong, and only warn on stderr.
        raise ScriptError(f"{' '.join(command[:2])}: {(done.stdout + done.stderr).strip()}")
    return done.stdout
