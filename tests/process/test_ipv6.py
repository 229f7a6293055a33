"""Addresses of IPv6: as a person writes them, with brackets or without, and as URLs have them."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.chaos.fleet import free_port
from tests.process.server import Server, one_clear_line, run
from tests.process.test_ports import waiting
from tests.support.tools import lacking


@pytest.fixture(autouse=True)
def _has_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as reason:
        lacking(f"this machine has no IPv6: {reason}")


@pytest.mark.parametrize(
    "options", [("--hostname", "::1"), ("--hostname", "[::1]"), ("--hostname", "0:0:0:0:0:0:0:1"), ("--hostname", "::1", "--bind", "[::1]")]
)
def test_standalone_listens_at_the_url_that_it_shows(tmp_path: Path, options: tuple[str, ...]) -> None:
    server = Server(tmp_path / "data", *options)
    try:
        ready = server.wait_ready_line()
        assert ready["url"].startswith("http://[::1]:")
        assert ready["docs"] == f"{ready['url']}/docs"
        assert httpx.get(f"{ready['url']}/v1/health_check", trust_env=False).status_code == 200
        server.stop()
    finally:
        server.kill()


@pytest.mark.parametrize(("hostname", "listens"), [("::1", ("[::1]",)), ("[2001:db8::1]", ("[::1]", "127.0.0.1"))])
def test_a_ticket_role_listens_where_its_hostname_is(tmp_path: Path, hostname: str, listens: tuple[str, ...]) -> None:
    port, operators = free_port(), free_port()
    with waiting(tmp_path, "-p", str(port), "--metrics-port", str(operators), "--hostname", hostname, workers=2):
        for host in listens:
            for asked in (port, operators):
                url = f"http://{host}:{asked}/v1/health_check/live"
                assert httpx.get(url, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hostname", "[::1]:4403"),
        ("--hostname", "localhost:4403"),
        ("--hostname", "::g"),
        ("--hostname", "[localhost]"),
        ("--hostname", "fe80::1%eth0"),
        ("--hostname", "[::1"),
        ("--hostname", ""),
        ("--bind", "[::1]:4403"),
        ("--bind", "127.0.0.1:4403"),
    ],
)
@pytest.mark.parametrize("role", ["ticket", "standalone"])
def test_what_is_no_host_is_one_line_that_says_what_to_write(tmp_path: Path, role: str, option: str, value: str) -> None:
    done = run(role, option, value, "-p", "0", cwd=tmp_path)
    one_clear_line(
        done, [option, repr(value), "is no host name and no address: write e.g. shop.example, 192.0.2.7 or 2001:db8::7, without a port"]
    )


def test_a_taken_port_is_told_with_brackets(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        one_clear_line(run("standalone", "--hostname", "::1", "-p", str(port), cwd=tmp_path), [f"can't listen on [::1]:{port}: ", "in use"])
