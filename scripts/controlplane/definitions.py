"""The definitions of foreign kinds: their makers' own where a package has them, else made from our schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

from scripts.controlplane import kit
from scripts.deploy.custom_resources import SPECS

Schema = dict[str, Any]

# What JSON Schema has and a definition can't: it is strict by leaving out what it doesn't know.
_UNKNOWN: Final = frozenset({"additionalProperties", "propertyNames"})


def definitions() -> Iterator[dict[str, Any]]:
    """A CustomResourceDefinition of each kind in `SPECS`."""
    theirs = [yaml.load(file.read_text(), yaml.CSafeLoader) for file in sorted(kit.definitions_folder().glob("*.yaml"))]
    yield from theirs
    known = {(each["spec"]["group"], each["spec"]["names"]["kind"]) for each in theirs}
    for name, schema in SPECS.items():
        api_version, kind = name.split()
        group, _, version = api_version.partition("/")
        if (group, kind) not in known:
            yield definition(group, version, kind, schema)


def definition(group: str, version: str, kind: str, spec: Schema) -> dict[str, Any]:
    """That of a kind whose specification has this schema."""
    singular = kind.lower()
    plural = f"{singular[:-1]}ies" if singular.endswith("y") else f"{singular.removesuffix('s')}s"
    schema = {
        "type": "object",
        "properties": {"spec": structural(spec), "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": singular},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
            ],
        },
    }


def structural(schema: Schema) -> Schema:
    """A JSON Schema as definitions take it: a type everywhere, and no `const`."""
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return {"type": "integer" if isinstance(values[0], int) else "string", "enum": values}
    kept: Schema = {key: value for key, value in schema.items() if key not in _UNKNOWN}
    if "properties" in kept:
        kept["properties"] = {name: structural(each) for name, each in kept["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = structural(schema["additionalProperties"])
    elif kept["type"] == "object":
        kept["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in kept:
        kept["items"] = structural(kept["items"])
    return kept
