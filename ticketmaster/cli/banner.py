"""What is said when the process is ready: to people what to try next, to machines one line."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

import ticketmaster
from ticketmaster.bootstrap.running import log_ready
from ticketmaster.printable import printable

_TRY = """\
  1. Announce an event of one area with 20 x 20 seats:
     curl -X POST {url}/v1/event -H 'content-type: application/json' \\
       -d '{{"eventName":"concert","artist":"The Band","areas":[{{"areaId":"A","price":100,"rowCount":20,"colCount":20}}]}}'

  2. Ask for two adjacent seats, and keep the id that comes back:
     id=$(curl -s -X POST {url}/v1/event/concert/reservation -H 'content-type: application/json' \\
       -d '{{"userId":"ann","eventId":"concert","areaId":"A","numOfSeats":2,"type":"RANDOM"}}')

  3. See what became of it:
     curl {url}/v1/reservation/$id

  4. See what is left:
     curl {url}/v1/event/concert/area/A
"""


def show_ready(url: str, state_dir: Path) -> None:
    """Says that requests are served."""
    directory = str(state_dir.resolve())
    if not sys.stdout.isatty():
        log_ready(url=url, docs=f"{url}/docs", data_directory=directory)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold green]ticketmaster {ticketmaster.__version__}[/] is selling seats")
    console.print(f"  URL   [bold cyan]{url}[/]\n  docs  [bold cyan]{url}/docs[/]")
    console.print(f"  data  {printable(directory)}\n", markup=False)
    console.print("[bold]Try next[/] (Ctrl-C stops)\n")
    console.print(_TRY.format(url=url), markup=False)


def show_role_ready(state_dir: Path) -> None:
    """Says that a role serves its partitions."""
    log_ready(data_directory=str(state_dir.resolve()))
