"""The parts of a control plane, in the cache: Kubernetes' programs, built by Go; etcd, from Debian; definitions of foreign kinds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.cache import cache_folder, locked, new_folder
from scripts.debian import program
from scripts.errors import MissingError, ScriptError
from scripts.kafka.kits import COPY, Kit, java_version, provide
from scripts.programs import need

# Of a program that is asked for its version; of a build, or a download, which would keep the cache locked for others.
_LOOK_TIMEOUT_S: Final = 60
_BUILD_TIMEOUT_S: Final = 3_600

VERSION: Final = "1.34.3"
MODULE: Final = "k8s.io/kubernetes"
API_SERVER: Final = "kube-apiserver"
CONTROLLER_MANAGER: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
PROGRAMS: Final = (API_SERVER, CONTROLLER_MANAGER, SCHEDULER)

# Modules that hold definitions as files. Google publishes none for its policies in a package: those come from our own schemas.
# Of Strimzi 1 this is the first whose API is in Maven's repository; it is written for Java 21.
STRIMZI_VERSION: Final = "1.2.0"
STRIMZI_JAVA_MIN: Final = 21
DEFINITIONS: Final = {
    "sigs.k8s.io/gateway-api@v1.4.0": (
        "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml",
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
}
# Strimzi makes its definitions from the classes of its API, by a program of its own.
STRIMZI: Final = Kit(
    "strimzi-api",
    "Strimzi's API",
    STRIMZI_VERSION,
    COPY,
    tuple(f"io.strimzi:{each}:{STRIMZI_VERSION}" for each in ("api", "crd-generator")),
)
STRIMZI_CLASSES: Final = ("kafka.Kafka", "nodepool.KafkaNodePool")

Say = Callable[[str], None]


def programs_folder() -> Path:
    """Where the programs are, once they are built."""
    return cache_folder() / f"kubernetes-{VERSION}"


def definitions_folder() -> Path:
    """Where the definitions are, once they are fetched."""
    versions = "-".join(module.rpartition("@v")[2] for module in DEFINITIONS)
    return cache_folder() / f"kubernetes-definitions-{versions}-{STRIMZI_VERSION}"


def etcd() -> Path:
    """The store of the API server. MissingError: there is neither one in PATH nor a Debian to take it from."""
    own = shutil.which("etcd")
    try:
        return Path(own) if own else program("etcd", "etcd-server")
    except MissingError as error:
        raise MissingError(f"no etcd found: put `etcd` into PATH ({error})") from error


def is_installed() -> bool:
    """Whether a control plane can be started without building anything."""
    return programs_folder().is_dir() and definitions_folder().is_dir()


def install(say: Say) -> None:
    """Fetches and builds what is missing. A second installation waits for the first, and then finds all of it."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    waits = partial(say, f"another installation into {cache} is running: waiting for it …")
    # First, as nothing can be done without it.
    with locked(cache, waits):
        etcd()
    java = java_of(STRIMZI_JAVA_MIN)
    if not definitions_folder().is_dir():
        if java is None:
            say(f"no Java {STRIMZI_JAVA_MIN} or newer found: our own schemas stand for Strimzi's definitions")
        else:
            provide([STRIMZI], say)
    with locked(cache, waits):
        if not definitions_folder().is_dir():
            with new_folder(definitions_folder()) as folder:
                _fetch_definitions(folder, java)
        if not programs_folder().is_dir():
            say(f"Go builds Kubernetes {VERSION}, which takes nine minutes of CPU time …")
            begin_s = time.monotonic()
            with new_folder(programs_folder()) as folder:
                _build(folder)
            say(f"Kubernetes {VERSION} is built in {time.monotonic() - begin_s:.0f} s")


def _build(target: Path) -> None:
    """In a module of ours that only names Kubernetes: Kubernetes' own modules are named in it by versions that don't exist."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs = Path(_download(f"{MODULE}@v{VERSION}", folder)["GoMod"]).read_text()
        (folder / "go.mod").write_text(go_mod(theirs))
        flags = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _version_flags().items())
        command = (
            "build",
            "-mod=mod",
            "-trimpath",
            f"-ldflags=-s -w {flags}",
            f"-o={target}/",
            *(f"{MODULE}/cmd/{each}" for each in PROGRAMS),
        )
        _go(command, folder)


def go_mod(theirs: str) -> str:
    """Our module, from the go.mod of Kubernetes: `k8s.io/api v0.0.0` there is `k8s.io/api v0.34.3`."""
    staging = sorted(set(re.findall(r"^\s*(?:require )?(k8s\.io/\S+) v0\.0\.0\b(?!-)", theirs, re.MULTILINE)))
    go = re.search(r"^go \S+$", theirs, re.MULTILINE)
    if not staging or go is None:
        raise ScriptError(f"the go.mod of {MODULE} v{VERSION} is not as it was: it names no module of version v0.0.0")
    lines = [f"replace {module} => {module} v0.{VERSION.partition('.')[2]}" for module in staging]
    return "\n".join(["module controlplane", go[0], f"require {MODULE} v{VERSION}", *lines, ""])


def _version_flags() -> dict[str, str]:
    """What `kubectl version` shows; without them the programs call themselves v0.0.0."""
    major, minor, _ = VERSION.split(".")
    return {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}


def _fetch_definitions(target: Path, java: str | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        for module, files in DEFINITIONS.items():
            source = Path(_download(module, Path(name))["Dir"])
            for file in files:
                # The cache of Go's modules is read-only.
                shutil.copyfile(source / file, target / Path(file).name)
        if java is not None:
            _generate_strimzi(target, Path(name), java)


def _generate_strimzi(target: Path, folder: Path, java: str) -> None:
    classes = [f"io.strimzi.api.kafka.model.{each}={target}/{each}.yaml" for each in STRIMZI_CLASSES]
    options = ("--target-kube", "1.30+", "--crd-api-version", "v1", "--api-versions", "v1", "--storage-version", "v1", "--yaml")
    _run((java, "-cp", f"{STRIMZI.folder}/*", "io.strimzi.crdgenerator.CrdGenerator", *options, *classes), folder)


def java_of(version_min: int) -> str | None:
    """A Java of this version or newer: the one in PATH, or one that is installed where Linux's packages install them."""
    candidates = [shutil.which("java"), *sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")))]
    for each in filter(None, candidates):
        try:
            done = subprocess.run([each, "-version"], capture_output=True, text=True, check=False, timeout=_LOOK_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0 and java_version(done.stderr) >= version_min:
            return each
    return None


def _download(module: str, folder: Path) -> dict[str, Any]:
    """Where a module is, once Go has fetched it."""
    found: dict[str, Any] = json.loads(_go(("mod", "download", "-json", module), folder))
    return found


def _go(arguments: tuple[str, ...], folder: Path) -> str:
    return _run((need("go", what_for="builds Kubernetes"), *arguments), folder, {"CGO_ENABLED": "0"})


def _run(command: tuple[str, ...], folder: Path, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | (environment or {}), capture_output=True, text=True, check=False, timeout=_BUILD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ScriptError(f"`{' '.join(command[:3])} …` has not ended in {_BUILD_TIMEOUT_S} s") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise ScriptError(
            f"`{' '.join(command[:3])} …` failed; it needs the network, or a proxy that it is configured for:\n" + "\n".join(last)
        )
    return done.stdout
