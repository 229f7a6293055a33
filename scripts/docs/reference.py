#!/usr/bin/env python3
"""Writes the parts of README.md and docs/*.md that are lists of what the code has, and figures of runs.

A part stands between ``<!-- NAME: written by make docs -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.settings import KafkaSettings, compressions
from ticketmaster.cli import PREFIX, main
from ticketmaster.cli.environment import variables
from ticketmaster.config.keys import (
    ACKS,
    ACKS_KIND,
    COMPRESSION,
    FIXED,
    KAFKA_KEYS,
    KAFKA_SECURITY,
    NOT_SUPPORTED,
    PRODUCER,
    REGISTRY,
    STREAM_KEYS,
    WITHOUT_MEANING,
    Key,
    Where,
)
from ticketmaster.config.telemetry import VARIABLES
from ticketmaster.config.values import Entry, integer, one_of
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.telemetry.metrics import INSTRUMENTS
from ticketmaster.wire import topics
from ticketmaster.wire.registry import forms_of

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from scripts.docs import figures  # noqa: E402 - from wherever this is started
from scripts.docs.exchanges import EXCHANGES, HTTP2, Exchange  # noqa: E402

_PART: Final = re.compile(r"(<!-- ([a-z ]+): written by make docs -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT: Final = re.compile(r"\s*\[default: (.*)\]$")
_OPENAPI: Final = json.loads((ROOT / "ticketmaster" / "ticket" / "openapi.json").read_text(encoding="utf-8"))

Row = Sequence[str]


def table(heads: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|\n" for line in lines)


def code(text: str) -> str:
    """Text as code, nothing as nothing."""
    return f"`{text}`" if text else ""


def unit(name: str) -> str:
    """The unit that the name of a field or an option has."""
    return next((known for known in ("ms", "bytes") if known in name.split("_")), "")


# --- Options ---------------------------------------------------------------------------------------------------------


def _commands(command: click.Command, path: str, prefix: str) -> Iterator[tuple[str, click.Command, str]]:
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], f"{path} {name}", f"{prefix}_{name.upper()}")
    else:
        yield path, command, prefix


def _values(option: click.Option) -> str:
    kind = option.type
    if option.is_flag:
        return "a flag"
    if isinstance(kind, click.IntRange):
        least = int(kind.min or 0)
        return (integer(least) if kind.max is None else integer(least, int(kind.max))).expected
    if isinstance(kind, click.Choice):
        return one_of(dict.fromkeys(kind.choices)).expected
    return "a path" if isinstance(kind, click.Path) else "text"


def option_row(variable: str, option: click.Option) -> Row:
    """An option as a row of its command's table."""
    text = option.help or ""
    told, given = _DEFAULT.search(text), option.to_info_dict()["default"]
    default = told[1] if told else "" if given is None or option.is_flag else code(str(given))
    names = ", ".join(map(code, option.opts))
    return names, code(variable), _values(option), default, unit(option.name or ""), _DEFAULT.sub("", text)


def options() -> str:
    """Every option of every command."""
    heads = ("option", "in the environment", "value", "default", "unit", "what")
    parts = []
    for path, command, prefix in _commands(main, "ticketmaster", PREFIX):
        rows = [option_row(*found) for found in variables(command, prefix)]
        if rows:
            parts.append(f"### `{path}`\n\n{table(heads, rows)}")
    return "\n".join(parts)


# --- Properties ------------------------------------------------------------------------------------------------------


def _where(where: Where) -> Row:
    return where.reader, ", ".join(map(code, where.prefixes))


def _key_row(key: Key, defaults: Any) -> Row:  # noqa: ANN401 - a dataclass of settings
    default = getattr(defaults, key.field)
    return code(key.name), key.kind.expected, code(str(default)), unit(key.field), *_where(key.where), key.meaning


