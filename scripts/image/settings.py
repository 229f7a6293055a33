"""How this machine reaches its package registries, written for a build that must reach them too.

The build sees these files in a folder that is mounted while it runs. Nothing of them becomes part of an image.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.errors import MissingError
from scripts.programs import need

# Where the folder is mounted: every Debian has this directory, and leaves it empty.
MOUNTED = "/mnt"
PIP_FILE, APT_FILE, SOURCES_FILE, CERTIFICATES_FILE = "pip.conf", "apt.conf", "sources.list", "certificates.pem"
# What the base image sets, so that pip and apt read the files. The last stage begins from scratch and inherits nothing of it.
ENVIRONMENT = {"PIP_CONFIG_FILE": f"{MOUNTED}/{PIP_FILE}", "APT_CONFIG": f"{MOUNTED}/{APT_FILE}"}
# Later sections win, as in pip.
PIP_SECTIONS = ("global", "install", ":env:")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
APT_SETTING = re.compile(r"Acquire::(?:https?|Check|Retries|ForceIP)\S* \"[^\"]+\";")
DEBIAN_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def pip_file(listed: str) -> str:
    """What pip is told in the build, from what `pip config list` says here. Local folders are left out: the build has none of them."""
    kept: dict[str, str] = {}
    for section in PIP_SECTIONS:
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            key = name.removeprefix(f"{section}.")
            if key != name and key in PIP_KEYS:
                kept[key] = "\n    ".join(str(ast.literal_eval(value)).split())
    lines = [f"{key} = {value}" for key, value in kept.items()]
    return "\n".join(["[global]", f"cert = {MOUNTED}/{CERTIFICATES_FILE}", *lines, ""])


def pip_certificates(listed: str) -> Path:
    """The certificates that pip trusts here, else those of the system."""
    own = re.findall(r"^(?:global|install|:env:)\.cert='(.+)'$", listed, re.MULTILINE)
    return Path(own[-1] if own else DEBIAN_CERTIFICATES)


def apt_file(dump: str) -> str:
    """What apt is told in the build, from what `apt-config dump` says here: how to fetch, and where from."""
    kept = [line for line in dump.splitlines() if APT_SETTING.fullmatch(line) and "CAInfo" not in line]
    own = {
        "Acquire::https::CAInfo": f"{MOUNTED}/{CERTIFICATES_FILE}",
        "Dir::Etc::SourceList": f"{MOUNTED}/{SOURCES_FILE}",
        "Dir::Etc::SourceParts": "/dev/null",
    }
    return "\n".join([*kept, *(f'{name} "{value}";' for name, value in own.items()), ""])


def fetching(dump: str) -> list[str]:
    """The settings of `apt-config dump` that another apt on this machine needs as well."""
    return [line for line in dump.splitlines() if APT_SETTING.fullmatch(line)]


def sources(targets: str, debian: str) -> list[str]:
    """The lines of a sources.list for a release of Debian, from the mirrors that this machine's apt uses for its own release.

    `targets` has a line `origin|codename|address` for each of them.
    """
    mirrors = dict.fromkeys(tuple(line.split("|")) for line in targets.splitlines() if line.startswith("Debian|"))
    lines = []
    for _, codename, address in mirrors:
        # bookworm, bookworm-security, bookworm-updates: other parts are not needed.
        _, _, part = codename.partition("-")
        if part in {"", "security", "updates"}:
            lines.append(f"deb {address} {debian}{part and '-'}{part} main")
    return lines


class Settings:
    """What the machine says of itself."""

    def __init__(self) -> None:
        self.pip_listed = _output([sys.executable, "-m", "pip", "config", "list"])
        self.apt_dump = _output(["apt-config", "dump"])
        format_ = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)"
        self.apt_targets = _output(["apt-get", "indextargets", "--format", format_, "Created-By: Packages"])

    def sources(self, debian: str) -> list[str]:
        """Never empty."""
        lines = sources(self.apt_targets, debian)
        if not lines:
            raise MissingError("apt knows no mirror of Debian here")
        return lines

    def write(self, folder: Path, debian: str) -> None:
        """Everything that the build needs."""
        certificates = pip_certificates(self.pip_listed)
        if not certificates.is_file():
            raise MissingError(f"no certificates to trust in {certificates}")
        shutil.copyfile(certificates, folder / CERTIFICATES_FILE)
        (folder / PIP_FILE).write_text(pip_file(self.pip_listed))
        (folder / APT_FILE).write_text(apt_file(self.apt_dump))
        (folder / SOURCES_FILE).write_text("\n".join([*self.sources(debian), ""]))
        # apt fetches as a user of its own.
        for file in folder.iterdir():
            file.chmod(0o644)


def _output(command: Sequence[str]) -> str:
    done = subprocess.run([need(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()}")
    return done.stdout
