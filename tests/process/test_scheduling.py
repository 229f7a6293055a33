"""How the operating system treats the program."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process.server import serving
from tests.support.systems import needs_batch_policy


def test_no_thread_interrupts_another_when_it_is_woken(tmp_path: Path) -> None:
    needs_batch_policy()
    with serving(tmp_path / "data") as (server, _):
        threads = [int(thread.name) for thread in Path(f"/proc/{server.pid}/task").iterdir()]

        assert len(threads) > 1
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
