"""The rules of the house, checked: who may import whom, how long a thing may be, and where time and chance come from.

The rules read source text and import nothing, so each of them is itself tested on a small planted sample.
"""

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = "ticketmaster"
MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 70


@dataclass(frozen=True, slots=True)
class Row:
    """Who a module is and what it may import.

    A name is relative to the package, "" is the package itself; `x.*` means the package x and all below it, which may import itself.
    """

    name: str
    package: tuple[str, ...] = ()
    third_party: tuple[str, ...] = ()


PORTS: Final = ("broker.port", "state.port", "telemetry.observer", "telemetry.metrics", "telemetry.tracing")
ROLE: Final = ("streams.*", "domain.*", "wire.*", *PORTS, "broker.partitioner", "clock", "errors")
SQLITE: Final = ("sqlite3", "sqlite_utils")

# A module that no row names is an error: decide where it belongs first.
TABLE: Final = (
    Row(""),
    Row("__main__", ("cli.*",)),
    Row("errors"),
    Row("clock"),
    Row("imports"),
    Row("retry", ("errors",)),
    Row("urls"),
    Row("printable"),
    Row("proxies", ("errors",)),
    Row("domain.*", (), ("msgspec",)),
    Row("wire.*", ("domain.*", "errors", "imports", "proxies", "retry", "urls"), ("fastavro", "httpx", "msgspec")),
    Row("broker"),
    Row("broker.port", ("errors",)),
    Row("broker.partitioner"),
    Row("sqlitefile", ("errors",), SQLITE),
    Row("writable", ("errors",)),
    Row("datadir", ("errors", "writable"), ("msgspec",)),
    Row("statedir", ("errors", "writable")),
    Row("oldstate", ("errors", "statedir")),
    Row("broker.embedded.*", ("broker.port", "clock", "errors", "sqlitefile"), (*SQLITE, "msgspec")),
    Row("broker.kafka.*", ("broker.port", "clock", "errors", "imports", "proxies", "urls"), ("aiokafka", "httpx", "msgspec")),
    Row("state"),
    Row("state.port", ("errors",)),
    Row("state.memory", ("state.port", "errors")),
    Row("state.overlay", ("state.port", "errors")),
    Row("state.sqlite", ("state.port", "errors", "sqlitefile"), SQLITE),
    Row("telemetry"),
    Row("telemetry.observer", ("telemetry.metrics", "telemetry.tracing", "errors")),
    Row("telemetry.metrics", (), ("msgspec",)),
    Row("telemetry.counting", ("telemetry.observer", "telemetry.logs", "telemetry.metrics")),
    Row("telemetry.loop_lag", ("clock",)),
    Row("telemetry.prometheus", ("telemetry.metrics",), ("prometheus_client",)),
    Row("telemetry.tracing", ("broker.port",)),
    Row("telemetry.ending"),
    Row("telemetry.otel", ("telemetry.ending", "telemetry.tracing", "broker.port", "clock", "proxies"), ("opentelemetry",)),
    Row("telemetry.otlp", ("telemetry.ending", "telemetry.metrics", "clock"), ("opentelemetry",)),
    Row("telemetry.logs", ("telemetry.observer", "clock", "errors", "printable"), ("structlog",)),
    Row("streams.*", (*PORTS, "state.overlay", "clock", "errors")),
    Row("event.*", ROLE),
    Row("reservation.*", ROLE),
    Row("ticket.*", ("", *ROLE, "urls"), ("granian", "h2", "hpack", "msgspec", "structlog")),
    Row(
        "export.*",
        ("audit.reading", "audit.records", "domain.*", "wire.*", "broker.port", "errors", "sqlitefile"),
        # pyarrow is an extra, imported where somebody wants Parquet.
        (*SQLITE, "pyarrow"),
    ),
    Row("audit.*", ("domain.*", "wire.*", "broker.port", "broker.partitioner", "state.sqlite", "errors")),
    Row(
        "simulation.*",
        (
            *(
                "audit.*",
                "broker.embedded.*",
                "broker.kafka.*",
                "broker.partitioner",
                "clock",
                "domain.*",
                "errors",
                "event.*",
                "reservation.*",
            ),
            *("streams.*", "ticket.*", "wire.*", *PORTS),
        ),
        # Its Kafka speaks to the real client, by the client's own structures.
        ("aiokafka", "msgspec"),
    ),
    Row("config.*", ("errors", "proxies", "urls", "broker.kafka.settings", "streams.settings", "wire.registry_settings"), ("msgspec",)),
    Row("bootstrap.*", ("*",), ("msgspec", "structlog", "uvloop")),
    # The clock: progress is told now and then.
    Row("cli.*", ("", "config.*", "bootstrap.*", "clock", "errors", "printable", "urls"), ("click", "rich")),
)

