"""The names of Granian that are not documented: each is missed by its name, and without one of them all is served as documented."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import granian.server.embed
import httpx
import pytest
import structlog

from tests.e2e.site import announce, site
from ticketmaster import ticket
from ticketmaster.ticket import granian_private

ROOT = Path(__file__).parents[2]


def test_the_installed_version_has_every_name() -> None:
    assert granian_private.missing() == ""


def test_the_version_that_is_pinned_is_the_one_that_was_tried() -> None:
    for file, pattern in (("pyproject.toml", r'"granian==([^"]+)"'), ("requirements.lock", r"(?m)^granian==(\S+)")):
        found = re.search(pattern, (ROOT / file).read_text())
        assert found
        assert found[1] == granian_private.TRIED
    assert version("granian") == granian_private.TRIED


class _Otherwise:
    """A class of the same name."""


def watcher_wrapper(mentioned: str) -> object:
    """Granian's, but that what a request comes with has another name."""
    wrapper = import_module("granian._futures")._future_watcher_wrapper
    renamed = tuple(
        each.replace(co_names=tuple("other" if name == mentioned else name for name in each.co_names)) if inspect.iscode(each) else each
        for each in wrapper.__code__.co_consts
    )
    return SimpleNamespace(__code__=wrapper.__code__.replace(co_consts=renamed))


@pytest.mark.parametrize(("module", "path"), granian_private.NAMES)
def test_a_version_without_one_of_the_names_is_told_by_that_name(module: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, _, mentioned = path.partition(":")
    found: ModuleType = import_module(module)
    # Names of compiled classes can't be deleted.
    monkeypatch.setattr(found, outer.partition(".")[0], watcher_wrapper(mentioned) if mentioned else _Otherwise)

    assert outer in granian_private.missing()
    assert mentioned in granian_private.missing()


@pytest.mark.parametrize("spawner", [None, lambda worker_id, sock: None], ids=["gone", "other arguments"])  # noqa: ARG005
def test_a_version_that_starts_workers_otherwise_is_told(spawner: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granian.server.embed.Server, "_spawn_rsgi_worker", spawner)

    assert "_spawn_rsgi_worker" in granian_private.missing()


async def test_without_one_of_the_names_requests_are_served_as_documented_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granian_private, "NAMES", (("granian._granian", "RSGIWorker.serve_faster"),))
    with structlog.testing.capture_logs() as lines:
        async with site() as one, httpx.AsyncClient(base_url=f"http://{one.address}") as client:
            await announce(client)
            assert (await client.get("/v1/event")).status_code == 200

    (line,) = (line for line in lines if line["event"] == "served_as_documented")
    assert line["reason"] == "Granian lacks granian._granian.RSGIWorker.serve_faster"
    assert line["tried"] == granian_private.TRIED


def test_no_other_module_knows_a_name_that_is_not_documented() -> None:
    documented = {"granian.constants", "granian.http", "granian.server.embed"}
    imported = {
        (path.name, node.module)
        for path in sorted(Path(ticket.__file__).parent.glob("*.py"))
        if path.name != "granian_private.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("granian")
    }

    assert {(name, module) for name, module in imported if module not in documented} == set()
