#!/usr/bin/env python3
"""Writes ``ticketmaster/ticket/docs.html``, the page at GET /docs, from ``openapi.json`` beside it. Needs nothing but Python."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "ticketmaster" / "ticket"
SOURCE = FOLDER / "openapi.json"
TARGET = FOLDER / "docs.html"

# What the page's script replaces by the server's own address; the default port of `ticketmaster standalone`.
ADDRESS = "http://localhost:4403"
# They are the same for every path: told once.
COMMON_STATUSES = ("405", "500")

Node = dict[str, Any]


def text(source: str) -> str:
    """Paragraphs of escaped text; `code` between backticks."""
    return "".join(f"<p>{inline(part)}</p>" for part in source.split("\n\n"))


def inline(source: str) -> str:
    """Escaped text; `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(source, quote=False))


def as_json(node: object, indent: str = "", room: int = 80) -> str:
    """JSON as people write it: what is short on one line, the rest a line for each item."""
    flat = json.dumps(node, ensure_ascii=False)
    if not isinstance(node, dict | list) or len(indent) + len(flat) <= room:
        return flat
    inner = indent + "  "
    if isinstance(node, dict):
        items = [f"{inner}{json.dumps(name)}: {as_json(one, inner)}" for name, one in node.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + as_json(one, inner) for one in node) + f"\n{indent}]"


def pretty(value: object) -> str:
    """A block of JSON."""
    return f"<pre><code>{html.escape(as_json(value), quote=False)}</code></pre>"


class Page:
    """The page of one OpenAPI document."""

    def __init__(self, document: Node) -> None:
        self.document = document
        # Which parameter is what an operation returned: its curl keeps it in a shell variable.
        self.kept: dict[str, str] = {}
        # The operations that return something to keep.
        self.keeping: set[str] = set()
        for _, _, operation in self.operations():
            for link in operation["responses"]["200"].get("links", {}).values():
                for parameter, expression in link["parameters"].items():
                    if expression == "$response.body":
                        self.kept[operation["operationId"]] = self.kept[link["operationId"]] = parameter
                        self.keeping.add(operation["operationId"])

    def resolve(self, node: Node) -> Node:
        """What a $ref points at; what stands beside the $ref wins."""
        while "$ref" in node:
            found: Any = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            node = {**found, **{name: value for name, value in node.items() if name != "$ref"}}
        return node

    def operations(self) -> Iterator[tuple[str, str, Node]]:
        """Path, method and operation, in the document's order."""
        for path, item in self.document["paths"].items():
            for method in ("post", "get", "patch", "delete"):
                if method in item:
                    parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                    yield path, method, {**item[method], "parameters": [self.resolve(one) for one in parameters]}

    # Parts of the page.

    def render(self) -> str:
        """The whole page."""
        info = self.document["info"]
        style, script = (HERE / "page.css").read_text(), (HERE / "page.js").read_text()
        return (
            "<!doctype html>\n<!-- Made by scripts/docs/render.py from openapi.json. -->\n"
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="description" content="{html.escape(info["summary"])}"><link rel="icon" href="data:,">'
            f"<title>{info['title']} {info['version']}</title>\n<style>\n{style}</style></head>\n"
            f'<body><div class="page">{self.navigation()}<main>\n'
            f"<header><h1>{info['title']}<small>{info['version']}</small></h1>"
            f'<p class="lead">{inline(info["summary"])}</p>{text(info["description"])}'
            '<p>For programs: <a href="/openapi.json">openapi.json</a>. The commands below can be run in this order; '
            "those that change and cancel the event last.</p></header>\n"
            f"{''.join(map(self.section, self.document['tags']))}{self.everywhere()}{self.schemas()}{self.problems()}"
            f"</main></div>\n<script>\n{script}</script></body></html>\n"
        )

    def navigation(self) -> str:
        """The list of contents."""
        parts = []
        for tag in self.document["tags"]:
            items = "".join(
                f'<li><a href="#{one["operationId"]}">{badge(method)}{inline(one["summary"])}</a></li>'
                for _, method, one in self.operations()
                if tag["name"] in one["tags"]
            )
            parts.append(f"<h4>{tag['name']}</h4><ul>{items}</ul>")
        more = (("every-path", "Every path"), ("schemas", "Fields"), ("problems", "Problem codes"))
        items = "".join(f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title in more)
        return f'<nav aria-label="Contents">{"".join(parts)}<h4>Reference</h4><ul>{items}</ul></nav>'

    def section(self, tag: Node) -> str:
        """The operations of a tag."""
        cards = [self.operation(path, method, one) for path, method, one in self.operations() if tag["name"] in one["tags"]]
        return f'<section><h2 id="{tag["name"].lower()}">{tag["name"]}</h2>{text(tag["description"])}\n{"".join(cards)}</section>\n'

    def operation(self, path: str, method: str, operation: Node) -> str:
        """A card: what it does, what goes in, a curl, what comes out."""
        statuses = {status: self.resolve(one) for status, one in operation["responses"].items() if status not in COMMON_STATUSES}
        body = self.body_of(operation)
        command = html.escape(self.curl(path, method, operation), quote=False)
        parts = [
            f'<article class="card" id="{operation["operationId"]}"><h3>{inline(operation["summary"])}</h3>',
            f'<div class="route">{badge(method)}<code>{path}</code></div>',
            text(operation["description"]),
            who(operation),
            f'<div class="copied"><pre class="curl"><code>{command}</code></pre></div>',
        ]
        if operation["parameters"]:
            rows = [self.field(one["name"], one, required=one.get("required", False), where=one["in"]) for one in operation["parameters"]]
            parts.append(f"<h4>Parameters</h4>{table(rows)}")
        if body:
            parts.append(f"<h4>Body</h4>{self.fields(body['schema'])}")
            more = list(body["examples"].values())[1:]
            parts += [f"<details><summary>Example: {inline(one['summary'])}</summary>{pretty(one['value'])}</details>" for one in more]
        parts.append(f"<h4>Answers</h4>{table([self.answer(status, one) for status, one in statuses.items()])}</article>\n")
        return "".join(parts)

    @staticmethod
    def body_of(operation: Node) -> Node:
        """Schema and examples of the JSON that goes in; empty for none."""
        body: Node = operation.get("requestBody", {"content": {"application/json": {}}})["content"]["application/json"]
        return body

    def curl(self, path: str, method: str, operation: Node) -> str:
        """A command that works, if those before it were run."""
        kept = self.kept.get(operation["operationId"])
        query = {}
        for parameter in operation["parameters"]:
            name, example = parameter["name"], parameter.get("example")
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", f"${name}" if name == kept else example)
            elif parameter["in"] == "query" and example is not None:
                query[name] = example
        # The health check's answer is its status: the body is empty.
        flags = "-i " if "maxLength" in str(operation["responses"]["200"]) else ""
        url = f"{ADDRESS}{path}" + (f"?{urlencode(query)}" if query else "")
        body = self.body_of(operation)
        command = f"curl {flags}{url}" if method == "get" else f"curl -s -X {method.upper()} {url}"
        if body:
            example = as_json(next(iter(body["examples"].values()))["value"])
            command = f"curl -s -X {method.upper()} {url} \\\n  -H 'content-type: application/json' \\\n  -d '{example}'"
            if operation["operationId"] in self.keeping:
                command = f"{kept}=$({command})\necho ${kept}"
        return command

    def answer(self, status: str, response: Node) -> str:
        """A row: what a status means, its codes and headers, and examples."""
        parts = [text(response["description"])]
        headers = {name: self.resolve(one) for name, one in response.get("headers", {}).items() if name != "Cache-Control"}
        parts += [f"<p class=note><code>{name}</code> {inline(one['description'])}</p>" for name, one in headers.items()]
        for kind, content in response.get("content", {}).items():
            if kind == "application/problem+json":
                codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
                parts.append("<p>" + " ".join(f'<a href="#{code}"><code>{code}</code></a>' for code in codes) + "</p>")
                continue
            parts.append(f"<p class=note>{kind}: {self.kind(content['schema'])}</p>")
            for example in content.get("examples", {}).values():
                value = example["value"]
                shown = pretty(value) if kind == "application/json" else f"<pre><code>{html.escape(value)}</code></pre>"
                parts.append(
                    f"<details><summary>Example{f': {inline(one)}' if (one := example.get('summary')) else ''}</summary>{shown}</details>"
                )
        return f'<tr><th><span class="status s{status[0]}">{status}</span></th><td>{"".join(parts)}</td></tr>'

    def everywhere(self) -> str:
        """What every path may answer."""
        some = next(self.operations())[2]["responses"]
        rows = [self.answer(status, self.resolve(some[status])) for status in COMMON_STATUSES]
        return f'<section><h2 id="every-path">Every path</h2><p>may answer this, too:</p><div class="card">{table(rows)}</div></section>\n'

    # Schemas.

    def fields(self, schema: Node) -> str:
        """The fields of an object."""
        resolved = self.resolve(schema)
        required = resolved.get("required", ())
        return table([self.field(name, one, required=name in required) for name, one in resolved.get("properties", {}).items()])

    def field(self, name: str, node: Node, *, required: bool, where: str = "") -> str:
        """A row: name, type and rules, description."""
        schema = self.resolve(node.get("schema", node))
        need = ' <span class="need">required</span>' if required else ""
        kind = f"{self.kind(node.get('schema', node))}{f' · {where}' if where else ''}{rules(schema)}"
        said = inline({**schema, **node}.get("description", ""))
        return f'<tr><th><code>{name}</code>{need}</th><td><p>{said}</p><p class="type">{kind}</p></td></tr>'

    def kind(self, node: Node) -> str:
        """A schema's type, in a few words, with a link if it is an object."""
        schema = self.resolve(node)
        target = node.get("$ref", "").rpartition("/")[2]
        if target and has_card(schema):
            return f'<a href="#{target}">{target}</a>'
        if "oneOf" in schema:
            return " or ".join(self.kind(one) for one in schema["oneOf"])
        given = schema.get("type", "")
        names = [given] if isinstance(given, str) else list(given)
        if "array" in names:
            names[names.index("array")] = f"array of {self.kind(schema['items'])}"
        return " or ".join(names)

    def schemas(self) -> str:
        """All objects."""
        cards = [
            f'<article class="card" id="{name}"><h3>{name}</h3>{text(schema["description"])}{self.fields(schema)}'
            f"{''.join(map(pretty, schema.get('examples', ())))}</article>\n"
            for name, schema in self.document["components"]["schemas"].items()
            if has_card(schema)
        ]
        return f'<section><h2 id="schemas">Fields</h2><p>The objects that go in and come out.</p>{"".join(cards)}</section>\n'

    def problems(self) -> str:
        """All codes; a problem document's ``type`` points at one of them."""
        codes = self.document["components"]["schemas"]["ProblemCode"]["x-enum"]
        rows = [
            f'<tr id="{code}"><th><a href="#{code}"><code>{code}</code></a></th>'
            f"<td>{statuses_of(one)}</td>"
            f"<td>{inline(one['meaning'])} <span class=note>{inline(one['advice'])}</span></td></tr>"
            for code, one in codes.items()
        ]
        problem = self.document["components"]["schemas"]["Problem"]
        example = self.document["components"]["responses"]["NotDecided"]["content"]["application/problem+json"]["examples"]
        return (
            f'<section><h2 id="problems">Problem codes</h2>{text(problem["description"])}'
            f'{pretty(next(iter(example.values()))["value"])}<div class="card codes">{table(rows)}</div></section>\n'
        )


def who(operation: Node) -> str:
    """The scopes that may ask, where tokens are asked for."""
    scopes = " or ".join(f"<code>{scope}</code>" for one in operation["security"] for scope in one.get("token", ()))
    by_id = ", or nothing but the id" if operation.get("x-by-id") else ""
    return f"<p class=note>With <code>--tokens</code>: {scopes}{by_id}.</p>" if scopes else ""


def statuses_of(code: Node) -> str:
    """With which statuses a problem's code comes: mostly one."""
    found = code["status"] if isinstance(code["status"], list) else [code["status"]]
    return " ".join(f'<span class="status s{str(status)[0]}">{status}</span>' for status in found)


def has_card(schema: Node) -> bool:
    """Whether a schema has a place of its own on the page."""
    return schema.get("type") == "object" or "oneOf" in schema


def badge(method: str) -> str:
    """A method, coloured."""
    return f'<span class="method {method}">{method.upper()}</span>'


def rules(schema: Node) -> str:
    """What a value must keep to."""
    found = []
    if "enum" in schema:
        found.append(" ".join(f"<code>{one}</code>" for one in schema["enum"]))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        found.append(
            "32 bits" if (low, high) == (-(2**31), 2**31 - 1) else f"{low:,} to {high:,}" if low > -(2**31) else f"at most {high:,}"
        )
    elif low is not None:
        found.append(f"at least {low:,}")
    if "maxItems" in schema:
        found.append(f"at most {schema['maxItems']:,}")
    if schema.get("default") not in (None, "", []):
        found.append(f"default <code>{html.escape(json.dumps(schema['default']))}</code>")
    if schema.get("deprecated"):
        found.append("deprecated")
    return "".join(f" · {one}" for one in found)


def table(rows: list[str]) -> str:
    """Rows that scroll sideways rather than break the page."""
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def main() -> int:
    """Writes the page; with ``--check`` only says whether it is current."""
    page = Page(json.loads(SOURCE.read_text(encoding="utf-8"))).render()
    if "--check" in sys.argv[1:]:
        current = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == page
        print("docs.html is current" if current else "docs.html is not what openapi.json says: run scripts/docs/render.py")
        return not current
    TARGET.write_text(page, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
