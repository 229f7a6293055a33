"""The question before something is made, changed or taken away: whoever answers types what it happens to."""

from __future__ import annotations

import sys

from scripts.deploy.programs import say
from scripts.errors import UsageError


def confirm(what: str, name: str, given: str) -> None:
    """Asks for ``name`` on a terminal, unless it was given with the command. UsageError: it was not."""
    if given:
        if given != name:
            raise UsageError(f"CONFIRM is {given}, and this is {name}: nothing is changed")
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: nobody is there to be asked; if it is what you want, say so with -e CONFIRM={name}")
    say(f"{what}. To go on, type {name}:")
    if sys.stdin.readline().strip() != name:
        raise UsageError("nothing is changed")
