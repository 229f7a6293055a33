"""The settings by which gateways ask for tokens, in Kubernetes and in Compose: they agree with the program and with what is mounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from scripts.deploy.schemas import COMPONENTS
from tests.deploy.conftest import Manifests
from ticketmaster.cli import PREFIX, main
from ticketmaster.cli.environment import variables

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = {"TICKETMASTER_TICKET_TOKENS": "tokens.txt", "TICKETMASTER_TICKET_PEER_SECRET_FILE": "peer-secret"}


def test_the_program_has_the_options_that_are_set() -> None:
    assert FILES.keys() <= {name for name, _ in variables(main, PREFIX)}


def test_a_pod_has_the_files_where_the_program_looks_for_them(everything: Manifests) -> None:
    (objects,) = [found for name, found in everything.items() if all(component in name for component in COMPONENTS)]
    (ticket,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("StatefulSet", "ticket")]
    pod: dict[str, Any] = ticket["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "doors"]
    # A file that is mounted by itself does not change with its Secret.
    assert "subPath" not in mount
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert {name: env[name] for name in FILES} == {name: f"{mount['mountPath']}/{file}" for name, file in FILES.items()}
    (volume,) = [each for each in pod["volumes"] if each["name"] == "doors"]
    assert volume["secret"] == {"secretName": "ticket-doors", "defaultMode": 0o440}
    told = (ROOT / "deploy" / "components" / "tokens" / "kustomization.yaml").read_text()
    assert "secret generic ticket-doors " + " ".join(f"--from-file={file}" for file in FILES.values()) in told


def test_a_container_has_the_folder_where_the_program_looks_for_the_files() -> None:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose" / "tokens.yml").read_text())
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert document["services"].keys() <= services.keys()
    ticket = document["services"]["ticket"]
    (volume,) = ticket["volumes"]
    source, target, mode = volume.split(":")
    assert (source, mode) == ("./doors", "ro")
    assert ticket["environment"] == {name: f"{target}/{file}" for name, file in FILES.items()}
