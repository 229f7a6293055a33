"""No secret stands in anything that a process says: in its log, its errors, its tracebacks, its help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.server import COMMAND, environment, run

SECRET = "s3cr3t-never-shown"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
# Ports of this machine at which nobody listens.
NOWHERE = f"bootstrap.servers=127.0.0.1:1\nschema.registry.url=http://ann:{SECRET}@127.0.0.1:2\n"
FILES = {
    "plain": f'{NOWHERE}security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} username="a" password="{SECRET}";',
    "scram": (
        f"{NOWHERE}security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n"
        f'sasl.jaas.config={PLAIN.replace("plain.Plain", "scram.Scram")} username="a" password="{SECRET}";'
    ),
    "token": (
        f"{NOWHERE}security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=http://127.0.0.1:3/token\n"
        f'sasl.jaas.config={OAUTH} clientId="c" clientSecret="{SECRET}";'
    ),
    "token url": f"{NOWHERE}security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=http://a:{SECRET}@h/",
    "user info": f"bootstrap.servers=127.0.0.1:1\nbasic.auth.credentials.source=USER_INFO\nbasic.auth.user.info=ann:{SECRET}",
    "broken jaas": f"{NOWHERE}security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} password={SECRET}!",
    "line": f'{NOWHERE}sasl.mechanism=PLAIN\nusername="a" password="{SECRET}";\n{SECRET}\n',
    "key": f"{NOWHERE}security.protocol=SSL\nssl.keystore.key=-----BEGIN PRIVATE KEY-----{SECRET}\nssl.keystore.certificate.chain={SECRET}",
    "place": f"{NOWHERE}security.protocol=SSL\nssl.keystore.location=-----BEGIN PRIVATE KEY----- {SECRET}",
}
ENVIRONMENTS = {
    "": {},
    "header": {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4",
        "OTEL_EXPORTER_OTLP_HEADERS": f"k={SECRET}",
    },
    "wrong header": {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_HEADERS": f"k={SECRET}\u00e9"},
    "endpoint": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://ann:{SECRET}@127.0.0.1:4"},
    "proxy": {"HTTP_PROXY": f"http://ann:{SECRET}@127.0.0.1:5", "ALL_PROXY": f"socks5://ann:{SECRET}@127.0.0.1:5"},
}


@pytest.mark.parametrize("name", FILES)
def test_no_command_says_a_secret_of_its_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "client.properties"
    file.write_text(FILES[name])
    for command in (["topics", "check"], ["schemas", "check"], ["audit"]):
        done = run(*command, "-c", str(file), cwd=tmp_path)
        assert done.returncode in (1, 2, 3)
        assert SECRET not in done.stdout + done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "variables"), [("token", ""), *(("plain", variables) for variables in ENVIRONMENTS)])
def test_no_role_logs_a_secret_while_it_waits(tmp_path: Path, name: str, variables: str) -> None:
    file = tmp_path / "client.properties"
    # A host that is looked for by a proxy, where there is one.
    file.write_text(FILES[name].replace("@127.0.0.1:2", "@registry.invalid:2"))
    output = tmp_path / "output"
    command = [*COMMAND, "ticket", "-p", "0", "-d", str(tmp_path / "state"), "-c", str(file), "--log-level", "debug"]
    with output.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=environment(**ENVIRONMENTS[variables])) as role:
        try:
            role.wait(4)
        except subprocess.TimeoutExpired:
            role.terminate()
            role.wait(30)

    text = output.read_text()
    assert text
    assert SECRET not in text


def test_the_help_shows_no_variable_s_value(tmp_path: Path) -> None:
    done = run(
        "ticket", "--help", cwd=tmp_path, env={"TICKETMASTER_TICKET_CONFIG_FILE": SECRET, "OTEL_EXPORTER_OTLP_HEADERS": f"k={SECRET}"}
    )

    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_traceback_has_no_values_of_variables(*, on_terminal: bool) -> None:
    program = f"""
import sys, structlog
from ticketmaster.telemetry.logs import configure_logs
sys.stdout.isatty = lambda: {on_terminal}
configure_logs("info")
def fail(password):
    raise ValueError("a defect")
try:
    fail(sys.argv[1])
except ValueError:
    structlog.get_logger().exception("failed")
"""
    command = [sys.executable, "-c", program, SECRET]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=True)

    assert "a defect" in done.stdout
    assert "fail" in done.stdout
    assert SECRET not in done.stdout
