"""Names of strangers are shown to people, and never sent to their terminals."""

from __future__ import annotations

import ast
import logging
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.cli import say
from ticketmaster.printable import printable, printable_lines
from ticketmaster.telemetry import logs

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ann, \u00e9\u4e2d\U0001f600 \u2013 \\", "Ann, \u00e9\u4e2d\U0001f600 \u2013 \\"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b31m\x7f\x85", "\\x9b31m\\x7f\\x85"),
        ("\u202egnp.exe\u2066\u200f", "\\u202egnp.exe\\u2066\\u200f"),
        ("\u2028\ufeff\u200b", "\\u2028\\ufeff\\u200b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable_lines(f"{text}\n{text}") == "\n".join(map(printable, f"{text}\n{text}".split("\n")))


@given(st.text(st.characters()))
def test_nothing_of_any_text_controls_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    directions = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}
    assert not {unicodedata.bidirectional(character) for character in shown} & directions


def test_only_one_module_of_the_command_line_writes_what_people_read() -> None:
    # Texts of these have no names in them, or none but those of topics.
    free = {"say.py", "topics.py", "simulate.py", "progress.py", "banner.py"}
    writers = {"click.echo", "click.secho", "print", "Console", "sys.stdout.write", "json.dumps", "Text"}
    written = []
    for file in sorted((ROOT / "ticketmaster" / "cli").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        found = [ast.unparse(call) for call in calls if ast.unparse(call.func) in writers]
        # Progress goes to a line that is taken back.
        written += [text for text in found if file.name not in free and "\\x1b[K" not in text and "stderr=True" not in text]

    assert written == []


def test_a_log_on_a_terminal_shows_names_and_sends_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys.stdout, "isatty", lambda: True)
        logs.configure_logs("info")
    try:
        logs.LogObserver()._log.warning("dead_letter", task="a task", key="k\x1b]0;owned\x07\x9b31m")
        failure = ValueError("name \x1b[2J")
        logging.getLogger("a library").error("failed for \x1b[2J", exc_info=failure)
    finally:
        logs.configure_logs("info")
    told = capsys.readouterr().out

    assert "k\\x1b]0;owned\\x07\\x9b31m" in told
    assert "ValueError: name \\x1b[2J" in told
    assert "\x1b[2J" not in told
    assert "\x1b]" not in told


def test_an_error_can_be_told_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stderr", Ascii())
    assert say.told_error("\u00e9\u2026\x1b\n") == "\\xe9\\u2026\\x1b\\n"
