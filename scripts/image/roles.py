"""The image as everything that it can be: started, used, and told to end."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from scripts.errors import ScriptError
from scripts.image.building import IMAGE
from scripts.image.compose import Service, service
from scripts.image.containers import Container, once, running
from scripts.image.engine import WORK, Engine
from scripts.image.sale import SEATS_EACH, sell
from scripts.kafka.clusters import CLIENT_FILE, Folder
from scripts.kafka.kits import KAFKA, REGISTRY, provide

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
ROLES = ("event", "reservation", "ticket")
CONFIG, CLIENT = "appconfig", "client.docker.properties"
# Of nobody whom the image or this machine knows.
UID = 54_321
PORT = 8080
METRICS_PORT = 9464
RESERVATIONS = 10
CLUSTER_START_S = 90.0


def check_help(engine: Engine) -> Iterator[str]:
    """What the image does without arguments, and a command that says what it is."""
    text = once(engine, UID, command=())
    if "Usage: ticketmaster" not in text:
        raise ScriptError(f"without arguments it says {text[:200]!r}, which is no help")
    yield f"without arguments: help, of {len(text.splitlines())} lines"
    yield f"--version: {once(engine, UID, command=('--version',))}"


def check_standalone(engine: Engine) -> Iterator[str]:
    """One process, as in the README: without options but those that a container needs. By the image's own user, and by one of nobody."""
    own = int(engine.output("podman", "image", "inspect", "--format", "{{.User}}", IMAGE).partition(":")[0])
    command = ("standalone", f"--port={PORT}", "--bind=0.0.0.0", f"--metrics-port={METRICS_PORT}")
    for uid in (own, UID):
        with running(engine, "standalone", uid, command=command, metrics_port=METRICS_PORT) as container:
            ready_s = container.wait_healthy()
            container.check_confined()
            sell(f"http://127.0.0.1:{PORT}", RESERVATIONS)
            yield _told(f"standalone, user {uid}", ready_s, container.end(), f"sold {RESERVATIONS * SEATS_EACH} seats")


def check_roles(engine: Engine, work: Path) -> Iterator[str]:
    """The roles on a Kafka, with the options of docker-compose.yml."""
    with _kafka(work) as client_file:
        shutil.copytree(ROOT / CONFIG, work / CONFIG)
        shutil.copyfile(client_file, work / CONFIG / CLIENT)
        options = ("--volume", f"{WORK}/{CONFIG}:/etc/ticketmaster:ro", "--add-host", "ticket:127.0.0.1", "--env", "HOSTNAME=ticket")
        topics = service(COMPOSE, "topics").with_replicas(1)
        once(engine, UID, *options, command=topics.command)
        yield "topics: made those of the roles"
        with ExitStack() as stack:
            containers = [stack.enter_context(_role(engine, index, options)) for index in range(len(ROLES))]
            ready_s = [container.wait_healthy() for container in containers]
            for container in containers:
                container.check_confined()
            sell(f"http://127.0.0.1:{PORT}", RESERVATIONS)
            audit = ("audit", f"--config=/etc/ticketmaster/{CLIENT}")
            once(engine, UID, *options, command=audit)
            yield f"ticket, reservation, event: sold {RESERVATIONS * SEATS_EACH} seats, and audit says that it adds up"
            # Who is asked ends first, as people end them.
            for container, took_s in reversed(list(zip(containers, ready_s, strict=True))):
                yield _told(container.name, took_s, container.end())


def _role(engine: Engine, index: int, options: tuple[str, ...]) -> AbstractContextManager[Container]:
    name, port = ROLES[index], METRICS_PORT + index
    found: Service = service(COMPOSE, name).with_metrics_at(port)
    return running(engine, name, UID, *options, entrypoint=found.entrypoint, command=found.command, metrics_port=port)


def _told(name: str, ready_s: float, ended_s: float, did: str = "") -> str:
    parts = (f"ready in {ready_s:.1f} s", did, f"ended in order {ended_s:.1f} s after SIGTERM")
    return f"{name}: {', '.join(filter(None, parts))}"


@contextmanager
def _kafka(work: Path) -> Iterator[Path]:
    """The client's file of a cluster that lasts as long as the context."""
    folder = Folder(work / "kafka", lambda _: None)
    try:
        provide((KAFKA, REGISTRY), print)
        folder.start(1, settings=(), with_registry=True, node=None, timeout_s=CLUSTER_START_S)
    except ScriptError as error:
        raise ScriptError(f"no Kafka to run the roles on: {error}") from error
    try:
        yield folder.path / CLIENT_FILE
    finally:
        folder.stop(None, signal.SIGTERM)
