"""The Terraform modules, without their providers: references, rights, and the properties that the roles get."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from scripts.deploy.terraform import problems
from tests.deploy.conftest import OVERLAYS
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.config.roles import load_properties
from ticketmaster.wire.topics import EVENT_SERVICE, RESERVATION_SERVICE, TICKET_SERVICE

ROOT: Final = Path(__file__).resolve().parents[2]
TERRAFORM: Final = ROOT / "deploy/terraform"
KAFKA: Final = (TERRAFORM / "kafka/main.tf").read_text()

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
        ("main.tf", "region = var.region", "region = var.regio", "terraform: var.regio is not declared"),
        ("main.tf", "local.size.kafka", "local.sise.kafka", "terraform: local.sise is not declared"),
        ("main.tf", "  kind   = local.size.kafka\n", "", "terraform: module.kafka needs kind"),
        ("main.tf", "  kind   =", "  kinds  =", "terraform: module.kafka has no variable kinds"),
        ("outputs.tf", "module.kafka.client_properties", "module.kafka.properties", "terraform: module.kafka.properties is not declared"),
        (
            "kafka/main.tf",
            "confluent_api_key.manager.id",
            "confluent_api_key.boss.id",
            "terraform/kafka: confluent_api_key.boss is not declared",
        ),
        ("kafka/main.tf", "setproduct(local.groups", "setproduct(local.topics", "terraform/kafka: local.groups is not used"),
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
    (allowed,) = re.findall(r"contains\(\[(.*)\], var.perf_type\)", (TERRAFORM / "variables.tf").read_text())
    sizes = re.findall(r'^    "(\S+)" += \{ machine_type', (TERRAFORM / "main.tf").read_text(), re.MULTILINE)

    assert re.findall(r'"(.*?)"', allowed) == sizes == [name for name in OVERLAYS if name != "local"]


# --- What the account of the roles may do ----------------------------------------------------------------------------------


def listed(name: str) -> list[str]:
    """The strings of a list in the locals of the Kafka module."""
    (text,) = re.findall(rf"^  {name} += (?:concat\()?(.*?\])(?:,?\n  \)|\n)", KAFKA, re.DOTALL | re.MULTILINE)
    return re.findall(r'"(.*?)"', text)


def test_the_account_may_use_every_topic_group_and_transaction_of_the_roles() -> None:
    prefixes = listed("topics")

    assert [wanted.name for wanted in WANTED if not wanted.name.startswith(tuple(prefixes))] == []
    assert set(listed("groups")) == {TICKET_SERVICE, RESERVATION_SERVICE, EVENT_SERVICE}
    # A task's transactional id is <group>-<partition>; the ticket role has none.
    assert set(listed("transactions")) == {f"{RESERVATION_SERVICE}-", f"{EVENT_SERVICE}-"}


# --- What the roles get ------------------------------------------------------------------------------------------------------


def test_the_roles_understand_the_properties_that_terraform_makes(tmp_path: Path) -> None:
    template = (TERRAFORM / "kafka/client.properties.tftpl").read_text()
    given = set(re.findall(r"^    (\w+) += ", (TERRAFORM / "kafka/outputs.tf").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)\}", template)) == given

    values = {name: f"{name}-x" for name in given} | {
        "bootstrap_servers": "pkc-1.asia-east1.gcp.confluent.cloud:9092",
        "registry_url": "https://psrc-1.asia-east1.gcp.confluent.cloud",
        # Secrets of Confluent Cloud may hold these.
        "kafka_secret": "a+b/c=d",
        "registry_secret": "e+f/g=h",
    }
    file = tmp_path / "client.properties"
    file.write_text(re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], template))

    loaded = load_properties(file)
    assert loaded.notes == ()
    security = loaded.kafka.security
    assert (security.protocol, security.mechanism, security.username, security.password) == ("SASL_SSL", "PLAIN", "kafka_key-x", "a+b/c=d")
    assert (loaded.registry.username, loaded.registry.password) == ("registry_key-x", "e+f/g=h")
