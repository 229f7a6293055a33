"""kill -9 at random moments under load, again and again on the same directory: nothing that was answered is lost or changes."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.process.sale import Sale
from tests.process.server import Server, forget_state, serving, wait_until

# More of them: KILL_ROUNDS=100 make test
ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
# A different sequence of kills in each run; a failure shows it, and KILL_SEED repeats it as far as chance in the processes allows.
SEED = int(os.environ.get("KILL_SEED", str(random.randrange(2**32))))
# Shown when the test fails, or with -o log_cli=true.
_LOG = logging.getLogger(__name__)
_ROUNDS_PER_EVENT = 4
_SAMPLE = 1_000


async def _kill_under_load(server: Server, sale: Sale, address: str, rng: random.Random) -> None:
    load = asyncio.create_task(sale.load(address))
    # The same event once more, in the midst of its sale.
    await sale.announce(address, rng.choice(sale.events))
    await asyncio.sleep(rng.uniform(0.0, 0.8))
    if rng.random() < 0.25:
        # In the midst of a clean end, too.
        server.send(signal.SIGTERM)
        await asyncio.sleep(rng.uniform(0.0, 0.1))
    server.kill()
    await load


def _kill_while_starting(directory: Path, rng: random.Random, *options: str) -> None:
    server = Server(directory, *options)
    time.sleep(rng.uniform(0.0, 0.6))
    server.kill()
    assert server.stderr.read_text() == ""


@pytest.mark.parametrize("partitions", ["1", "4"])
async def test_nothing_that_was_answered_is_lost_or_changes_when_the_process_is_killed_again_and_again(
    tmp_path: Path, partitions: str
) -> None:
    rng = random.Random(f"{SEED}-{partitions}")
    sale = Sale(SEED)
    directory = tmp_path / "data"
    # Little is kept of commands, so that the log is cleaned under the kills as well.
    options = ("--partitions", partitions, "--consumed-log-bytes-max", "100000")
    _LOG.warning("KILL_SEED=%d", SEED)
    for number in range((ROUNDS + 1) // 2):
        if rng.random() < 0.3:
            _kill_while_starting(directory, rng, *options)
        if number and rng.random() < 0.25:
            forget_state(directory)
        server = Server(directory, *options)
        try:
            address = server.wait_ready()
            await sale.check(address, sample=_SAMPLE)
            if number % _ROUNDS_PER_EVENT == 0:
                await sale.announce(address, f"concert-{number}")
            await _kill_under_load(server, sale, address, rng)
        finally:
            server.kill()
        assert server.stderr.read_text() == ""
    server = Server(directory, *options)
    try:
        address = server.wait_ready()
        for event in sale.events:
            await sale.announce(address, event)
        await sale.check(address)
        server.stop()
    finally:
        server.kill()
    reserved = sum(b'"RESERVED"' in decision for decision in sale.decisions.values())
    _LOG.warning("%d answered, %d reserved, %d seats asked for without an answer", len(sale.answered), reserved, sale.lost_seats.total())
    # Else the kills came before the sale.
    assert reserved > 10 * ROUNDS


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 4, 8, 16, 32])
def test_a_process_that_is_killed_at_its_very_first_start_leaves_a_directory_that_can_be_used(tmp_path: Path, delay_ms: int) -> None:
    server = Server(tmp_path / "data")
    try:
        wait_until((tmp_path / "data" / "ticketmaster.lock").exists, "the directory is locked")
        time.sleep(delay_ms / 1_000)
    finally:
        server.kill()
    with serving(tmp_path / "data"):
        pass
