"""How a bug is planted: it breaks one thing that the engine, the broker or a role relies on, from outside, while it is planted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

Plant = Callable[[], AbstractContextManager[Any]]


class Mutants(dict[str, Plant]):
    """Planted bugs by their names."""

    def add(self, name: str) -> Callable[[Plant], Plant]:
        """Adds one under its name."""

        def add(plant: Plant) -> Plant:
            self[name] = plant
            return plant

        return add


def replaced(target: object, name: str, by: object) -> AbstractContextManager[Any]:
    """One attribute is another one for a while."""
    return patch.object(target, name, by)
