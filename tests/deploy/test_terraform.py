"""The Terraform modules, without their providers: references, rights, and the properties that the roles get."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import hcl2
import pytest

from scripts.deploy.cloud import PROTECTED, REGION
from scripts.deploy.terraform import problems
from tests.deploy.conftest import CLOUD
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.config.roles import load_properties
from ticketmaster.wire.topics import EVENT_SERVICE, RESERVATION_SERVICE, TICKET_SERVICE

ROOT: Final = Path(__file__).resolve().parents[2]
TERRAFORM: Final = ROOT / "deploy/terraform"
KAFKA: Final = (TERRAFORM / "kafka/main.tf").read_text()

OPTIONS: Final = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)

Breaking = Callable[[str, str, str], list[str]]


@pytest.fixture
def breaking(tmp_path: Path) -> Breaking:
    """Replaces a text in a file of a copy, and tells what the check says then."""

    def replace(file: str, old: str, new: str) -> list[str]:
        copy = tmp_path / "terraform"
        shutil.copytree(TERRAFORM, copy)
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new))
        return problems(copy)

    return replace


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("main.tf", "= var.region", "= var.regio", "terraform: var.regio is not declared"),
        ("main.tf", "local.size.kafka", "local.sise.kafka", "terraform: local.sise is not declared"),
        ("main.tf", "  kind            = local.size.kafka\n", "", "terraform: module.kafka needs kind"),
        ("main.tf", "  kind            =", "  kinds           =", "terraform: module.kafka has no variable kinds"),
        ("outputs.tf", "module.outside[*].dns_records", "module.outside[*].records", "terraform: module.outside.records is not declared"),
        ("outputs.tf", "module.kafka.client_properties", "module.kafka.properties", "terraform: module.kafka.properties is not declared"),
        (
            "kafka/main.tf",
            "confluent_api_key.manager.id",
            "confluent_api_key.boss.id",
            "terraform/kafka: confluent_api_key.boss is not declared",
        ),
        ("kafka/outputs.tf", "-${local.current}", "-a", "terraform/kafka: local.current is not used"),
        ("kafka/main.tf", 'data "confluent_schema_registry_cluster" "this"', 'data "confluent_schema_registry_cluster" "that"', None),
        ("kafka/versions.tf", "confluent = {", "confluence = {", None),
        ("kubernetes/variables.tf", 'variable "name"', 'variable "region"', "terraform/kubernetes: var.region is declared twice"),
        ("kubernetes/main.tf", 'resource "google_compute_network" "this" {', 'resource "google_compute_network" "this" {{', None),
    ],
)
def test_what_does_not_fit_together_is_found(breaking: Breaking, file: str, old: str, new: str, problem: str | None) -> None:
    found = breaking(file, old, new)

    assert found
    assert problem is None or problem in found


def test_what_is_committed_fits_together() -> None:
    assert problems(TERRAFORM) == []


def test_versions_are_pinned() -> None:
    versions = re.findall(r'^\s+version\s+= "(.*)"$', (TERRAFORM / "versions.tf").read_text(), re.MULTILINE)

    assert len(versions) == 2
    assert [version for version in versions if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []


def test_terraform_makes_clusters_for_every_overlay_but_the_local_one() -> None:
    (allowed,) = re.findall(r"contains\(\[(.*?)\], var.perf_type\)", (TERRAFORM / "variables.tf").read_text(), re.DOTALL)
    sizes = re.findall(r'^    "(\S+)" += \{ machine_type', (TERRAFORM / "main.tf").read_text(), re.MULTILINE)

    assert re.findall(r'"(.*?)"', allowed) == sizes == list(CLOUD)


def resources(module: str) -> dict[str, dict[str, Any]]:
    """By address, what a module declares."""
    parsed = hcl2.loads((TERRAFORM / module / "main.tf").read_text(), serialization_options=OPTIONS)
    return {f"{kind}.{name}": body for block in parsed["resource"] for kind, named in block.items() for name, body in named.items()}


# --- What must not go by the way -------------------------------------------------------------------------------------------------


def test_what_holds_a_sale_is_never_replaced_and_is_taken_away_by_destroy_alone() -> None:
    protected = {
        module: tuple(address for address, body in resources(module).items() if body.get("lifecycle", [{}])[0].get("prevent_destroy"))
        for module in ("kafka", "kubernetes", "outside")
    }

    assert protected == {module: tuple(f"{kind}.this" for kind in kinds) for module, kinds in PROTECTED.items()} | {"outside": ()}


def test_the_state_is_locked_and_shared_and_no_two_environments_have_a_name_in_common() -> None:
    # Google's backend locks by itself. Which bucket and which folder, scripts/deploy says.
    assert re.search(r'^  backend "gcs" \{\}$', (TERRAFORM / "versions.tf").read_text(), re.MULTILINE)
    assert re.search(r'^  name = "ticketmaster-\$\{var.environment\}"$', (TERRAFORM / "main.tf").read_text(), re.MULTILINE)
    # A Google service account, the longest name that is made of it, has 30 characters at most.
    (longest,) = re.findall(r"\[a-z0-9\]\{0,(\d)\}", (TERRAFORM / "variables.tf").read_text())
    assert len("ticketmaster-") + 1 + int(longest) + len("-nodes") <= 30


def test_the_script_and_terraform_agree_where_clusters_are() -> None:
    (region,) = re.findall(r'variable "region" \{.*?default += "(.*?)"', (TERRAFORM / "variables.tf").read_text(), re.DOTALL)

    assert region == REGION
    assert resources("kubernetes")["google_container_cluster.this"]["name"] == "${var.name}"


def test_google_upgrades_nodes_in_the_window_and_not_during_a_sale_and_who_may_reach_the_control_plane_is_said() -> None:
    cluster = resources("kubernetes")["google_container_cluster.this"]
    (policy,) = cluster["maintenance_policy"]
    (exclusion,) = policy["dynamic"]
    (window,) = policy["recurring_window"]

    assert {window[name] for name in ("start_time", "end_time", "recurrence")} == {
        f"${{var.maintenance_window.{name}}}" for name in ("start_time", "end_time", "recurrence")
    }
    assert exclusion["maintenance_exclusion"]["for_each"] == "${var.sales}"
    assert exclusion["maintenance_exclusion"]["content"][0]["exclusion_options"][0]["scope"] == "NO_UPGRADES"
    assert "cidr_blocks" in cluster["master_authorized_networks_config"][0]["dynamic"][0]
    # No default: somebody must have thought of it.
    variables = hcl2.loads((TERRAFORM / "variables.tf").read_text(), serialization_options=OPTIONS)["variable"]
    (networks,) = [block["authorized_networks"] for block in variables if "authorized_networks" in block]
    assert "default" not in networks


# --- What the accounts may do ------------------------------------------------------------------------------------------------

Rights = dict[str, dict[str, set[str]]]


def documented() -> Rights:
    """Of each user in docs/security.md: topics that are read and written, and prefixes of ids of transactions."""
    text = (ROOT / "docs/security.md").read_text().replace("\\\n", " ")
    found: Rights = {}
    for line in re.findall(r"^acls --allow-principal User:(?:ticket|reservation|event) .*$", text, re.MULTILINE):
        words = line.split()
        named = list(pairwise(words))
        (user,) = [value.removeprefix("User:") for name, value in named if name == "--allow-principal"]
        rights = found.setdefault(user, {"read": set(), "write": set(), "transactions": set()})
        if transactions := [value for name, value in named if name == "--transactional-id"]:
            rights["transactions"] |= set(transactions)
        else:
            (operation,) = [value.lower() for name, value in named if name == "--operation"]
            rights[operation] |= {value for name, value in named if name == "--topic"}
            assert [value for name, value in named if name == "--group"] in ([], [f"{user}-service"])
    return found


def kafka_locals() -> dict[str, Any]:
    """Those of the Kafka module."""
    (found,) = hcl2.loads(KAFKA, serialization_options=OPTIONS)["locals"]
    return {str(name): value for name, value in found.items()}


def test_each_role_has_an_account_which_may_do_what_the_documents_say_and_no_more() -> None:
    may = {role: {name: set(values) for name, values in rights.items()} for role, rights in kafka_locals()["may"].items()}

    assert may == documented()
    assert [wanted.name for wanted in WANTED if not wanted.name.startswith(tuple(kafka_locals()["topics"]))] == []
    groups = {f"{role}-service" for role in may}
    assert groups == {TICKET_SERVICE, RESERVATION_SERVICE, EVENT_SERVICE}
    # A task's transactional id is <group>-<partition>; the ticket role has none.
    assert set().union(*(rights["transactions"] for rights in may.values())) == {f"{RESERVATION_SERVICE}-", f"{EVENT_SERVICE}-"}


def test_who_looks_may_read_everything_and_change_nothing() -> None:
    rights = str(kafka_locals()["rights"])

    assert set(re.findall(r"reader (\w+) \S+ \w+ (\w+)", rights)) == {("TOPIC", "READ"), ("GROUP", "DESCRIBE")}
    assert re.search(r'account == "reader" \? "DeveloperRead"', KAFKA)


def test_topics_are_made_by_an_account_that_can_neither_read_nor_write_them() -> None:
    rights = str(kafka_locals()["rights"])

    assert set(re.findall(r"topics (?:TOPIC|CLUSTER) \S+ \w+ (\S+?)[\"']", rights)) <= {"ALTER_CONFIGS", "${operation}"}
    (cluster,) = re.findall(r"for operation in \[(.*?)\] : .topics CLUSTER", rights)
    assert set(re.findall(r"\w+", cluster)) == {"CREATE", "DESCRIBE"}


def test_two_generations_of_keys_are_good_at_once_and_pods_use_the_last() -> None:
    keys = resources("kafka")

    for kind in ("kafka", "registry"):
        assert keys[f"confluent_api_key.{kind}"]["for_each"] == f"${{local.{kind}_keys}}"
    outputs = (TERRAFORM / "kafka/outputs.tf").read_text()
    assert "element(var.key_generations, length(var.key_generations) - 1)" in outputs
    assert set(re.findall(r"confluent_api_key\.\w+\[(.*?)\]\.", outputs)) == {'"${account}-${local.current}"'}


# --- What the roles get ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry_key", ["registry_key-x", ""])
def test_the_roles_understand_the_properties_that_terraform_makes(tmp_path: Path, registry_key: str) -> None:
    template = (TERRAFORM / "kafka/client.properties.tftpl").read_text()
    given = set(re.findall(r"^      (\w+) += ", (TERRAFORM / "kafka/outputs.tf").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)\}", template)) == given

    values = {name: f"{name}-x" for name in given} | {
        "bootstrap_servers": "pkc-1.asia-east1.gcp.confluent.cloud:9092",
        "registry_url": "https://psrc-1.asia-east1.gcp.confluent.cloud",
        # Secrets of Confluent Cloud may hold these.
        "kafka_secret": "a+b/c=d",
        "registry_key": registry_key,
        "registry_secret": "e+f/g=h",
    }
    # As Terraform does it.
    block = re.compile(r'%\{ if registry_key != "" ~\}\n(.*?)%\{ endif ~\}\n', re.DOTALL)
    assert block.search(template)
    template = block.sub(r"\1" if registry_key else "", template)
    file = tmp_path / "client.properties"
    file.write_text(re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], template))

    loaded = load_properties(file)
    assert loaded.notes == ()
    security = loaded.kafka.security
    assert (security.protocol, security.mechanism, security.username, security.password) == ("SASL_SSL", "PLAIN", "kafka_key-x", "a+b/c=d")
    assert (loaded.registry.username, loaded.registry.password) == ((registry_key, "e+f/g=h") if registry_key else ("", ""))


# --- What the world is let in by -----------------------------------------------------------------------------------------------


def test_the_policy_in_front_limits_an_address_and_lets_nobody_announce_events() -> None:
    rules = {name: body for name, body in resources("outside").items() if name.startswith("google_compute_region_security_policy_rule")}
    by_action = {body["action"]: body for body in rules.values()}

    assert set(by_action) == {"deny(403)", "throttle"}
    assert by_action["deny(403)"]["priority"] < by_action["throttle"]["priority"]
    expression = by_action["deny(403)"]["match"][0]["expr"][0]["expression"]
    (path,) = re.findall(r"matches\('(.*?)'\)", expression)
    assert "request.method == 'POST'" in expression
    assert [bool(re.search(path, one)) for one in ("/v1/event", "/v1/event/", "/v1/event/a/reservation")] == [True, True, False]
    assert by_action["throttle"]["rate_limit_options"][0]["enforce_on_key"] == "IP"
