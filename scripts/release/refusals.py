"""What must be so before a version is built: else it could not be told later what is in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

GIT_TIMEOUT_S = 60


class Refused(Exception):
    """One line: what to change first."""


def git(root: Path, *arguments: str) -> str:
    """What git says."""
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - the one in PATH
            cwd=root,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise Refused(f"git is needed: {error}") from error
    if done.returncode:
        raise Refused(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def section(changelog: str, heading: str) -> str | None:
    """The text below a heading of the second level; None: there is no such heading."""
    found = re.search(rf"^## {heading}$\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found and found[1].strip()


def refuse(root: Path, version: str) -> None:
    """Raises Refused unless the tree is a commit, its version is new, and the changelog tells of it under a date."""
    if changed := git(root, "status", "--porcelain"):
        raise Refused(f"the tree has changes that are in no commit, e.g. {changed.splitlines()[0][2:].strip()}: commit or remove them")
    if git(root, "tag", "--list", f"v{version}"):
        raise Refused(f"v{version} is tagged already: raise __version__ in ticketmaster/__init__.py")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not section(changelog, rf"{re.escape(version)} - \d{{4}}-\d{{2}}-\d{{2}}"):
        raise Refused(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`")
    if section(changelog, "Unreleased"):
        raise Refused(f"CHANGELOG.md has lines under Unreleased that would be in {version}: move them")