# Part of Python, but allowed to the adapters only, like a third party.
RESTRICTED_STDLIB: Final = frozenset({"sqlite3"})

# Only clock.py may touch these; a whole module or one name of it.
IMPURE: Final = frozenset({"time", "random", "secrets", "uuid", "os.urandom", "os.getrandom"}) | {
    f"datetime.{name}" for name in ("datetime.now", "datetime.today", "datetime.utcnow", "date.today")
}
# A type, a pure parser of what a client sent; and chance that comes from a seed, for the simulation.
PURE: Final = frozenset({"uuid.UUID", "random.Random"})

# Spelt in two parts, lest this file break its own rule.
MARKERS: Final = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
MARKER: Final = re.compile(rf"\b(?:{'|'.join(MARKERS)})\b")


# --- The files -------------------------------------------------------------------------------------------------------


def module_of(path: Path) -> str:
    """The dotted name, relative to the package, of a source file: `errors`, `domain` for `domain/__init__.py`, "" for the root."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_files() -> list[Path]:
    """Every module of the package."""
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def script_files() -> list[Path]:
    """Every Python program under scripts/, with or without a suffix."""
    files = [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and path.suffix in {"", ".py"}]
    return sorted(path for path in files if path.suffix or re.match(rb"#!.*python", path.read_bytes()))


def text_files() -> list[Path]:
    """Every text that people write here: code, schemas, documents and build files."""
    tops = [path for path in ROOT.iterdir() if path.is_file() and not path.name.endswith(".lock")]
    folders = (PACKAGE, "tests", "scripts", "avro", "docs", ".ci")
    below = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in tops + below if path.suffix in {"", ".avsc", ".md", ".py", ".sh", ".toml"})


# --- The rules: source text in, breaches out ---------------------------------------------------------------------------


def matches(pattern: str, module: str) -> bool:
    """Whether a name of the table covers a module."""
    return pattern in {"*", module} or (pattern.endswith(".*") and f"{module}.".startswith(pattern[:-1]))


def imports(module: str, source: str, modules: frozenset[str], *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, wherever it stands; `from a import b` is a.b if that is a module, else a."""
    here = [PACKAGE, *module.split(".")] if module else [PACKAGE]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = [*(here[: len(here) - up] if node.level else []), *((node.module or "").split(".") if node.module else [])]
            for alias in node.names:
                longer = ".".join([*base, alias.name])
                yield node.lineno, longer if longer.removeprefix(f"{PACKAGE}.") in modules else ".".join(base)


