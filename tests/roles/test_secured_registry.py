"""A real registry behind TLS and a password, as companies run it."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from tests.process.server import one_clear_line, run
from tests.support.kafka import Cluster

USER, PASSWORD = "sale", "pass:word"


class Front(NamedTuple):
    """Where the registry is reached with TLS, and who has signed the certificate."""

    url: str
    authority: Path


@pytest.fixture
def front(own_cluster: Cluster, tmp_path: Path) -> Iterator[Front]:
    names = "-subj /CN=registry -addext subjectAltName=IP:127.0.0.1"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {names} -keyout key.pem -out ca.pem"
    subprocess.run(request.split(), cwd=tmp_path, check=True, capture_output=True)
    behind = urlsplit(own_cluster.registry_url)
    credentials = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("authorization") != credentials:
                self._answer(401, b"")
                return
            answer = httpx.request(
                self.command, f"http://{behind.netloc}{self.path}", content=body, headers={"content-type": "application/json"}
            )
            self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _relay  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Front(f"https://127.0.0.1:{server.server_port}{behind.path}", tmp_path / "ca.pem")
        server.shutdown()
        thread.join()


def test_who_has_the_password_and_trusts_the_registry_registers_schemas(front: Front, tmp_path: Path) -> None:
    def schemas(command: str, password: str, *more: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "client.properties"
        lines = [
            f"schema.registry.url={front.url}",
            "basic.auth.credentials.source=USER_INFO",
            f"basic.auth.user.info={USER}:{password}",
            *more,
        ]
        file.write_text("\n".join(lines))
        return run("schemas", command, "-c", str(file), cwd=tmp_path)

    trusting = f"schema.registry.ssl.truststore.location={front.authority}"

    done = schemas("register", PASSWORD, trusting)
    assert done.returncode == 0, done.stderr
    assert schemas("check", PASSWORD, trusting).returncode == 0
    one_clear_line(schemas("check", "wrong", trusting), [front.url, "401", "basic.auth.user.info"])
    one_clear_line(schemas("check", PASSWORD), [front.url, "schema.registry.ssl.truststore.location"])
