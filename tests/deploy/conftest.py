"""The rendered manifests of every overlay, for the tests that hold them against the program and against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from scripts.deploy.manifests import render
from scripts.deploy.schemas import OUTSIDE, rendered
from tests.support.tools import needs

# By overlay: the objects that the API server would get.
Manifests = dict[str, list[dict[str, Any]]]
Find = Callable[[str, str, str], dict[str, Any]]
CLOUD: Final = tuple(f"{number}-instance-perf" for number in (1, 2, 4, 8, 16, 32, 40))
OVERLAYS: Final = ("local", *CLOUD)


@pytest.fixture(scope="session")
def everything() -> Manifests:
    """What `make deploy-check` looks at: the overlays, and one with components that no overlay has."""
    needs("kubectl", "rendering deploy/overlays")
    return rendered()


@pytest.fixture(scope="session")
def manifests(everything: Manifests) -> Manifests:
    """The overlays alone."""
    return {overlay: everything[overlay] for overlay in OVERLAYS}


@pytest.fixture(scope="session")
def outside(everything: Manifests) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of an overlay that the world may reach, by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in everything[OUTSIDE]}


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """The overlays as kustomize writes them."""
    needs("kubectl", "rendering deploy/overlays")
    return {overlay: render(overlay) for overlay in OVERLAYS}


@pytest.fixture(scope="session")
def find(manifests: Manifests) -> Find:
    """The one object of an overlay that has this kind and name."""

    def one(overlay: str, kind: str, name: str) -> dict[str, Any]:
        (found,) = [each for each in manifests[overlay] if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    return one