def inside(name: str) -> str | None:
    """The name relative to the package, or None for a foreign one."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def import_breaches(module: str, source: str, modules: frozenset[str], *, is_package: bool = False) -> list[str]:
    """What a module imports against the table."""
    row = next((row for row in TABLE if matches(row.name, module)), None)
    if row is None:
        return [f"{module}: no row of the import table covers it"]
    allowed = (*row.package, row.name) if row.name.endswith(".*") else row.package
    breaches = []
    for line, name in imports(module, source, modules, is_package=is_package):
        target = inside(name)
        if target is None:
            top = name.partition(".")[0]
            fine = top in row.third_party or (top in sys.stdlib_module_names and top not in RESTRICTED_STDLIB)
        else:
            fine = any(matches(pattern, target) for pattern in allowed)
        if not fine:
            breaches.append(f"{module}:{line}: {row.name or PACKAGE} may not import {name}")
    return breaches


def import_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle, none if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def length_breaches(where: str, source: str) -> list[str]:
    """A module or a function that is too long; a function counts from `def` to its last line."""
    breaches = []
    lines = len(source.splitlines())
    if lines > MODULE_LINES_MAX:
        breaches.append(f"{where}: {lines} lines, the limit is {MODULE_LINES_MAX}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                breaches.append(f"{where}:{node.lineno}: {node.name} has {lines} lines, the limit is {FUNCTION_LINES_MAX}")
    return breaches


def clock_breaches(where: str, source: str) -> list[str]:
    """Each use of time or chance: called, handed on as a function, or imported by name."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    uses: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
            names |= {alias.name.partition(".")[0]: alias.name.partition(".")[0] for alias in node.names if not alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            uses += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    uses += [(node.lineno, dotted(node, names)) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [f"{where}:{line}: {use} belongs in clock.py" for line, use in sorted(set(uses)) if is_impure(use)]


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of `a.b.c`, with a resolved by the module's imports; "" if it starts with anything but an imported name."""
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def is_impure(name: str) -> bool:
    """Whether a full name reads the time or draws by chance."""
    parts = name.split(".")
    prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return bool(prefixes & IMPURE) and not prefixes & PURE


def raise_breaches(where: str, source: str) -> list[str]:
    """Each exception that is made once and raised often: it keeps every frame that it was ever raised in."""
    raised = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]
    names = [(node.lineno, getattr(node.exc, "attr", getattr(node.exc, "id", ""))) for node in raised]
    return [f"{where}:{line}: {name} must be made when it is raised" for line, name in names if name.isupper()]


def marker_breaches(where: str, text: str) -> list[str]:
    """Each line that puts work off."""
    return [f"{where}:{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if MARKER.search(line)]


# --- The tree keeps the rules ------------------------------------------------------------------------------------------


def relative(path: Path) -> str:
    """The path as people name it."""
    return path.relative_to(ROOT).as_posix()


def test_every_module_imports_only_what_the_table_allows() -> None:
    modules = frozenset(map(module_of, package_files()))
    assert "" in modules, "the package was not found, so nothing was checked"

    breaches = [
        breach
        for path in package_files()
        for breach in import_breaches(module_of(path), path.read_text(), modules, is_package=path.name == "__init__.py")
    ]
    assert not breaches, "\n".join(breaches)


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = frozenset(map(module_of, package_files()))
    graph = {
        module_of(path): {
            target
            for _, name in imports(module_of(path), path.read_text(), modules, is_package=path.name == "__init__.py")
            if (target := inside(name)) is not None
        }
        for path in package_files()
    }

    assert import_cycle(graph) == []


def test_no_module_and_no_function_is_too_long() -> None:
    files = package_files() + script_files()

    breaches = [breach for path in files for breach in length_breaches(relative(path), path.read_text())]
    assert not breaches, "\n".join(breaches)


def test_only_the_clock_reads_time_or_draws_by_chance() -> None:
    files = [path for path in package_files() if module_of(path) != "clock"]

    breaches = [breach for path in files for breach in clock_breaches(relative(path), path.read_text())]
    assert not breaches, "\n".join(breaches)


def test_every_exception_is_made_when_it_is_raised() -> None:
    breaches = [breach for path in package_files() for breach in raise_breaches(relative(path), path.read_text())]
    assert not breaches, "\n".join(breaches)


def test_nothing_is_put_off_by_a_marker() -> None:
    breaches = [breach for path in text_files() for breach in marker_breaches(relative(path), path.read_text())]
    assert not breaches, "\n".join(breaches)


# --- The rules can fail ------------------------------------------------------------------------------------------------

MODULES: Final = frozenset(
    {"", "errors", "clock", "domain", "domain.event", "broker.port", "streams.task", "ticket.server", "event.handler"}
)


@pytest.mark.parametrize(
    ("module", "source", "forbidden"),
    [
        ("domain.event", "from ticketmaster.clock import now", "ticketmaster.clock"),
        ("domain.event", "def f():\n    import ticketmaster.errors", "ticketmaster.errors"),
        ("domain.event", "from ticketmaster import errors", "ticketmaster.errors"),
        ("domain.event", "from .. import errors", "ticketmaster.errors"),
        ("domain.event", "from ..errors import Fatal", "ticketmaster.errors"),
        ("errors", "import click", "click"),
        ("streams.task", "from ticketmaster.domain.event import Event", "ticketmaster.domain.event"),
        ("streams.task", "import sqlite3", "sqlite3"),
        ("ticket.server", "import ticketmaster.event.handler", "ticketmaster.event.handler"),
        ("event.handler", "import granian.server.embed", "granian.server.embed"),
        ("bootstrap", "import fastavro", "fastavro"),
        ("cli.standalone", "import ticketmaster.domain", "ticketmaster.domain"),
        ("", "import ticketmaster.cli", "ticketmaster.cli"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str, forbidden: str) -> None:
    (breach,) = import_breaches(module, source, MODULES)

    assert breach.endswith(f"may not import {forbidden}")


def test_a_package_resolves_its_relative_imports_from_itself() -> None:
    assert import_breaches("domain", "from .event import Event", MODULES, is_package=True) == []
    assert import_breaches("domain", "from ..clock import now", MODULES, is_package=True) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain.event", "import msgspec, collections.abc\nfrom ticketmaster.domain import event"),
        ("streams.task", "from ticketmaster.broker import port\nfrom ticketmaster.clock import now"),
        ("ticket.server", "from granian.server.embed import Server\nfrom ticketmaster.domain.event import Event"),
        ("cli.standalone", "import click\nfrom ticketmaster import __version__"),
        ("bootstrap", "import uvloop, ticketmaster.ticket.server, ticketmaster.domain"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert import_breaches(module, source, MODULES) == []


@pytest.mark.parametrize("module", ["helpers", "broker.extra", "domains", "state.sqlite.pages"])
def test_a_module_that_no_row_covers_is_found(module: str) -> None:
    assert import_breaches(module, "", MODULES) == [f"{module}: no row of the import table covers it"]


def test_each_module_has_one_row_only() -> None:
    names = [row.name.removesuffix(".*") for row in TABLE]

    assert [name for name in names if sum(matches(row.name, name) for row in TABLE) != 1] == []


def test_an_import_cycle_is_found() -> None:
    assert set(import_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert import_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_module_may_have_400_lines_and_not_one_more() -> None:
    assert length_breaches("m", "x = 1\n" * 400) == []
    assert length_breaches("m", "x = 1\n" * 401) == ["m: 401 lines, the limit is 400"]


@pytest.mark.parametrize("source", ["raise PROBLEM", "def f():\n    raise problems.NO_SUCH_PATH from cause"])
def test_an_exception_that_is_raised_again_and_again_is_found(source: str) -> None:
    (breach,) = raise_breaches("m", source)

    assert breach.endswith("must be made when it is raised")
    assert raise_breaches("m", "raise\nraise found\nraise self.damage\nraise problems.wrong_method(ALLOWED)") == []


@pytest.mark.parametrize("header", ["def f():", "async def f():", "@d\ndef f():"])
def test_a_function_may_have_70_lines_and_not_one_more(header: str) -> None:
    assert length_breaches("m", header + "\n    x = 1" * 69) == []
    (breach,) = length_breaches("m", header + "\n    x = 1" * 70)
    assert breach.endswith("f has 71 lines, the limit is 70")


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import time\ntime.perf_counter()", "time.perf_counter"),
        ("import time as t\nt.monotonic()", "time.monotonic"),
        ("from time import time_ns as now", "time.time_ns"),
        ("import random\nx = field(default_factory=random.random)", "random.random"),
        ("from uuid import uuid4", "uuid.uuid4"),
        ("import uuid\nuuid.uuid7()", "uuid.uuid7"),
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", "datetime.datetime.now"),
        ("from datetime import datetime, UTC\ndatetime.now(UTC)", "datetime.datetime.now"),
        ("from datetime import date\ndate.today()", "datetime.date.today"),
        ("import secrets\nsecrets.token_hex()", "secrets.token_hex"),
        ("import os\nos.urandom(8)", "os.urandom"),
    ],
)
def test_time_and_chance_outside_the_clock_are_found(source: str, use: str) -> None:
    (breach,) = clock_breaches("m", source)

    assert breach.endswith(f"{use} belongs in clock.py")


@pytest.mark.parametrize(
    "source",
    [
        "import uuid\nuuid.UUID(text)",
        "from uuid import UUID",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "from ticketmaster.clock import Clock\ndef f(clock): return clock.time.now()",
        "import os\nos.fsync(1)",
    ],
)
def test_a_pure_use_of_the_same_modules_passes(source: str) -> None:
    assert clock_breaches("m", source) == []


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_found(marker: str) -> None:
    assert marker_breaches("m", f"x = 1\n# {marker}: later") == [f"m:2: # {marker}: later"]
    assert marker_breaches("m", f"{marker}S are words that only contain one") == []


def test_types_are_checked_for_the_oldest_python_whatever_runs_the_check() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">={project['tool']['mypy']['python_version']}"
