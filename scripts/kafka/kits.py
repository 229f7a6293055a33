"""Apache Kafka and the Apicurio registry, installed by Maven into a cache that all checkouts share."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.cache import cache_folder, locked, new_folder
from scripts.errors import ScriptError, UsageError
from scripts.programs import need

KAFKA_VERSION = "4.1.2"
REGISTRY_VERSION = "2.6.13.Final"
# Kafka leaves it to whoever packages it to bring what writes its log: this is the pair of the log4j that Kafka depends on.
LOG4J_VERSION = "2.25.3"
MAVEN_PLUGIN_VERSION = "3.8.1"
JAVA_MIN = 17
JAVA_OPTIONS = "TICKETMASTER_JAVA_OPTIONS"
TAIL_LINES = 20

GOAL = f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_PLUGIN_VERSION}"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Kit:
    """One program: `arguments` are Maven's, which put it into a folder, or these artifacts and what they need."""

    name: str
    title: str
    version: str
    arguments: tuple[str, ...]
    artifacts: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is once it is installed."""
        return cache_folder() / f"{self.name}-{self.version}"


COPY = (f"{GOAL}:copy-dependencies", "-DincludeScope=runtime")
KAFKA = Kit(
    "kafka",
    "Apache Kafka",
    KAFKA_VERSION,
    COPY,
    (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}"),
)
REGISTRY = Kit(
    "registry",
    "Apicurio Registry",
    REGISTRY_VERSION,
    (f"{GOAL}:unpack", f"-Dartifact=io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:tar.gz:all"),
)


def pom(*artifacts: str) -> str:
    """A project that depends on these, group:artifact:version each, and is nothing else."""
    dependencies = "".join(
        f"""
    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"""
        for group, artifact, version in (each.split(":") for each in artifacts)
    )
    return f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ticketmaster</groupId>
  <artifactId>kit</artifactId>
  <version>1</version>
  <dependencies>{dependencies}
  </dependencies>
</project>
"""


@cache
def java() -> str:
    """The Java to run everything with."""
    path = shutil.which("java")
    # Where no Java is installed, macOS has a program of this name that only says so.
    done = subprocess.run([path, "-version"], capture_output=True, text=True, check=False) if path else None
    if path is None or done is None or done.returncode:
        raise UsageError(f"no Java found: install a Java runtime of version {JAVA_MIN} or newer and put `java` into PATH")
    version = java_version(done.stderr)
    if version < JAVA_MIN:
        raise UsageError(f"{path} is Java {version}: install a Java runtime of version {JAVA_MIN} or newer and put it first into PATH")
    return path


def java_options() -> list[str]:
    """More options for the brokers and the registry, from the environment."""
    return os.environ.get(JAVA_OPTIONS, "").split()


def java_version(text: str) -> int:
    """The main version that `java -version` tells; before 9 it was called 1.x. 0 if it tells none."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def installed(kit: Kit) -> Path:
    """The folder with a kit's files."""
    if not kit.folder.is_dir():
        raise UsageError(f"{kit.title} {kit.version} is not installed in {cache_folder()}: run `scripts/kafka/cluster install`")
    return kit.folder


def provide(kits: Iterable[Kit], say: Say) -> None:
    """Installs what is missing, and says nothing of what is there."""
    missing = [kit for kit in kits if not kit.folder.is_dir()]
    if missing:
        install(missing, say)


def install(kits: Iterable[Kit], say: Say) -> None:
    """Installs missing kits. A second installation waits for the first, and then finds them there."""
    cache = cache_folder()
    java()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache, lambda: say(f"another installation into {cache} is running: waiting for it …")):
            for kit in kits:
                if kit.folder.is_dir():
                    say(f"{kit.title} {kit.version} is installed: {kit.folder}")
                else:
                    _fetch(kit, say)
    except OSError as cause:
        raise ScriptError(f"can't install into {cache}: {cause}") from cause


def _fetch(kit: Kit, say: Say) -> None:
    """Never leaves half a kit under its name: what an ended run left under another one is thrown away here."""
    maven = need("mvn", what_for=f"is Maven and fetches {kit.title}")
    say(f"{kit.title} {kit.version}: Maven fetches it, which may take minutes …")
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name, new_folder(kit.folder) as folder:
        Path(name, "pom.xml").write_text(pom(*kit.artifacts))
        command = [maven, "-q", "-B", "-Dstyle.color=never", *kit.arguments, f"-DoutputDirectory={folder}"]
        done = subprocess.run(
            command, cwd=name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise ScriptError(f"Maven could not fetch {kit.title} {kit.version}; its output ends:\n{tail(done.stdout)}")
    say(f"{kit.title} {kit.version} is installed in {time.monotonic() - begin_s:.0f} s: {kit.folder}")


def tail(text: str) -> str:
    """The last lines of an output or a log, indented."""
    return "\n".join(f"  {line}" for line in text.splitlines()[-TAIL_LINES:] if line.strip())