def keys() -> str:
    """The keys of brokers, clients and engine."""
    defaults, producer = KafkaSettings(), _where(PRODUCER)
    codecs = one_of(dict.fromkeys(compressions())).expected
    rows = [
        *(_key_row(key, defaults) for key in KAFKA_KEYS),
        (code(COMPRESSION), codecs, code(defaults.compression or "none"), "", *producer, "of all that is written"),
        (code(ACKS), ACKS_KIND.expected, code(defaults.acks), "", *producer, "of commands; 1 may lose what was acknowledged"),
        *(_key_row(key, StreamSettings()) for key in STREAM_KEYS),
    ]
    return table(("key", "value", "default", "unit", "read by", "prefixes", "what"), rows)


def _entries(entries: Sequence[Entry], head: str = "key") -> str:
    rows = [(code(entry.name), entry.kind.expected, entry.default, entry.meaning) for entry in entries]
    return table((head, "value", "default", "what"), rows)


def fixed() -> str:
    """The keys that may hold one thing only."""
    rows = [(code(name), ", ".join(map(code, allowed)), *_where(where), why) for name, (allowed, why, where) in FIXED.items()]
    return table(("key", "value", "read by", "prefixes", "because"), rows)


def ignored() -> str:
    """The keys that change nothing."""
    return table(("key", "what holds instead"), [(code(name), reason) for name, reason in WITHOUT_MEANING.items()])


def refused() -> str:
    """The keys of security that end the program."""
    return table(("key", "because"), [(code(name), reason) for name, reason in NOT_SUPPORTED.items()])


# --- HTTP ------------------------------------------------------------------------------------------------------------


