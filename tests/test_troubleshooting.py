"""What docs/troubleshooting.md says that the program prints, it can print."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import aiokafka
import click

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "troubleshooting.md").read_text()
# Ours, and the two libraries whose words are quoted.
PACKAGES = (ROOT / "ticketmaster", Path(aiokafka.__file__).parent, Path(click.__file__).parent)


def printed() -> str:
    """Every text in the sources, with a mark where a value goes."""
    texts = []
    for file in (file for package in PACKAGES for file in package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def quoted() -> list[str]:
    """What stands as code in the first column of a table, in pieces where it has an ellipsis."""
    cells = [line.split(" | ")[0] for line in DOCUMENT.splitlines() if line.startswith("| ") and "---" not in line]
    return [piece for cell in cells for text in re.findall(r"`([^`]+)`", cell) for piece in text.split("…")]


def test_every_text_that_is_quoted_is_in_the_sources() -> None:
    pieces, sources = [piece for piece in quoted() if len(piece.strip(" :;,")) > 3], printed()

    assert len(pieces) > 60
    assert [piece for piece in pieces if piece not in sources] == []


def test_every_warning_and_error_of_the_log_is_explained() -> None:
    calls = re.findall(
        r'(?:log|get_logger\(\))\.(?:warning|error)\(\s*"(\w+)"|_warn\("(\w+)"|"(waiting_for_\w+)"',
        "".join(file.read_text() for file in (ROOT / "ticketmaster").rglob("*.py")),
    )

    events = {next(filter(None, found)) for found in calls}
    assert len(events) > 12
    assert sorted(event for event in events if f"`{event}`" not in DOCUMENT) == []
