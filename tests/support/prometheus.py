"""The real Prometheus and promtool, from wherever scripts/prometheus/install has them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx

from scripts.kafka.clusters import free_ports
from tests.support.tools import lacking

ROOT: Final = Path(__file__).resolve().parents[2]
DEADLINE_S: Final = 30.0


@cache
def _installed() -> tuple[list[str], str]:
    """Where they are, or none and why not."""
    install = [sys.executable, str(ROOT / "scripts" / "prometheus" / "install")]
    done = subprocess.run(install, capture_output=True, text=True, timeout=240, check=False)
    return done.stdout.split(), done.stderr.strip()


def programs() -> tuple[str, str]:
    """Prometheus and promtool. Ends the test where they can't be had."""
    paths, reason = _installed()
    if not paths:
        lacking(f"this is done with Prometheus ({reason})")
    prometheus, promtool = paths
    return prometheus, promtool


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs promtool until it ends; stdout and stderr come as one."""
    command = [programs()[1], *map(str, arguments)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, client: httpx.Client) -> None:
        self.url = str(client.base_url)
        self._client = client

    def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - what its API says
        """The data of its answer; an error fails the test."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{path} {parameters}: {answer.get('error')}"
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now, each with `metric` and `value`."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, as soon as there are any."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not (result := self.query(expression)):
            assert time.monotonic() < deadline_s, f"not in {DEADLINE_S} s: {expression}"
            time.sleep(0.1)
        return result


@contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    """Runs it on a free port of 127.0.0.1, with its data beside the configuration's file."""
    (port,) = free_ports(1)
    command = [
        programs()[0],
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            deadline_s = time.monotonic() + DEADLINE_S
            while not _is_ready(client):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline_s, log.read_text()[-2000:]
                time.sleep(0.05)
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
