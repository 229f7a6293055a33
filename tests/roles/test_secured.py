"""A broker that lets nobody in without TLS and a password or token: the program is told by the keys that Java's clients know."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_plus

import pytest

from scripts.kafka.kits import KAFKA, installed, java
from tests.chaos.fleet import free_port
from tests.process.server import one_clear_line, run, wait_until
from tests.support.kafka_fixtures import StartCluster

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
USER, PASSWORD = "sale", "pass;word"


class Secured(NamedTuple):
    """Where the broker listens with TLS, and who has signed its certificate."""

    server: str
    authority: Path


@pytest.fixture
def secured(kafka_cluster: StartCluster, tmp_path: Path) -> Iterator[Secured]:
    cluster = kafka_cluster(brokers=1)
    names = "-subj /CN=broker -addext subjectAltName=IP:127.0.0.1"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {names} -keyout key.pem -out ca.pem"
    subprocess.run(request.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "store.pem").write_text((tmp_path / "key.pem").read_text() + (tmp_path / "ca.pem").read_text())
    port = free_port()
    server = f"127.0.0.1:{port}"
    cluster.stop_node(1)
    # The script would write its own settings again.
    file = cluster.folder / "broker-1" / "secured.properties"
    settings = dict(line.split("=", 1) for line in file.with_name("server.properties").read_text().splitlines())
    settings["listeners"] += f",SASL_SSL://{server}"
    settings["advertised.listeners"] += f",SASL_SSL://{server}"
    settings["listener.security.protocol.map"] += ",SASL_SSL:SASL_SSL"
    settings |= {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{PLAIN} required user_{USER}="{PASSWORD}";',
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
        # Tokens that nobody has signed are enough for it.
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": f'{OAUTH} required unsecuredLoginStringClaim_sub="broker";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(tmp_path / "store.pem"),
    }
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    kafka = [java(), "-cp", f"{installed(KAFKA)}/*"]
    with subprocess.Popen([*kafka, "kafka.Kafka", file.name], cwd=file.parent, stdout=subprocess.DEVNULL) as broker:
        try:
            wait_until(lambda: is_listening(port), "the broker listens", timeout_s=60)
            add = ["--alter", "--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]", "--entity-type", "users", "--entity-name", USER]
            configure = [*kafka, "kafka.admin.ConfigCommand", "--bootstrap-server", cluster.bootstrap_servers, *add]
            subprocess.run(configure, check=True, capture_output=True)
            yield Secured(server, tmp_path / "ca.pem")
        finally:
            broker.kill()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def configured(folder: Path, secured: Secured, mechanism: str, password: str, *more: str) -> tuple[str, str]:
    """The option that names a file with these credentials."""
    module, user, secret = {
        "PLAIN": (PLAIN, "username", "password"),
        "SCRAM-SHA-512": (SCRAM, "username", "password"),
        "OAUTHBEARER": (OAUTH, "clientId", "clientSecret"),
    }[mechanism]
    file = folder / f"{mechanism}.properties"
    lines = [
        f"bootstrap.servers={secured.server}",
        "security.protocol=SASL_SSL",
        f"sasl.mechanism={mechanism}",
        f'sasl.jaas.config={module} required {user}="{USER}" {secret}="{password}";',
        "request.timeout.ms=3000",
        *more,
    ]
    file.write_text("\n".join(lines))
    return "-c", str(file)


class TokenEndpoint(BaseHTTPRequestHandler):
    """Grants tokens to whoever has the password (RFC 6749, section 4.4)."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        known = base64.b64encode(f"{USER}:{quote_plus(PASSWORD)}".encode()), base64.b64encode(f"{USER}:{PASSWORD}".encode())
        granted = self.headers["authorization"].removeprefix("Basic ").encode() in known
        now_s = int(time.time())
        claims = {"sub": USER, "iat": now_s, "exp": now_s + 3_600}
        parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims))
        answer = json.dumps({"access_token": ".".join([*parts, ""]), "expires_in": 3_600} if granted else {"error": "invalid_client"})
        self.send_response(200 if granted else 401)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def token_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()


def test_who_is_granted_a_token_is_let_in(secured: Secured, tmp_path: Path, token_url: str) -> None:
    more = f"ssl.truststore.location={secured.authority}", f"sasl.oauthbearer.token.endpoint.url={token_url}"

    done = run("topics", "create", "--partitions", "1", *configured(tmp_path, secured, "OAUTHBEARER", PASSWORD, *more), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "created" in done.stdout
    one_clear_line(run("topics", "check", *configured(tmp_path, secured, "OAUTHBEARER", "wrong", *more), cwd=tmp_path), [token_url])


def test_who_has_the_password_and_trusts_the_broker_is_let_in(secured: Secured, tmp_path: Path) -> None:
    trusting = f"ssl.truststore.location={secured.authority}"

    for number, mechanism in enumerate(("PLAIN", "SCRAM-SHA-512")):
        done = run("topics", "create", "--partitions", "1", *configured(tmp_path, secured, mechanism, PASSWORD, trusting), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("created" in done.stdout) == (number == 0)
        refused = run("topics", "check", *configured(tmp_path, secured, mechanism, "wrong", trusting), cwd=tmp_path)
        one_clear_line(refused, [secured.server, "SaslAuthenticationFailed"])
    distrusted = run("topics", "check", *configured(tmp_path, secured, "PLAIN", PASSWORD), cwd=tmp_path)
    one_clear_line(distrusted, [secured.server, "certificate"])
