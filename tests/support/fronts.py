"""The real nginx and HAProxy, in front of processes of ours."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.debian import found
from scripts.errors import MissingError
from scripts.kafka.clusters import free_ports
from tests.support.tools import lacking

_DEADLINE_S: Final = 20.0
_NGINX: Final = """
daemon off;
pid nginx.pid;
error_log stderr;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream ours {{
    {servers}
    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://ours;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 15s;
    }}
  }}
}}
"""
_HAPROXY: Final = """
global
  maxconn 1000
defaults
  mode http
  timeout client 30s
  timeout connect 5s
  timeout server 15s
  retries 3
  retry-on conn-failure
  option redispatch
frontend all
  bind 127.0.0.1:{port}
  default_backend ours
backend ours
  option httpchk GET /v1/health_check/ready
  default-server check inter 100ms fall 1 rise 1
  {servers}
"""


@contextmanager
def _front(name: str, folder: Path, config: str, arguments: Sequence[str]) -> Iterator[str]:
    try:
        program = found(name, name)
    except MissingError as error:
        lacking(f"this is done with {name} ({error})")
    (port,) = free_ports(1)
    folder.mkdir()
    file = folder / f"{name}.conf"
    file.write_text(config.replace("{port}", str(port)))
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        command = [program.path, *arguments, str(file)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=program.environment, cwd=folder)
    try:
        deadline_s = time.monotonic() + _DEADLINE_S
        while not _listens(port):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline_s, log.read_text()[-2000:]
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_DEADLINE_S)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def nginx(folder: Path, *behind: str) -> Iterator[str]:
    """An nginx in front of these; its address."""
    servers = " ".join(f"server {address};" for address in behind)
    user = "user root;" if os.geteuid() == 0 else ""
    config = _NGINX.format(servers=servers, user=user, port="{port}")
    with _front("nginx", folder, config, ["-p", str(folder), "-e", "stderr", "-c"]) as address:
        yield address


@contextmanager
def haproxy(folder: Path, *behind: str, http2: bool = False) -> Iterator[str]:
    """A HAProxy in front of these, which speaks HTTP/1.1 or HTTP/2 to them; its address."""
    servers = "\n  ".join(f"server s{number} {address}{' proto h2' if http2 else ''}" for number, address in enumerate(behind))
    with _front("haproxy", folder, _HAPROXY.format(servers=servers, port="{port}"), ["-db", "-f"]) as address:
        yield address
