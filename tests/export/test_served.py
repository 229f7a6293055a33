"""An export of a directory that a server uses has what the server answers, and leaves both alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.process.client import connected
from tests.process.sale import Sale
from tests.process.server import run, serving


async def sell(address: str) -> Sale:
    sale = Sale(1, areas=3)
    await sale.announce(address, "concert")
    async with connected(address) as connection:
        for _ in range(40):
            await sale.post(connection)
    await sale.check(address)
    return sale


def test_a_table_of_a_directory_in_use_has_what_its_server_answers(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--partitions", "3") as (server, address):
        sale = asyncio.run(sell(address))
        before = sorted(path.name for path in (tmp_path / "data").iterdir())

        done = run("export", "-d", "data", "--event", "concert", "--format", "jsonl", cwd=tmp_path)

        assert server.is_running
        assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before
    assert (done.returncode, done.stderr) == (0, "stdout: 40 reservations of concert\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["reservationId"] for row in rows] == sorted(sale.decisions)
    for row in rows:
        answered = json.loads(sale.decisions[row["reservationId"]])
        assert {name: row[name] for name in answered if name in row} == {name: answered[name] for name in answered if name in row}
        assert answered.keys() - row.keys() == {"numOfSeat"}
