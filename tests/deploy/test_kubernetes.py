"""The rendered manifests, without a cluster: that they agree with the program, its configuration, its image and each other."""

from __future__ import annotations

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts.deploy.manifests import ACCOUNTS, NAMESPACE, ROLES, client_secret
from tests.deploy.conftest import CLOUD, OVERLAYS, Find, Manifests
from tests.support.command_line import parsed
from ticketmaster.config.roles import load_properties
from ticketmaster.ticket.routes import PEER_PREFIX, READY

ROOT: Final = Path(__file__).resolve().parents[2]
HEALTH: Final = {"/v1/health_check", "/v1/health_check/ready", "/v1/health_check/live"}
# How long a supervisor waits for workers that have nothing to drain.
STOP_S: Final = 10
# How long Google's load balancers may send requests to a pod that is on its way out.
DETACHING_S: Final = 60


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
    assert role["spec"]["minReadySeconds"] > 0
    if role["metadata"]["name"] == "ticket":
        assert drain >= settings["long_poll_ms"] / 1000
        assert pause > 0
        if overlay != "local":
            assert pause >= DETACHING_S
            policy = find(overlay, "GCPBackendPolicy", "ticket")["spec"]["default"]
            assert policy["timeoutSec"] > settings["long_poll_ms"] / 1000
            assert policy["connectionDraining"]["drainingTimeoutSec"] == drain


