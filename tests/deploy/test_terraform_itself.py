"""What Terraform itself makes of the modules' expressions: no provider is needed for these. Skipped where Terraform is not installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.deploy.cloud import lifting_protection
from tests.deploy.test_terraform import ROOT, TERRAFORM, documented
from tests.support.tools import skipped

ACCOUNTS: Final = ("ticket", "reservation", "event", "topics", "reader")
VARIABLES: Final = {
    "confluent_cloud_api_key": "key",
    "confluent_cloud_api_secret": "secret",
    "google_project": "a-project",
    "environment": "main",
    "perf_type": "40-instance-perf",
    "authorized_networks": '["203.0.113.7/32"]',
}


def terraform(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a folder whose resources need no provider."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    env |= {f"TF_VAR_{name}": value for name, value in variables.items()}
    command = ["terraform", f"-chdir={folder}", *arguments]
    return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def evaluated(folder: Path, expression: str, **variables: str) -> Any:  # noqa: ANN401 - JSON
    """What an expression comes to."""
    assert terraform(folder, "init", "-backend=false").returncode == 0
    done = terraform(folder, "console", stdin=f"jsonencode({expression})\n", **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(autouse=True)
def _installed() -> None:
    """Only a deployment in the cloud needs it: test_terraform.py checks the files without it."""
    if shutil.which("terraform") is None:
        skipped("looking at the values of our modules' expressions needs terraform, which this machine lacks")


@pytest.fixture
def kafka(tmp_path: Path) -> Path:
    """The locals and the template of the Kafka module, without resources."""
    (block,) = re.findall(r"^locals \{.*?^\}$", (TERRAFORM / "kafka/main.tf").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "main.tf").write_text(f'{block}\nvariable "key_generations" {{\n  default = ["a", "b"]\n}}\n')
    shutil.copy(TERRAFORM / "kafka/client.properties.tftpl", tmp_path)
    return tmp_path


def test_the_rights_are_those_of_the_documents(kafka: Path) -> None:
    rights = {tuple(right.split()) for right in evaluated(kafka, "local.rights")}
    text = (ROOT / "docs/security.md").read_text()
    prefixes = re.findall(r"--topic (\S+\.|\S+-)(?= )", re.findall(r"^topics='(.*)'$", text, re.MULTILINE)[0])
    looks = ("DESCRIBE", "DESCRIBE_CONFIGS")
    expected = {(user, "TOPIC", prefix, "PREFIXED", right) for user in ACCOUNTS for prefix in prefixes for right in looks}
    expected |= {("topics", "TOPIC", prefix, "PREFIXED", "ALTER_CONFIGS") for prefix in prefixes}
    # At Confluent Cloud, DESCRIBE of a cluster is what DescribeConfigs is in Kafka.
    expected |= {("topics", "CLUSTER", "kafka-cluster", "LITERAL", right) for right in ("CREATE", "DESCRIBE")}
    expected |= {(role, "CLUSTER", "kafka-cluster", "LITERAL", "IDEMPOTENT_WRITE") for role in documented()}
    expected |= {("reader", "TOPIC", prefix, "PREFIXED", "READ") for prefix in prefixes}
    for role, may in documented().items():
        expected |= {("reader", "GROUP", f"{role}-service", "LITERAL", "DESCRIBE"), (role, "GROUP", f"{role}-service", "LITERAL", "READ")}
        expected |= {(role, "TOPIC", topic, "LITERAL", right.upper()) for right in ("read", "write") for topic in may[right]}
        expected |= {(role, "TRANSACTIONAL_ID", name, "PREFIXED", right) for name in may["transactions"] for right in ("DESCRIBE", "WRITE")}

    assert len(prefixes) == 5
    assert rights == expected


def test_each_account_has_a_key_of_each_generation(kafka: Path) -> None:
    assert evaluated(kafka, "local.kafka_keys") == {f"{account}-{generation}": account for account in ACCOUNTS for generation in "ab"}
    # Who makes topics asks no registry.
    assert "topics" not in evaluated(kafka, "local.registry_keys").values()


@pytest.mark.parametrize("key", ["a-key", ""])
def test_the_properties_are_made_as_the_other_tests_think(kafka: Path, key: str) -> None:
    names = ("account", "bootstrap_servers", "kafka_key", "kafka_secret", "registry_url", "registry_secret")
    values = json.dumps({**{name: f"{name}-x" for name in names}, "registry_key": key})

    made = evaluated(kafka, f'templatefile("${{path.module}}/client.properties.tftpl", jsondecode({json.dumps(values)}))')

    lines = [line for line in made.splitlines() if line.startswith("basic.auth")]
    assert lines == (["basic.auth.credentials.source=USER_INFO", "basic.auth.user.info=a-key:registry_secret-x"] if key else [])
    assert made.endswith("\n")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("authorized_networks", "[]", "at least one range"),
        ("authorized_networks", '["0.0.0.0/0"]', "none of them is the whole world"),
        ("authorized_networks", '["somewhere"]', "authorized_networks"),
        ("environment", "Main", "a letter and up to nine"),
        ("environment", "far-too-long", "a letter and up to nine"),
        ("perf_type", "3-instance-perf", "N is 1, 2, 4, 8, 16, 32 or 40"),
        ("key_generations", '["a","b","c"]', "one name, or two"),
        ("", "", ""),
    ],
)
def test_wrong_values_of_variables_are_refused(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    shutil.copy(TERRAFORM / "variables.tf", tmp_path)
    given = VARIABLES | ({name: value} if name else {})

    done = terraform(tmp_path, "plan", "-input=false", "-no-color", **given)

    assert (done.returncode == 0) == (not name)
    # It wraps lines.
    assert complaint in " ".join(done.stderr.replace("│", " ").split())


def test_what_is_protected_can_be_destroyed_with_our_override_and_not_without(tmp_path: Path) -> None:
    module = tmp_path / "kafka"
    module.mkdir()
    (tmp_path / "main.tf").write_text('module "kafka" {\n  source = "./kafka"\n}\n')
    # Terraform's own kind of resource, in place of a cluster.
    (module / "main.tf").write_text('resource "terraform_data" "this" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n')
    assert terraform(tmp_path, "init").returncode == 0
    assert terraform(tmp_path, "apply", "-auto-approve").returncode == 0

    refused = terraform(tmp_path, "destroy", "-auto-approve", "-no-color")
    assert refused.returncode == 1
    assert "lifecycle.prevent_destroy" in refused.stderr

    with lifting_protection(tmp_path, {"kafka": ("terraform_data",)}):
        assert terraform(tmp_path, "destroy", "-auto-approve").returncode == 0
    assert [path.name for path in module.iterdir()] == ["main.tf"]
