"""The rendered manifests, without a cluster: that they agree with the program, its configuration, its image and each other."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.deploy.manifests import NAMESPACE, ROLES
from tests.deploy.conftest import OVERLAYS, Find, Manifests
from tests.support.command_line import parsed
from ticketmaster.config.roles import load_properties
from ticketmaster.ticket.routes import PEER_PREFIX

ROOT: Final = Path(__file__).resolve().parents[2]
HEALTH: Final = {"/v1/health_check", "/v1/health_check/ready", "/v1/health_check/live"}
# How long a supervisor waits for workers that have nothing to drain.
STOP_S: Final = 10


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    """The pod's specification."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def container(workload: dict[str, Any]) -> dict[str, Any]:
    """The only container."""
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def options(workload: dict[str, Any]) -> dict[str, Any]:
    """What the program makes of the container's arguments, with the environment put in as the kubelet does it."""
    values = {each["name"]: each.get("value", "x-0") for each in container(workload)["env"]}
    return parsed([re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], argument) for argument in container(workload)["args"]])


def ports(workload: dict[str, Any]) -> dict[str, int]:
    """The container's ports by their names."""
    return {each["name"]: each["containerPort"] for each in container(workload)["ports"]}


def ours(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The workloads that run our program."""
    return [each for each in objects if "template" in each.get("spec", {}) and each["metadata"]["name"] in (*ROLES, "topics")]


def selects(selector: dict[str, str], workload: dict[str, Any]) -> bool:
    """Whether a selector finds the pods of a workload."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest, find: Find, overlay: str) -> dict[str, Any]:
    """The StatefulSet of a role."""
    return find(overlay, "StatefulSet", request.param)


# --- The program -------------------------------------------------------------------------------------------------------------


def test_the_program_takes_the_command_of_every_pod(manifests: Manifests, overlay: str) -> None:
    workloads = ours(manifests[overlay])

    assert [each["metadata"]["name"] for each in workloads] == ["event", "reservation", "ticket", "topics"]
    assert all(options(each) for each in workloads)


def test_everything_is_in_one_namespace_which_destroying_deletes(manifests: Manifests, overlay: str) -> None:
    outside = [each for each in manifests[overlay] if each["metadata"].get("namespace") != NAMESPACE]

    assert [(each["kind"], each["metadata"]["name"]) for each in outside] == [("Namespace", NAMESPACE)]


def test_every_pod_runs_the_same_image(manifests: Manifests, overlay: str) -> None:
    assert len({container(each)["image"] for each in ours(manifests[overlay])}) == 1


def test_the_topics_are_made_with_the_partitions_and_replicas_of_the_overlay(find: Find, overlay: str) -> None:
    job = find(overlay, "Job", "topics")
    env = {each["name"]: each["value"] for each in container(job)["env"]}

    assert options(job)["partitions"] == int(env["PARTITIONS_COUNT"])
    assert options(job)["replication_factor"] == int(env["REPLICATION_FACTOR"]) == (1 if overlay == "local" else 3)


def test_each_port_is_the_one_that_the_program_listens_on(role: dict[str, Any]) -> None:
    listens = {"--metrics-port": "metrics", "--port": "http"}
    given = dict(argument.split("=", 1) for argument in container(role)["args"] if "=" in argument)

    assert {listens[name]: int(value) for name, value in given.items() if name in listens} == ports(role)
    assert given["--bind"] == "0.0.0.0", "others in the cluster must reach it"  # noqa: S104 - inside the pod
    assert role["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == given["--metrics-port"]


def test_the_probes_ask_what_the_program_answers_where_it_answers(role: dict[str, Any]) -> None:
    probes = {name: container(role)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}

    assert {probe["port"] for probe in probes.values()} <= set(ports(role))
    assert {probe["path"] for probe in probes.values()} <= HEALTH
    # A process that restores its state for an hour is alive and not ready.
    assert probes["startup"]["path"] == probes["liveness"]["path"] == "/v1/health_check/live"
    assert probes["readiness"]["path"] == "/v1/health_check/ready"
    assert probes["readiness"]["port"] == ("http" if role["metadata"]["name"] == "ticket" else "metrics")


def test_a_pod_has_time_to_end_in_order(role: dict[str, Any], find: Find, overlay: str) -> None:
    settings = options(role)
    pause = container(role).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = settings.get("drain_ms", 0) / 1000

    assert pod(role)["terminationGracePeriodSeconds"] >= pause + drain + STOP_S
    if role["metadata"]["name"] == "ticket":
        assert drain >= settings["long_poll_ms"] / 1000
        assert pause > 0
        if overlay != "local":
            policy = find(overlay, "GCPBackendPolicy", "ticket")["spec"]["default"]
            assert policy["timeoutSec"] > settings["long_poll_ms"] / 1000
            assert policy["connectionDraining"]["drainingTimeoutSec"] == drain


def test_ticket_processes_reach_each_other_by_a_name_that_dns_has_from_the_start(find: Find, overlay: str) -> None:
    ticket = find(overlay, "StatefulSet", "ticket")
    service = find(overlay, "Service", ticket["spec"]["serviceName"])

    assert f"--hostname=$(POD_NAME).{service['metadata']['name']}" in container(ticket)["args"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert selects(service["spec"]["selector"], ticket)


# --- Configuration and state -----------------------------------------------------------------------------------------------


def source_of(path: str, workload: dict[str, Any], objects: list[dict[str, Any]], tmp_path: Path) -> Path:
    """A file that the container sees, written to a folder of ours."""
    (mount,) = [each for each in container(workload)["volumeMounts"] if Path(path).is_relative_to(each["mountPath"])]
    assert mount["readOnly"] is True
    (volume,) = [each for each in pod(workload)["volumes"] if each["name"] == mount["name"]]
    file = tmp_path / Path(path).name
    if "configMap" in volume:
        (config,) = [each for each in objects if each["metadata"]["name"] == volume["configMap"]["name"]]
        file.write_text(config["data"][file.name])
        return file
    assert file.name == "client.properties"
    secrets = [each for each in objects if each["metadata"]["name"] == volume["secret"]["secretName"]]
    if secrets:
        file.write_bytes(base64.b64decode(secrets[0]["data"][file.name]))
    else:
        # In a cloud, `make deploy` makes it of what Terraform tells; tests/deploy/test_terraform.py reads that.
        assert volume["secret"]["secretName"] == "client-properties"
        file.write_text("bootstrap.servers=broker:9092\n")
    return file


def test_every_role_finds_its_files_and_knows_every_key_in_them(
    role: dict[str, Any], manifests: Manifests, overlay: str, tmp_path: Path
) -> None:
    settings = options(role)
    named = [settings[name] for name in ("config_file", "stream_config", "producer_config") if settings.get(name)]
    files = [source_of(str(path), role, manifests[overlay], tmp_path) for path in named]

    assert len(files) == (3 if role["metadata"]["name"] == "ticket" else 2)
    assert load_properties(*files).notes == ()


def test_the_configuration_is_that_of_the_appconfig_folder(manifests: Manifests, overlay: str) -> None:
    maps = {each["metadata"]["name"].rpartition("-config-")[0]: each["data"] for each in manifests[overlay] if each["kind"] == "ConfigMap"}

    expected = {name: {file.name: file.read_text() for file in (ROOT / f"appconfig/{name}-service").iterdir()} for name in ROLES}
    assert maps == expected


def test_each_pod_keeps_its_state_on_a_volume_of_its_own(role: dict[str, Any]) -> None:
    (mount,) = [each for each in container(role)["volumeMounts"] if not each.get("readOnly") and each["mountPath"] != "/tmp"]  # noqa: S108 - the pod's
    (claim,) = role["spec"]["volumeClaimTemplates"]

    assert Path(mount["mountPath"]) == options(role)["state_dir"]
    assert mount["name"] == claim["metadata"]["name"]
    assert role["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Delete"}


def test_what_a_pod_names_exists(manifests: Manifests, overlay: str) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in manifests[overlay]}
    if overlay != "local":
        names.add(("Secret", "client-properties"))

    for workload in ours(manifests[overlay]):
        spec = pod(workload)
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {each["name"]: each for each in spec["volumes"]}
        claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
        assert {each["name"] for each in container(workload)["volumeMounts"]} == set(volumes) | claims
        assert {("ConfigMap", each["configMap"]["name"]) for each in volumes.values() if "configMap" in each} <= names
        assert {("Secret", each["secret"]["secretName"]) for each in volumes.values() if "secret" in each} <= names
        assert all(each["configMapRef"]["optional"] for each in container(workload).get("envFrom", []))


# --- Security ----------------------------------------------------------------------------------------------------------------


def test_every_pod_keeps_to_the_restricted_profile_and_writes_only_where_it_must(manifests: Manifests, overlay: str) -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    for workload in ours(manifests[overlay]):
        context = pod(workload)["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == int(user)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(workload)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(workload)["automountServiceAccountToken"] is False


def test_the_namespace_enforces_the_restricted_profile_where_only_our_pods_are(find: Find, overlay: str) -> None:
    labels = find(overlay, "Namespace", "ticketmaster")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == ("baseline" if overlay == "local" else "restricted")


# --- Traffic and disruption --------------------------------------------------------------------------------------------------


def test_every_selector_finds_pods(manifests: Manifests, overlay: str) -> None:
    workloads = [each for each in manifests[overlay] if "template" in each.get("spec", {})]
    selectors = {
        "Service": lambda spec: spec["selector"],
        "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }
    found = [(each, selectors[each["kind"]](each["spec"])) for each in manifests[overlay] if each["kind"] in selectors]

    assert len(found) >= 12
    assert [each["metadata"]["name"] for each, labels in found if not any(selects(labels, workload) for workload in workloads)] == []


def test_every_service_leads_to_a_port_of_its_pods(manifests: Manifests, overlay: str) -> None:
    workloads = [each for each in manifests[overlay] if each["kind"] == "StatefulSet"]

    for service in (each for each in manifests[overlay] if each["kind"] == "Service"):
        (workload,) = [each for each in workloads if selects(service["spec"]["selector"], each)]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports(workload))
        if service["spec"].get("clusterIP") == "None":
            # Without a virtual address nothing translates ports.
            assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}.items() <= ports(workload).items()


def test_one_pod_of_a_role_at_a_time_may_be_evicted(role: dict[str, Any], find: Find, overlay: str) -> None:
    budget = find(overlay, "PodDisruptionBudget", role["metadata"]["name"])

    assert budget["spec"]["maxUnavailable"] == 1
    assert selects(budget["spec"]["selector"]["matchLabels"], role)
    assert role["spec"]["podManagementPolicy"] == "Parallel"
    for spread in pod(role)["topologySpreadConstraints"]:
        assert selects(spread["labelSelector"]["matchLabels"], role)
        assert set(spread["matchLabelKeys"]) <= set(role["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "local"])
def test_the_gateways_lead_to_everything_that_is_public_and_to_nothing_else(find: Find, overlay: str) -> None:
    route = find(overlay, "HTTPRoute", "ticket")["spec"]
    (rule,) = route["rules"]
    exact = {match["path"]["value"] for match in rule["matches"] if match["path"]["type"] == "Exact"}
    prefixes = {match["path"]["value"] for match in rule["matches"] if match["path"]["type"] == "PathPrefix"}

    def routed(path: str) -> bool:
        return path in exact or any(f"{path}/".startswith(f"{prefix.rstrip('/')}/") for prefix in prefixes)

    public = json.loads((ROOT / "ticketmaster/ticket/openapi.json").read_text())["paths"]
    assert [path for path in public if not routed(path)] == []
    assert not routed(f"{PEER_PREFIX}x")
    assert [find(overlay, "Gateway", parent["name"])["metadata"]["name"] for parent in route["parentRefs"]] == ["outside", "inside"]
    (backend,) = rule["backendRefs"]
    assert backend["port"] in {port["port"] for port in find(overlay, "Service", backend["name"])["spec"]["ports"]}


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "local"])
def test_load_balancers_find_out_who_is_ready_and_may_reach_the_port(find: Find, overlay: str) -> None:
    ticket = find(overlay, "StatefulSet", "ticket")
    check = find(overlay, "HealthCheckPolicy", "ticket")["spec"]["default"]["config"]["httpHealthCheck"]
    (rule,) = find(overlay, "NetworkPolicy", "ticket-from-load-balancers")["spec"]["ingress"]

    assert (check["port"], check["requestPath"]) == (ports(ticket)["http"], container(ticket)["readinessProbe"]["httpGet"]["path"])
    assert rule["ports"] == [{"port": "http"}]
    (proxies,) = re.findall(
        r'"proxies" \{.*?ip_cidr_range = "(\S+)"', (ROOT / "deploy/terraform/kubernetes/main.tf").read_text(), re.DOTALL
    )
    assert proxies in {source["ipBlock"]["cidr"] for source in rule["from"]}


# --- The cluster on a laptop ---------------------------------------------------------------------------------------------------


def test_the_local_configuration_names_the_broker_and_the_registry_of_the_overlay(find: Find) -> None:
    settings = load_properties(ROOT / "deploy/overlays/local/client.properties")
    kafka, pool = find("local", "Kafka", "kafka"), find("local", "KafkaNodePool", "node")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    registry = find("local", "Service", "schema-registry")

    # Strimzi calls the Service so.
    assert (
        f"{kafka['metadata']['name']}-kafka-bootstrap:{listener['port']}" in (ROOT / "deploy/overlays/local/client.properties").read_text()
    )
    assert pool["metadata"]["labels"]["strimzi.io/cluster"] == kafka["metadata"]["name"]
    assert settings.registry.url == f"http://schema-registry:{registry['spec']['ports'][0]['port']}/apis/ccompat/v7"
    assert options(find("local", "Job", "topics"))["replication_factor"] <= pool["spec"]["replicas"]


def test_the_cluster_on_a_laptop_runs_what_docker_compose_runs(find: Find) -> None:
    compose = (ROOT / "docker-compose.yml").read_text()

    assert f"image: apache/kafka:{find('local', 'Kafka', 'kafka')['spec']['kafka']['version']}\n" in compose
    assert f"image: {container(find('local', 'StatefulSet', 'schema-registry'))['image']}\n" in compose