def operations() -> str:
    """Method, path, scopes and statuses of every operation."""
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], _who(operation), ", ".join(sorted(operation["responses"])))
        for path, methods in _OPENAPI["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    ]
    return table(("request", "what", "with `--tokens`", "statuses"), rows)


def _who(operation: dict[str, Any]) -> str:
    scopes = [scope for one in operation["security"] for scope in one.get("token", ())]
    return ", ".join([*map(code, scopes), *(["or the id alone"] if operation.get("x-by-id") else [])]) or "everybody"


def statuses_of(problem: dict[str, Any]) -> list[int]:
    """With which a code comes: mostly one."""
    found: int | list[int] = problem["status"]
    return found if isinstance(found, list) else [found]


def problems() -> str:
    """Every code of a problem document."""
    found = _OPENAPI["components"]["schemas"]["ProblemCode"]["x-enum"]
    rows = [(str(status), code(name), one["meaning"], one["advice"]) for name, one in found.items() for status in statuses_of(one)]
    return table(("status", "code", "what it means", "what to do"), rows)


def _sent(exchange: Exchange) -> str:
    lines = [code(exchange.request)]
    if exchange.authority != "localhost":
        lines.append("no `:authority`" if exchange.authority is None else code(f":authority: {exchange.authority}".strip()))
    if exchange.over == HTTP2 or exchange.hosts not in ((), ("localhost",)):
        lines += [code(f"Host: {host}".strip()) for host in exchange.hosts]
    elif not exchange.hosts:
        lines.append("no `Host`")
    lines += [code(_shown(line)) for line in exchange.sent]
    if exchange.body:
        lines.append(code(_shown(exchange.body)) if isinstance(exchange.body, str) else "the same in UTF-16")
    return "<br>".join(lines)


def _shown(text: str) -> str:
    for character, name in (("\r\n", "\\r\\n"), ("\0", "\\0"), ("\ufeff", "U+FEFF")):
        text = text.replace(character, name)
    return text


def _exchange_row(exchange: Exchange) -> Row:
    status, _, name = exchange.answer.partition(" ")
    answer = " ".join(filter(None, ("the stream is reset" if status == "reset" else status, code(name))))
    told = [code(line) for line in exchange.told if not line.endswith(" *")]
    told += [f"a header {code(line.removesuffix(': *'))}" for line in exchange.told if line.endswith(" *")]
    where = ", ".join(exchange.over) + (", `--metrics-port`" if exchange.operators else "")
    return exchange.what, _sent(exchange), where, "<br>".join([answer, *told]), exchange.by


def conformance() -> str:
    """What the tests send, and what they want to be answered."""
    heads = ("what", "request", "HTTP", "answer", "standard")
    return "\n".join(f"### {title}\n\n{table(heads, list(map(_exchange_row, found)))}" for title, found in EXCHANGES.items())


# --- Telemetry -------------------------------------------------------------------------------------------------------


def metrics() -> str:
    """Every number that is counted."""
    rows = [
        (code(one.name), one.kind.value, ", ".join(map(code, one.labels)), one.unit, one.meaning.removesuffix(".")) for one in INSTRUMENTS
    ]
    return table(("metric", "type", "labels", "unit", "what"), rows)


# --- Topics ----------------------------------------------------------------------------------------------------------

# Of each topic: its key, who writes it and who reads it.
_USES: Final = {
    topics.CREATE_EVENT: ("event name", "ticket", "event"),
    topics.CREATE_RESERVATION: ("reservation id", "ticket", "reservation"),
    topics.RESERVE_SEAT: ("`event#area`", "reservation", "event"),
    topics.RESERVATION_RESULT: ("reservation id", "event", "reservation"),
    topics.AREA_STATUS: ("`event#area`", "event", "ticket, reservation: each process all of it"),
    topics.USER_RESERVATION: ("reservation id", "reservation", "ticket"),
    topics.AREA_REPARTITION: ("`event#area`", "event", "event"),
    topics.AREA_CHANGELOG: ("`event#area`", "event", "event, when a task starts"),
    topics.HOLDER_CHANGELOG: ("reservation id", "event", "event, when a task starts"),
    topics.RESERVATION_CHANGELOG: ("reservation id", "reservation", "reservation, when a task starts"),
    topics.CHANGE_RESERVATION: ("reservation id", "ticket; reservation, to learn the log's time", "reservation"),
    topics.RELEASE_SEATS: ("`event#area`", "reservation", "event"),
    topics.EVENT: ("event name", "event", "ticket, reservation: each process all of it; event, when a task starts"),
    topics.RULED_AREA_REPARTITION: ("`event#area`; event name, on every partition", "event", "event"),
    topics.AREA_RULES_CHANGELOG: ("event name, on every partition", "event", "event, when a task starts"),
    topics.DEADLINE_CHANGELOG: ("reservation id", "reservation", "reservation, when a task starts"),
    topics.CHANGE_EVENT: ("event name", "ticket", "event"),
    topics.CANCEL_EVENT: ("event name, on every partition", "event", "reservation"),
    topics.USER_SEATS_CHANGELOG: ("event name and user", "reservation", "reservation, when a task starts"),
}


def topic_list() -> str:
    """Every topic but those of dead letters."""
    policies = {topic.name: topic.policy for topic in WANTED}
    rows = []
    for topic in topics.ALL_TOPICS:
        key, writer, reader = _USES[topic]
        forms = (
            [f"[{form}](../avro/{form}.avsc)" for form in forms_of(topic.record)] if topic.record else ["[bytes of ours](#bytes-of-ours)"]
        )
        value = ", ".join(forms)
        rows.append((code(topic.name), key, value, writer, reader, policies[topic.name]))
    return table(("topic", "key", "value", "written by", "read by", "cleanup"), rows)


def dead_letters() -> str:
    """The topics of what can't be read."""
    known = {topic.name for topic in topics.ALL_TOPICS}
    return "".join(f"- {code(topic.name)}\n" for topic in WANTED if topic.name not in known)


PARTS: Final[dict[str, Callable[[], str]]] = {
    "options": options,
    "keys": keys,
    "security keys": lambda: _entries(KAFKA_SECURITY),
    "registry keys": lambda: _entries(REGISTRY),
    "fixed keys": fixed,
    "refused keys": refused,
    "ignored keys": ignored,
    "operations": operations,
    "problems": problems,
    "conformance": conformance,
    "metrics": metrics,
    "telemetry variables": lambda: _entries(VARIABLES, head="variable"),
    "topics": topic_list,
    "dead letters": dead_letters,
    **figures.PARTS,
}


def written(text: str) -> str:
    """A document with its parts as the code has them now."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


def documents() -> list[Path]:
    """The documents that have such parts."""
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if _PART.search(path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for document in documents():
        document.write_text(written(document.read_text(encoding="utf-8")), encoding="utf-8")
