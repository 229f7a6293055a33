"""A very small sale over HTTP."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from scripts.errors import ScriptError

EVENT, AREA = "concert", "A"
ROWS = COLUMNS = 20
SEATS_EACH = 2
TIMEOUT_S = 30.0


def sell(address: str, count: int) -> None:
    """Announces an event and sells seats of it: every reservation must get seats, and no seat be given twice."""
    areas = [{"areaId": AREA, "price": 100, "rowCount": ROWS, "colCount": COLUMNS}]
    _ask(f"{address}/v1/event", {"eventName": EVENT, "artist": "The Band", "areas": areas})
    wanted = {"userId": "ann", "eventId": EVENT, "areaId": AREA, "numOfSeats": SEATS_EACH, "type": "RANDOM"}
    ids = [_ask(f"{address}/v1/event/{EVENT}/reservation", wanted) for _ in range(count)]
    decided = [json.loads(_ask(f"{address}/v1/reservation/{each}")) for each in ids]
    seats = sold(decided)
    if len(seats) != count * SEATS_EACH:
        raise ScriptError(f"{count} reservations of {SEATS_EACH} seats each got {len(seats)}")


def sold(decided: list[dict[str, Any]]) -> set[tuple[int, int]]:
    """The seats of all that got some. ScriptError: a reservation was refused, or a seat was given twice."""
    refused = [each for each in decided if each["state"] != "RESERVED"]
    if refused:
        raise ScriptError(f"{len(refused)} of {len(decided)} reservations were not taken, such as {refused[0]}")
    given = [(seat["row"], seat["col"]) for each in decided for seat in each["seats"]]
    if len(given) != len(set(given)):
        raise ScriptError(f"a seat was sold twice: {sorted(given)}")
    return set(given)


def _ask(url: str, body: dict[str, Any] | None = None) -> str:
    """The answer, which must be 200; what is not ready yet (503) is asked again."""
    data = None if body is None else json.dumps(body).encode()
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - the address is ours
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline_s:
                raise ScriptError(f"{url}: {error.code} {error.read().decode()}") from error
        time.sleep(0.2)
