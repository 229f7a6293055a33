"""How the operating system treats the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.process.server import serving


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH: elsewhere there is no policy to look at")
def test_no_thread_interrupts_another_when_it_is_woken(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (server, _):
        threads = [int(thread.name) for thread in Path(f"/proc/{server.pid}/task").iterdir()]

        assert len(threads) > 1
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
