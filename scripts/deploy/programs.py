"""The programs that a deployment is made with: each call is told before, and what fails ends the command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from scripts.deploy.manifests import NAMESPACE
from scripts.errors import ScriptError

TERRAFORM = "deploy/terraform"


def say(text: str) -> None:
    """Progress and errors."""
    print(f"deploy: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs in the repository's folder; `environment` is theirs in addition to our own."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, stdin: str | None = None, accepted: Collection[int] = (0,)) -> int:
        """Shows the command, and what it says; returns its exit code. ScriptError: it is none of those ``accepted``."""
        say(f"$ {shlex.join(command)}")
        done = subprocess.run(command, input=stdin, text=True, cwd=self.root, env=os.environ | self.environment, check=False)
        self._succeeded(command, done.returncode, accepted)
        return done.returncode

    def ask(self, *command: str, stdin: str | None = None) -> str:
        """What the command prints, which is not shown. ScriptError: it fails."""
        environment = os.environ | self.environment
        done = subprocess.run(command, input=stdin, text=True, cwd=self.root, env=environment, stdout=subprocess.PIPE, check=False)
        self._succeeded(command, done.returncode)
        return done.stdout

    def knows(self, *command: str) -> bool:
        """Whether the command succeeds; nothing of it is shown."""
        environment = os.environ | self.environment
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, check=False).returncode == 0

    def kubectl(self, *arguments: str, stdin: str | None = None) -> None:
        """In our namespace."""
        self.run("kubectl", "--namespace", NAMESPACE, *arguments, stdin=stdin)

    def terraform(self, *arguments: str, accepted: Collection[int] = (0,)) -> int:
        """In its folder, without questions."""
        command, *others = arguments
        return self.run("terraform", f"-chdir={TERRAFORM}", command, "-input=false", *others, accepted=accepted)

    def _succeeded(self, command: tuple[str, ...], exit_code: int, accepted: Collection[int] = (0,)) -> None:
        if exit_code not in accepted:
            raise ScriptError(f"`{shlex.join(command)}` failed with exit code {exit_code}, see above")
