"""Terraform without its providers: that every file is HCL, and that what names something else names something that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import hcl2

_OPTIONS: Final = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
_NAME: Final = r"[A-Za-z_][\w-]*"
_REFERENCE: Final = re.compile(rf"(?<![\w.\"-])(var|local|module|data|{_NAME})\.({_NAME})(?:\[(?:\*|\d+)\])?(?:\.({_NAME}))?")
# Arguments of a module block that aren't variables of the module.
_META: Final = frozenset({"source", "version", "providers", "count", "for_each", "depends_on"})


@dataclass(slots=True)
class Module:
    """A folder: what it declares, what it refers to, and the modules that it calls with which arguments."""

    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    locals: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)
    providers: set[str] = field(default_factory=set)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)
    twice: list[str] = field(default_factory=list)


def problems(root: Path) -> list[str]:
    """The faults of a root module and of those that it calls: one line each."""
    try:
        modules = _with_called(root)
    except ValueError as error:
        return [str(error)]
    return [
        f"{folder.relative_to(root.parent).as_posix()}: {problem}"
        for folder, module in modules.items()
        for problem in (*module.twice, *_dangling(module, folder, modules), *_unused(module), *_wrong_calls(module, folder, modules))
    ]


def _with_called(root: Path) -> dict[Path, Module]:
    found: dict[Path, Module] = {}
    ahead = [root]
    while ahead:
        folder = ahead.pop()
        if folder not in found:
            found[folder] = read(folder)
            ahead += [(folder / call["source"]).resolve() for call in found[folder].calls.values()]
    return found


def read(folder: Path) -> Module:
    """A module. ValueError: there is none, or a file of it is not HCL."""
    module = Module()
    files = sorted(folder.glob("*.tf"))
    if not files:
        raise ValueError(f"{folder} has no .tf file")
    for file in files:
        try:
            parsed = hcl2.loads(file.read_text(), serialization_options=_OPTIONS)
        except Exception as error:  # the parser has a dozen kinds of errors
            raise ValueError(f"{file}: {str(error).splitlines()[0]}") from error
        _declare(module, parsed)
        module.references |= set(_references(parsed))
    return module


def _declare(module: Module, parsed: dict[str, Any]) -> None:
    for block in parsed.get("variable", []):
        for name, body in block.items():
            _once(module, f"var.{name}", name in module.variables)
            module.variables[name] = body
    for block in parsed.get("locals", []):
        module.locals |= set(block)
    for block in parsed.get("output", []):
        module.outputs |= set(block)
    for block in parsed.get("module", []):
        for name, body in block.items():
            _once(module, f"module.{name}", name in module.calls)
            module.calls[name] = body
    for prefix, kind in (("", "resource"), ("data.", "data")):
        for block in parsed.get(kind, []):
            for address in (f"{prefix}{type_}.{name}" for type_, body in block.items() for name in body):
                _once(module, address, address in module.resources)
                module.resources.add(address)
    for block in parsed.get("terraform", []):
        for required in block.get("required_providers", []):
            module.providers |= set(required)


def _once(module: Module, address: str, known: bool) -> None:  # noqa: FBT001 - the answer to a question
    if known:
        module.twice.append(f"{address} is declared twice")


def _references(value: object) -> Iterator[str]:
    """Every address that is named in expressions, attributes cut off."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, str) and "${" in value:
        for kind, first, second in _REFERENCE.findall(value):
            yield f"{kind}.{first}.{second}" if kind in {"data", "module"} else f"{kind}.{first}"


def _dangling(module: Module, folder: Path, modules: dict[Path, Module]) -> Iterator[str]:
    """References to what is not declared. A word that is no provider's prefix is a name of the expression's own: each, path, right."""
    for reference in sorted(module.references):
        kind, name, *rest = reference.split(".")
        match kind:
            case "var":
                fine = name in module.variables
            case "local":
                fine = name in module.locals
            case "module":
                fine = name in module.calls and rest[0] in modules[_source(module, name, folder)].outputs
            case "data":
                fine = reference in module.resources
            case _:
                fine = kind.partition("_")[0] not in module.providers or reference in module.resources
        if not fine:
            yield f"{reference} is not declared"
    for address in sorted(module.resources):
        if (provider := address.removeprefix("data.").partition("_")[0]) not in module.providers:
            yield f"{address}: required_providers has no {provider}"


def _unused(module: Module) -> Iterator[str]:
    declared = {f"var.{name}" for name in module.variables} | {f"local.{name}" for name in module.locals}
    declared |= {address for address in module.resources if address.startswith("data.")}
    yield from (f"{name} is not used" for name in sorted(declared - module.references))


def _wrong_calls(module: Module, folder: Path, modules: dict[Path, Module]) -> Iterator[str]:
    for name, body in module.calls.items():
        variables = modules[_source(module, name, folder)].variables
        given = set(body) - _META
        yield from (f"module.{name} has no variable {argument}" for argument in sorted(given - set(variables)))
        required = {variable for variable, declared in variables.items() if "default" not in declared}
        yield from (f"module.{name} needs {argument}" for argument in sorted(required - given))


def _source(module: Module, name: str, folder: Path) -> Path:
    source: str = module.calls[name]["source"]
    return (folder / source).resolve()
