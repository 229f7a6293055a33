"""The imports of a process that starts: most of its time until then, and of its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Tables and colours are for people, and one process has no other to ask.
NOT_IN_ONE_PROCESS = ("aiokafka", "attr", "httpx", "opentelemetry", "prometheus_client", "rich", "urllib.request")
NOT_IN_A_ROLE = ("attr", "opentelemetry", "rich")


def output(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    ("module", "needless"), [("standalone", NOT_IN_ONE_PROCESS), ("ticket", NOT_IN_A_ROLE), ("stream_roles", NOT_IN_A_ROLE)]
)
def test_a_process_imports_nothing_that_it_may_never_need(module: str, needless: tuple[str, ...]) -> None:
    script = f"import ticketmaster.bootstrap.{module}, sys; print(*sorted(name for name in {needless} if name in sys.modules))"
    assert output(script) == ""


def test_a_library_that_is_imported_without_rich_does_without_and_rich_stays_what_it_is() -> None:
    script = "import rich.table, ticketmaster.bootstrap, rich, structlog; print(structlog.dev.rich, rich.table.Table.__name__)"
    assert output(script) == "None Table"
