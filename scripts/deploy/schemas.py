"""Rendered manifests against schemas: those of Kubernetes, and ours for the kinds that others have defined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs
import kubernetes_validate
import yaml

from scripts.deploy.custom_resources import SPECS
from scripts.deploy.manifests import LOCAL, Additions, overlays, render

# The oldest that has all that we use, and the newest that the schemas' package has.
VERSIONS: Final = ("1.33", "1.37")
COMPONENTS: Final = ("tracing", "pod-monitor", "tokens")
SMALLEST: Final = "1-instance-perf"
OUTSIDE: Final = f"{SMALLEST} with outside"


def rendered() -> dict[str, list[dict[str, Any]]]:
    """The objects of every overlay, and of some with the components that no overlay has. DeployError: kustomize refuses one."""
    found = {overlay: render(overlay) for overlay in overlays()}
    found[f"{LOCAL} with {' and '.join(COMPONENTS)}"] = render(LOCAL, Additions(components=COMPONENTS))
    found[OUTSIDE] = render(SMALLEST, Additions(domain="tickets.test", name="ticketmaster-main"))
    return {name: list(yaml.load_all(text, yaml.CSafeLoader)) for name, text in found.items()}


class Checker:
    """Says what is wrong with objects; one that it has seen before is not looked at again, for overlays have most in common."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {}

    def problems(self, objects: list[dict[str, Any]]) -> list[str]:
        """One line for each breach of a schema, and for each object that is there twice."""
        found = []
        for each in objects:
            text = json.dumps(each, sort_keys=True)
            if text not in self._seen:
                self._seen[text] = list(_problems(each))
            found += self._seen[text]
        names = [f"{each['kind']} {each['metadata']['name']}" for each in objects]
        return found + [f"{name} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]


def _problems(each: dict[str, Any]) -> Iterator[str]:
    name = f"{each.get('kind')} {each.get('metadata', {}).get('name')}"
    own = SPECS.get(f"{each.get('apiVersion')} {each.get('kind')}")
    if own is not None:
        for error in jsonschema_rs.Draft202012Validator(own).iter_errors(each.get("spec")):
            yield f"{name}: spec{''.join(f'.{part}' for part in error.instance_path)}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{name}: Kubernetes {version} has no {each.get('apiVersion')} {each.get('kind')}, and there is no schema of ours for it"
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message} (Kubernetes {version})"
