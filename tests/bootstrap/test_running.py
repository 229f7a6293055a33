"""How a process's work is run."""

import gc

import pytest
import uvloop

from ticketmaster.bootstrap.running import run


async def _never() -> None:
    raise AssertionError


def test_an_interrupt_before_the_work_begins_leaves_no_warning(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    def interrupted(_work: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(uvloop, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(_never())
    gc.collect()

    assert not recwarn.list
