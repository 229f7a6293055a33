"""What a Dockerfile says, read without an engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.errors import ScriptError

Instruction = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Base:
    """The image that the first stage begins with: the official one of a Python on a slim Debian."""

    name: str
    python: str
    debian: str


def instructions(text: str) -> list[Instruction]:
    """Each instruction and its arguments, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, arguments.strip()) for name, _, arguments in (line.partition(" ") for line in joined.splitlines())]


def base(found: Sequence[Instruction]) -> Base:
    """What the first FROM names."""
    image = next((arguments.split()[0] for name, arguments in found if name == "FROM"), "")
    known = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-(\w+)", image)
    if known is None:
        raise ScriptError(f"the Dockerfile begins with {image or 'nothing'}: no slim image of a Python, for which a stand-in could be made")
    return Base(image, *known.groups())
