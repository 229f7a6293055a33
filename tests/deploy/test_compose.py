"""docker-compose.yml, without Docker: that Compose accepts it, and that it agrees with the program, its image and its configuration."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts.kafka.clusters import free_ports
from tests.process.client import Lost, connected
from tests.process.server import COMMAND, Program, environment
from tests.support.command_line import parsed
from tests.support.tools import lacking
from ticketmaster.config.telemetry import read_telemetry

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "docker-compose.yml"
TOKENS: Final = ROOT / "deploy" / "compose" / "tokens.yml"
# However busy the machine is, a process listens by then.
READY_S: Final = 60.0
ROLES: Final = ("ticket", "reservation", "event")
OURS: Final = (*ROLES, "topics")
BROKERS: Final = ("kafka-1", "kafka-2", "kafka-3")
CONFIG: Final = "client.docker.properties"
# What people set for themselves must not change what is tested.
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "TICKET_PORTS" and not name.startswith("COMPOSE_")}


def answer(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in this folder; the keyword arguments are its environment's."""
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | more, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """The command that checks a file, whose name is to follow, and prints it in full as JSON."""
    if shutil.which("docker") and answer(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose", "--project-directory", str(ROOT), "config", "--format", "json", "--file"]
    install = answer([sys.executable, "scripts/compose/install"])
    if install.returncode:
        lacking(f"nothing to check docker-compose.yml with: install Docker's compose plugin, or Go ({install.stderr.strip()})")
    return [install.stdout.strip(), "-format", "json"]


@pytest.fixture(scope="session")
def model(compose: list[str]) -> dict[str, Any]:
    """The whole file as Compose understands it."""
    return merged(compose)


@pytest.fixture(scope="session")
def services(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each service by its name."""
    services: dict[str, dict[str, Any]] = model["services"]
    return services


def arguments(service: dict[str, Any], tmp_path: Path, **environment: str) -> list[str]:
    """What the program is started with; an entry point of the service's own is run, with a program that tells its arguments."""
    command: list[str] = service["command"]
    if not service.get("entrypoint"):
        return command
    program = tmp_path / "ticketmaster"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    program.chmod(0o755)
    # Of a container Docker tells its name.
    given = {"HOSTNAME": "3f2a9c", "PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment
    told = answer([*service["entrypoint"], *command], **given)
    assert told.returncode == 0, told.stderr
    arguments: list[str] = json.loads(told.stdout)
    return arguments


def source_of(service: dict[str, Any], target: str) -> Path:
    """The file of this folder that a container sees at a path."""
    for mount in service["volumes"]:
        if mount["type"] == "bind" and Path(target).is_relative_to(mount["target"]):
            return ROOT.joinpath(mount["source"], Path(target).relative_to(mount["target"]))
    raise AssertionError(f"nothing of this folder is mounted at {target}")


def seconds(duration: str) -> float:
    """Of a duration as Compose writes it: 45s, 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def merged(compose: list[str], *more: Path) -> dict[str, Any]:
    """The file with others behind it, as Compose understands them together."""
    option = compose[-1:] if compose[-1] == "--file" else []
    checked = answer([*compose, str(FILE), *(part for file in more for part in (*option, str(file)))])
    assert checked.returncode == 0, checked.stderr
    # The plugin writes a dollar sign as it would stand in a file.
    model: dict[str, Any] = json.loads(checked.stdout.replace("$$", "$"))
    return model


# --- Compose ---------------------------------------------------------------------------------------------------------------


def test_compose_accepts_the_file(services: dict[str, dict[str, Any]]) -> None:
    assert {*OURS, *BROKERS, "schema-registry", "jaeger", "prometheus", "grafana", "kafka-ui"} == set(services)


def test_compose_refuses_a_key_that_it_does_not_know(compose: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text().replace("read_only:", "readonly:"))

    checked = answer([*compose, str(broken)])
    assert checked.returncode != 0
    assert "readonly" in checked.stderr


def test_what_a_service_names_exists(model: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]

    assert {name for service in services.values() for name in service.get("depends_on", {})} <= set(services)
    assert {mount["source"] for mount in mounts if mount["type"] == "volume" and "source" in mount} == set(model["volumes"])
    sources = [ROOT / mount["source"] for mount in mounts if mount["type"] == "bind"]
    assert [source for source in sources if not source.exists()] == []


def test_every_image_is_pinned_to_a_release(services: dict[str, dict[str, Any]]) -> None:
    foreign = {service["image"] for name, service in services.items() if name not in OURS}

    assert [image for image in foreign if not re.fullmatch(r"[a-z]+/[a-z-]+:v?\d+\.\d+\.\d+(\.Final)?", image)] == []


def test_the_roles_run_the_image_that_is_built_for_the_topics_they_wait_for(services: dict[str, dict[str, Any]]) -> None:
    built = services["topics"]
    assert built["build"]
    for role in ROLES:
        assert services[role]["image"] == built["image"]
        assert services[role]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_no_two_services_share_a_port_and_all_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert len({port["published"] for port in ports}) == len(ports)


def documented_ranges() -> set[str]:
    """What people are told to set for more ticket instances."""
    files = [FILE, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return {found for file in files for found in re.findall(r"TICKET_PORTS=(\d+-\d+)", file.read_text())}


def test_a_range_of_ports_serves_more_ticket_instances_and_is_nobody_elses(
    compose: list[str], services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    text = FILE.read_text()
    assert "${TICKET_PORTS:-8080}" in text
    others = {int(port["published"]) for name, service in services.items() if name != "ticket" for port in service.get("ports", [])}
    (default,) = services["ticket"]["ports"]
    assert documented_ranges()
    for ports in documented_ranges():
        # The checker takes no values from the environment.
        wider = tmp_path / "docker-compose.yml"
        wider.write_text(text.replace("${TICKET_PORTS:-8080}", ports))

        (port,) = json.loads(answer([*compose, str(wider)]).stdout)["services"]["ticket"]["ports"]
        assert port == default | {"published": ports}
        first, last = map(int, ports.split("-"))
        assert others.isdisjoint(range(first, last + 1)), ports


def test_every_service_has_its_limits(services: dict[str, dict[str, Any]]) -> None:
    limits = {name: service.get("deploy", {}).get("resources", {}).get("limits", {}) for name, service in services.items()}

    assert [name for name, limit in limits.items() if not {"memory", "pids"} <= set(limit)] == []


# --- Our program -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_the_program_takes_the_command_and_finds_its_files(services: dict[str, dict[str, Any]], name: str, tmp_path: Path) -> None:
    started_with = arguments(services[name], tmp_path, HOSTNAME="3f2a9c")

    assert parsed(started_with)
    files = [argument.rpartition("=")[2] for argument in started_with if argument.endswith(".properties")]
    assert files
    assert [path for path in files if not source_of(services[name], path).is_file()] == []


def test_each_ticket_instance_says_how_the_others_reach_it(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    options = parsed(arguments(services["ticket"], tmp_path, HOSTNAME="3f2a9c"))

    assert options["hostname"] == "3f2a9c"
    assert options["bind"] == "0.0.0.0"  # noqa: S104 - inside the container
    assert [port["target"] for port in services["ticket"]["ports"]] == [options["port"]]


@pytest.mark.parametrize("name", ROLES)
def test_the_health_check_of_the_image_asks_the_metrics_port_of_the_role(
    services: dict[str, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    options = parsed(arguments(services[name], tmp_path))

    # The rest is the image's. How often a container is asked while it starts is said here: older builders don't know it in a Dockerfile.
    assert services[name]["healthcheck"] == {"start_interval": "1s"}
    assert f"'127.0.0.1', {options['metrics_port']}," in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_write_only_where_they_must(services: dict[str, dict[str, Any]], name: str) -> None:
    service = services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount["target"] for mount in service["volumes"] if mount["type"] == "bind" and not mount.get("read_only")] == []


@pytest.mark.parametrize("name", ROLES)
def test_each_instance_of_a_role_keeps_its_state_on_a_volume_of_its_own(
    services: dict[str, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    options = parsed(arguments(services[name], tmp_path))

    (volume,) = [mount for mount in services[name]["volumes"] if mount["type"] == "volume"]
    assert Path(volume["target"]) == options["state_dir"]
    assert "source" not in volume, "instances would share a volume that has a name"


def test_the_ticket_role_has_time_to_answer_open_requests(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    options = parsed(arguments(services["ticket"], tmp_path))

    assert seconds(services["ticket"]["stop_grace_period"]) * 1000 >= options["drain_ms"] + 10_000
    assert options["drain_ms"] >= options["long_poll_ms"]


# --- What looks at it -----------------------------------------------------------------------------------------------------------


def provisioned(services: dict[str, dict[str, Any]], folder: str) -> dict[str, Any]:
    """What Grafana finds in the one file of a folder of its provisioning."""
    (file,) = source_of(services["grafana"], f"/etc/grafana/provisioning/{folder}").iterdir()
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


def test_prometheus_finds_its_rules_and_every_container_of_each_role(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (option,) = [argument for argument in services["prometheus"]["command"] if argument.startswith("--config.file=")]
    file = Path(option.partition("=")[2])
    config = yaml.safe_load(source_of(services["prometheus"], str(file)).read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (lookup,) = jobs["ticketmaster"]["dns_sd_configs"]

    assert [rules for rules in config["rule_files"] if not source_of(services["prometheus"], str(file.parent / rules)).is_file()] == []
    assert set(lookup["names"]) == set(ROLES)
    assert {parsed(arguments(services[role], tmp_path))["metrics_port"] for role in ROLES} == {lookup["port"]}
    assert {name for name in jobs if name != "ticketmaster"} <= set(services)


def test_grafana_finds_its_dashboard_and_the_services_that_it_asks(services: dict[str, dict[str, Any]]) -> None:
    (provider,) = provisioned(services, "dashboards")["providers"]
    home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    sources = {source["uid"]: source for source in provisioned(services, "datasources")["datasources"]}

    assert home.parent == Path(provider["options"]["path"])
    assert source_of(services["grafana"], str(home)).is_file()
    assert {source["type"] for source in sources.values()} == {"prometheus", "jaeger"}
    assert [source["type"] for source in sources.values() if source.get("isDefault")] == ["prometheus"]
    for source in sources.values():
        name, _, port = source["url"].removeprefix("http://").partition(":")
        assert int(port) in {published["target"] for published in services[name]["ports"]}
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] in sources


@pytest.mark.parametrize("name", ROLES)
def test_each_role_sends_its_traces_to_jaeger_under_its_own_name(services: dict[str, dict[str, Any]], name: str) -> None:
    environment = services[name]["environment"]
    host, _, port = environment["OTEL_EXPORTER_OTLP_ENDPOINT"].removeprefix("http://").partition(":")

    assert int(port) in {published["target"] for published in services[host]["ports"]}
    assert environment["OTEL_SERVICE_NAME"] == name
    settings = read_telemetry(environment)
    assert (settings.traces, settings.metrics, settings.parent_based) == (True, False, True)
    assert 0 < settings.ratio < 1


# --- Kafka and the registry --------------------------------------------------------------------------------------------------


def listeners(service: dict[str, Any], setting: str) -> dict[str, str]:
    """The address of each listener by its name."""
    named = (listener.split("://") for listener in service["environment"][setting].split(","))
    return {name: address for name, address in named}  # noqa: C416 - pairs as lists


def test_the_brokers_are_one_cluster_that_survives_the_loss_of_one(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    settings = [services[broker]["environment"] for broker in BROKERS]
    voters = {f"{each['KAFKA_NODE_ID']}@{broker}:9093" for broker, each in zip(BROKERS, settings, strict=True)}
    topics = parsed(arguments(services["topics"], tmp_path))

    assert topics["replication_factor"] == len(BROKERS)
    assert set(BROKERS) <= set(services["topics"]["depends_on"])
    for each in settings:
        assert set(each["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")) == voters
        assert int(each["KAFKA_MIN_INSYNC_REPLICAS"]) == int(each["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"]) == len(BROKERS) - 1
        assert int(each["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"]) == len(BROKERS)
        assert int(each["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"]) == len(BROKERS)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_reached_from_this_machine_where_it_says(services: dict[str, dict[str, Any]], broker: str) -> None:
    (port,) = services[broker]["ports"]

    assert listeners(services[broker], "KAFKA_LISTENERS")["HOST"] == f":{port['target']}"
    assert listeners(services[broker], "KAFKA_ADVERTISED_LISTENERS")["HOST"] == f"{port['host_ip']}:{port['published']}"


def test_the_configuration_and_the_user_interface_name_the_brokers_and_the_registry(services: dict[str, dict[str, Any]]) -> None:
    lines = (ROOT / "appconfig" / CONFIG).read_text().splitlines()
    config = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines if not line.startswith("#"))}
    interface = services["kafka-ui"]["environment"]

    addresses = {listeners(services[broker], "KAFKA_ADVERTISED_LISTENERS")["INTERNAL"] for broker in BROKERS}
    assert set(config["bootstrap.servers"].split(",")) == set(interface["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"].split(",")) == addresses
    registry = f"http://schema-registry:{services['schema-registry']['environment']['QUARKUS_HTTP_PORT']}/apis/ccompat/v7"
    assert config["schema.registry.url"] == interface["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == registry


# --- With tokens -----------------------------------------------------------------------------------------------------------


def test_with_the_file_of_tokens_only_the_gateways_change_and_see_the_folder_that_is_documented(
    compose: list[str], services: dict[str, dict[str, Any]]
) -> None:
    changed: dict[str, dict[str, Any]] = merged(compose, TOKENS)["services"]

    assert {name for name in services if services[name] != changed[name]} == {"ticket"}
    assert set(changed) == set(services)
    before, ticket = services["ticket"], changed["ticket"]
    assert {name for name in ticket if ticket[name] != before[name]} == {"environment", "volumes"}
    (volume,) = [mount for mount in ticket["volumes"] if mount not in before["volumes"]]
    # Relative to the first file, whichever file names it.
    assert (volume["type"], ROOT.joinpath(volume["source"]), volume.get("read_only")) == ("bind", ROOT / "doors", True)


def test_a_gateway_that_compose_starts_with_tokens_asks_for_them(compose: list[str], tmp_path: Path) -> None:
    made = re.search(r"^mkdir -m 0750 doors\n(?:.*\n)*?(?=sudo )", (ROOT / "docs" / "containers.md").read_text(), re.MULTILINE)
    assert made
    lines = f'ticketmaster() {{ {shlex.join(COMMAND)} "$@"; }}\n{made[0]}'
    run_lines = ["/bin/bash", "-eu", "-c", lines]
    done = subprocess.run(run_lines, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    token = done.stdout.split()[-1]
    ticket = merged(compose, TOKENS)["services"]["ticket"]
    # Of several files Compose's library makes a list.
    given = ticket["environment"]
    variables = given.items() if isinstance(given, dict) else (text.split("=", 1) for text in given)
    told = {name: value.replace("/etc/ticketmaster-doors", str(tmp_path / "doors")) for name, value in variables}
    places = {"/etc/ticketmaster/": f"{ROOT / 'appconfig'}/", "/var/lib/ticketmaster": str(tmp_path / "state"), "=0.0.0.0": "=127.0.0.1"}
    (port, metrics_port), options = free_ports(2), " ".join(arguments(ticket, tmp_path))
    for place, here in {**places, "--port=8080": f"--port={port}", "--metrics-port=9464": f"--metrics-port={metrics_port}"}.items():
        assert place in options
        options = options.replace(place, here)
    tokens_only = {name: value for name, value in told.items() if name.startswith("TICKETMASTER_")}
    program = Program(tmp_path / "output", *options.split(), cwd=tmp_path, env=tokens_only)
    try:
        # There is no Kafka here, which is waited for: the door is there from the start.
        assert asyncio.run(statuses(port, token)) == [401, 401, 503]
    finally:
        program.kill()


async def statuses(port: int, token: str) -> list[int]:
    """The answers to the list of events, as soon as something listens: without a token, with a wrong one, with this one."""
    found = []
    async with asyncio.timeout(READY_S):
        for header in ({}, {"authorization": f"Bearer {token}0"}, {"authorization": f"Bearer {token}"}):
            while True:
                with suppress(Lost):
                    async with connected(f"127.0.0.1:{port}") as connection:
                        found.append((await connection.request("GET", "/v1/event", headers=header)).status)
                        break
                await asyncio.sleep(0.1)
    return found
