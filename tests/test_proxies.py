"""One rule for proxies, and everything that speaks HTTP to the outside keeps it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ticketmaster.broker.kafka.oauth import TokenProvider
from ticketmaster.broker.kafka.settings import OauthClient
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.proxies import proxy_for
from ticketmaster.telemetry.otel import _follow_proxies
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry, subjects


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


class Passed(BaseHTTPRequestHandler):
    """A proxy that answers everything itself."""

    urls: list[str]
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.urls.append(self.path)
        body = b'{"id": 7, "access_token": "t", "expires_in": "3599"}'
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[HTTPServer]:
    """Notes what it is asked for, in ``RequestHandlerClass.urls``."""
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Passed,), {"urls": []}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def asked(proxy: HTTPServer) -> list[str]:
    found: list[str] = proxy.RequestHandlerClass.urls  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "http://r.example", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://r.example", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://r.example", None),
        ({"https_proxy": "p:1"}, "https://r.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "https://r.example", "http://lower:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://r.example", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "HTTP_PROXY": "http://q:1"}, "http://r.example", "http://q:1"),
        *[
            ({"ALL_PROXY": "http://p:1", "NO_PROXY": text}, url, None)
            for text, url in [
                ("*", "http://r.example"),
                ("example", "http://r.example"),
                (".example", "http://r.example"),
                ("*.example", "http://r.example"),
                ("a, r.example ,b", "https://r.example"),
                ("R.EXAMPLE", "http://r.example"),
                ("a.b r.example", "http://r.example"),
                (",,r.example,", "http://r.example"),
                ("r.example:81", "http://r.example:81"),
                ("10.0.0.0/8", "http://10.2.3.4:8081"),
                ("10.2.3.4", "http://10.2.3.4:8081"),
                ("fd00::/8", "http://[fd00::1]:8081"),
            ]
        ],
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "r.example:82"}, "http://r.example:81", "http://p:1"),
        *[({"ALL_PROXY": "http://p:1", "NO_PROXY": text}, "http://r.example", "http://p:1") for text in ("", " ", ",", ",,a")],
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "http://r.example", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.2.3.4", "http://p:1"),
        # This machine is never asked for at a proxy.
        *[
            ({"ALL_PROXY": "http://p:1"}, f"http://{host}:81", None)
            for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost")
        ],
        # What is never used may be of any kind.
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": "r.example"}, "http://r.example", None),
        ({"ALL_PROXY": "socks5://p:1"}, "http://localhost:8081", None),
    ],
)
def test_the_variables_say_which_proxy_is_used(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    found = proxy_for(url)
    assert (found and found.url) == expected


@pytest.mark.parametrize("value", ["socks5://ann:s3cret@p:1", "socks5h://p:1", "http://", "http://p:port", "ftp://p:1"])
def test_a_proxy_of_another_kind_is_one_line_that_names_the_variable_and_not_its_value(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("ALL_PROXY", value)
    for start in (
        lambda: SchemaRegistry(RegistrySettings(url="http://r.example")),
        lambda: asyncio.run(TokenProvider(OauthClient(token_url="http://r.example", client_id="c", client_secret="s"), 500).token()),
        lambda: _follow_proxies({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://r.example:4317"}),
    ):
        with pytest.raises(UsageError) as raised:
            start()
        assert "ALL_PROXY must be" in str(raised.value)
        assert "r.example can be put into NO_PROXY" in str(raised.value)
        assert "s3cret" not in str(raised.value)


async def test_registry_and_token_endpoint_are_asked_by_the_proxy(environment: pytest.MonkeyPatch, proxy: HTTPServer) -> None:
    environment.setenv("HTTP_PROXY", f"http://ann:s3cret@127.0.0.1:{proxy.server_port}")
    async with SchemaRegistry(RegistrySettings(url="http://r.example:81")) as registry:
        assert await registry.lookup(subjects()[0]) == 7
    token = await TokenProvider(OauthClient(token_url="http://t.example/token", client_id="c", client_secret="s"), 2_000).token()

    assert token == "t"
    assert [url.split("/subjects/")[0] for url in asked(proxy)] == ["http://r.example:81", "http://t.example/token"]


async def test_an_error_names_the_proxy_and_not_its_password(environment: pytest.MonkeyPatch, proxy: HTTPServer) -> None:
    proxy.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    environment.setenv("HTTP_PROXY", f"http://ann:s3cret@127.0.0.1:{proxy.server_port}")
    async with SchemaRegistry(RegistrySettings(url="http://r.example:81")) as registry:
        with pytest.raises(Retriable, match=f"by the proxy 127.0.0.1:{proxy.server_port} answers 503") as raised:
            await registry.lookup(subjects()[0])
    assert "s3cret" not in str(raised.value)


def test_the_libraries_that_send_to_a_collector_are_told_the_rule(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://p:1")
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c.example:4317", "NO_PROXY": "x.example y.example"}
    _follow_proxies(variables)

    assert variables["grpc_proxy"] == "http://p:1"
    assert variables["no_proxy"] == variables["no_grpc_proxy"] == "x.example,y.example,localhost,127.0.0.1,::1"
