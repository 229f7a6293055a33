"""docs/http.md: four people sell an event, by the lines that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from tests.process.server import COMMAND, ROOT, environment, serving

# Lines that begin with curl are asked and kept; those of a shop's program (-s) give what it goes on with.
SHELL = f"""
ticketmaster() {{ {shlex.join(COMMAND)} "$@"; }}
n=0
curl() {{
  case $1 in
    -s*) command curl "$@" ;;
    *) n=$((n + 1)); command curl -s -m 60 -w ' %{{http_code}}' "$@" > $n.answer ;;
  esac
}}
"""
TOKENS = "promoter counter shop"


def follow(lines: str, folder: Path) -> None:
    """Runs them in a shell; each must succeed."""
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", SHELL + lines], cwd=folder, env=environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr


def test_four_people_sell_an_event_as_the_docs_show_it(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "http.md").read_text().partition("\n## Four people sell an event\n")[2].partition("\n## ")[0]
    tokens, server, people = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    expected = re.findall(r"  # (\d{3}) (\S+)$", people, re.MULTILINE)
    assert len(expected) == len(re.findall(r"^curl ", people, re.MULTILINE)) > 20

    follow(f"{tokens}\ndeclare -p {TOKENS} > tokens.sh", tmp_path)
    _, _, options = server.partition(" -d ./data ")
    with serving(tmp_path / "data", *shlex.split(options)) as (_, address):
        follow(". ./tokens.sh\n" + people.replace("localhost:8080", address), tmp_path)
    for number, (status, word) in enumerate(expected, 1):
        answer = (tmp_path / f"{number}.answer").read_text()
        assert answer.endswith(f" {status}"), f"{number}: {answer}"
        assert word in answer, f"{number}: {answer}"
    assert (tmp_path / "ballet.csv").read_text().count("[EVENT_CANCELLED]") == 2