def test_a_process_tells_the_others_an_address_that_was_never_another_pods(find: Find, overlay: str) -> None:
    ticket = find(overlay, "StatefulSet", "ticket")
    sources = {each["name"]: each.get("valueFrom") for each in container(ticket)["env"]}

    assert "--hostname=$(POD_IP)" in container(ticket)["args"]
    assert sources["POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_a_rebalance_that_takes_long_takes_no_pod_out_of_the_way_of_requests(role: dict[str, Any]) -> None:
    probe = container(role)["readinessProbe"]

    # The program answers this one with 200 through a rebalance: tests/bootstrap/test_front.py. It may answer late.
    assert probe["httpGet"]["path"] == READY
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 10


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
    secrets = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Secret", volume["secret"]["secretName"])]
    if secrets:
        file.write_bytes(base64.b64decode(secrets[0]["data"][file.name]))
    else:
        # In a cloud, `make deploy` makes it of what Terraform tells; tests/deploy/test_terraform.py reads that.
        assert volume["secret"]["secretName"] == client_secret(workload["metadata"]["name"])
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


def test_each_pod_has_a_volume_of_its_own_for_state_which_ties_its_successor_to_no_zone(role: dict[str, Any]) -> None:
    (mount,) = [each for each in container(role)["volumeMounts"] if not each.get("readOnly") and each["mountPath"] != "/tmp"]  # noqa: S108 - the pod's
    (volume,) = [each for each in pod(role)["volumes"] if each["name"] == mount["name"]]

    assert Path(mount["mountPath"]) == options(role)["state_dir"]
    assert volume["ephemeral"]["volumeClaimTemplate"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "volumeClaimTemplates" not in role["spec"]


def test_each_account_has_credentials_of_its_own(manifests: Manifests, overlay: str) -> None:
    named = {}
    for workload in ours(manifests[overlay]):
        (secret,) = [each["secret"]["secretName"] for each in pod(workload)["volumes"] if "secret" in each]
        named[workload["metadata"]["name"]] = secret

    assert set(named) == set(ACCOUNTS)
    # kustomize adds a digest to those that it makes.
    assert all(secret.startswith(client_secret(account)) for account, secret in named.items())
    assert len(set(named.values())) == len(ACCOUNTS)


def test_what_a_pod_names_exists(manifests: Manifests, overlay: str) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in manifests[overlay]}
    if overlay != "local":
        names |= {("Secret", client_secret(account)) for account in ACCOUNTS}

    for workload in ours(manifests[overlay]):
        spec = pod(workload)
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert {each["name"] for each in container(workload)["volumeMounts"]} == set(volumes)
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


PUBLIC: Final = json.loads((ROOT / "ticketmaster/ticket/openapi.json").read_text())["paths"]


def backend_of(route: dict[str, Any], method: str, path: str) -> str | None:
    """Where an HTTPRoute leads, by the precedence of the Gateway API: an exact path, then the longest prefix, then a method."""
    fits = []
    for rule in route["spec"]["rules"]:
        for match in rule["matches"]:
            kind, value = match["path"]["type"], match["path"]["value"]
            is_exact = kind == "Exact"
            fit = path == value if is_exact else f"{path}/".startswith(f"{value.rstrip('/')}/")
            if fit and match.get("method", method) == method:
                fits.append((is_exact, len(value), "method" in match, rule["backendRefs"][0]["name"]))
    return str(max(fits)[-1]) if fits else None


@pytest.mark.parametrize("overlay", CLOUD)
def test_machines_of_the_network_may_ask_for_everything_public_and_the_world_for_nothing(
    find: Find, manifests: Manifests, overlay: str
) -> None:
    route = find(overlay, "HTTPRoute", "ticket")

    assert [path for path in PUBLIC if backend_of(route, "GET", path) != "ticket"] == []
    assert backend_of(route, "GET", f"{PEER_PREFIX}x") is None
    assert [parent["name"] for parent in route["spec"]["parentRefs"]] == ["inside"]
    # No other gateway is there, and this one's class is for addresses of the network.
    gateways = {each["metadata"]["name"]: each["spec"]["gatewayClassName"] for each in manifests[overlay] if each["kind"] == "Gateway"}
    assert gateways == {"inside": "gke-l7-rilb"}
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert backend["port"] in {port["port"] for port in find(overlay, "Service", backend["name"])["spec"]["ports"]}


Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.mark.parametrize(
    ("method", "path", "backend"),
    [
        ("GET", "/v1/event", "buyers"),
        ("GET", "/v1/event/concert", "buyers"),
        ("GET", "/v1/event/concert/area/A", "buyers"),
        ("POST", "/v1/event/concert/reservation", "buyers"),
        ("GET", "/v1/reservation/0190", "buyers"),
        # Who announces events is inside. The program takes one at exactly this path.
        ("POST", "/v1/event", "nobody"),
        ("DELETE", "/v1/event", None),
        ("POST", "/v1/reservation/0190", None),
        ("GET", "/v1/events", None),
        ("GET", "/v1/health_check", None),
        ("GET", "/docs", None),
        ("GET", "/openapi.json", None),
        ("GET", "/", None),
        ("GET", f"{PEER_PREFIX}0190", None),
        ("GET", "/metrics", None),
    ],
)
def test_the_world_gets_what_buyers_need(outside: Objects, method: str, path: str, backend: str | None) -> None:
    assert backend_of(outside["HTTPRoute", "buyers"], method, path) == backend


def test_the_world_is_spoken_to_by_https_under_a_name_an_address_and_a_certificate_that_are_its_own(outside: Objects) -> None:
    gateway = outside["Gateway", "outside"]["spec"]
    listeners = {each["name"]: each for each in gateway["listeners"]}
    routes = {name: outside["HTTPRoute", name]["spec"] for name in ("buyers", "to-https")}

    assert {name: (each["protocol"], each["port"]) for name, each in listeners.items()} == {"https": ("HTTPS", 443), "http": ("HTTP", 80)}
    assert gateway["addresses"] == [{"type": "NamedAddress", "value": "ticketmaster-main"}]
    assert listeners["https"]["tls"]["options"] == {"networking.gke.io/cert-manager-certs": "ticketmaster-main"}
    assert {name: route["parentRefs"] for name, route in routes.items()} == {
        "buyers": [{"name": "outside", "sectionName": "https"}],
        "to-https": [{"name": "outside", "sectionName": "http"}],
    }
    assert {name for route in routes.values() for name in route["hostnames"]} == {"tickets.test"}
    assert ["backendRefs" in rule for rule in routes["to-https"]["rules"]] == [False]


def test_what_the_world_asks_is_limited_and_treated_as_what_machines_of_the_network_ask(outside: Objects) -> None:
    policies = {name: outside["GCPBackendPolicy", name]["spec"]["default"] for name in ("ticket", "buyers")}

    assert policies["buyers"] == policies["ticket"] | {"securityPolicy": "ticketmaster-main"}
    assert outside["HealthCheckPolicy", "buyers"]["spec"]["default"] == outside["HealthCheckPolicy", "ticket"]["spec"]["default"]
    assert outside["Service", "buyers"]["spec"] == outside["Service", "ticket"]["spec"]
    assert "selector" not in outside["Service", "nobody"]["spec"]


def test_a_sale_is_paused_by_the_rule_that_the_runbook_names(outside: Objects) -> None:
    runbook = (ROOT / "docs/runbooks.md").read_text()
    (place,) = re.findall(r'httproute/buyers .*"op":"remove","path":"/spec/rules/(\d+)"', runbook)
    route = outside["HTTPRoute", "buyers"]
    paused = {"spec": {"rules": [rule for number, rule in enumerate(route["spec"]["rules"]) if number != int(place)]}}
    (where,) = re.findall(r'httproute/ticket .*"op":"add","path":"/spec/rules/0/matches/(\d+)/method","value":"GET"', runbook)
    paused_inside = copy.deepcopy(outside["HTTPRoute", "ticket"])
    paused_inside["spec"]["rules"][0]["matches"][int(where)]["method"] = "GET"

    assert backend_of(paused, "POST", "/v1/event/concert/reservation") is None
    assert backend_of(paused, "GET", "/v1/reservation/0190") == backend_of(paused, "GET", "/v1/event/concert") == "buyers"
    assert backend_of(paused_inside, "POST", "/v1/event/concert/reservation") is None
    assert backend_of(paused_inside, "GET", "/v1/reservation/0190") == "ticket"


@pytest.mark.parametrize("overlay", CLOUD)
def test_a_command_that_takes_too_long_is_refused_by_the_program_and_not_by_the_load_balancer(find: Find, overlay: str) -> None:
    delivery_s = load_properties(ROOT / "appconfig/ticket-service/producer.properties").kafka.delivery_timeout_ms / 1000

    assert find(overlay, "GCPBackendPolicy", "ticket")["spec"]["default"]["timeoutSec"] >= delivery_s + 10


@pytest.mark.parametrize("overlay", CLOUD)
def test_who_has_ordered_asks_the_process_that_took_the_order(find: Find, overlay: str) -> None:
    policy = find(overlay, "GCPBackendPolicy", "ticket")["spec"]["default"]
    long_poll_s = options(find(overlay, "StatefulSet", "ticket"))["long_poll_ms"] / 1000

    assert policy["sessionAffinity"]["type"] == "GENERATED_COOKIE"
    assert policy["sessionAffinity"]["cookieTtlSec"] >= 10 * long_poll_s


@pytest.mark.parametrize("overlay", CLOUD)
def test_googles_prometheus_reads_every_pod_and_evaluates_every_rule(find: Find, overlay: str) -> None:
    monitoring = find(overlay, "PodMonitoring", "ticketmaster")["spec"]
    written = yaml.safe_load((ROOT / "deploy/observability/alerts.yml").read_text())

    (endpoint,) = monitoring["endpoints"]
    for role in ROLES:
        workload = find(overlay, "StatefulSet", role)
        assert selects(monitoring["selector"]["matchLabels"], workload)
        assert endpoint["port"] in ports(workload)
    assert find(overlay, "Rules", "ticketmaster")["spec"] == written


def test_what_no_repetition_mends_ends_the_job_at_once(find: Find, overlay: str) -> None:
    job = find(overlay, "Job", "topics")
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]

    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": container(job)["name"], "operator": "In", "values": [2]}
    # Kubernetes takes such a policy only then.
    assert pod(job)["restartPolicy"] == "Never"


@pytest.mark.parametrize("overlay", CLOUD)
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
