"""A Kubernetes control plane on this machine: etcd, API server, controllers and scheduler, on free ports and in a temporary folder."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from scripts.controlplane import kit
from scripts.controlplane.api import Api
from scripts.errors import ScriptError, UsageError
from scripts.kafka.clusters import free_ports
from scripts.kafka.kits import tail
from scripts.programs import need

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.1
# The servers end by themselves after this, whatever has become of the program that started them.
LIFETIME_S: Final = 900
# Those need kubelets that report, every 10 s, that they live, and drivers of disks.
CONTROLLERS_OFF: Final = ("node-lifecycle-controller", "taint-eviction-controller", "persistentvolume-attach-detach-controller")
# The controllers ask for as much as they like: there is no other client.
REQUESTS_PER_SECOND: Final = 500


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane that serves, and the file that kubectl finds it by."""

    api: Api
    kubeconfig: Path


@contextmanager
def control_plane() -> Iterator[Plane]:
    """Starts one, and ends it. UsageError: it is not installed. ScriptError: it does not start."""
    if not kit.is_installed():
        raise UsageError("no control plane is installed: run `scripts/controlplane/install`")
    with tempfile.TemporaryDirectory(prefix="ticketmaster-plane-") as name:
        servers = _Servers(Path(name))
        try:
            yield servers.start()
        finally:
            servers.stop()


class _Servers:
    """The processes, in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._api: Api | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> Plane:
        store, peers, port = free_ports(3)
        key = self._signing_key()
        token = secrets.token_hex(16)
        # The API server makes a certificate for itself, which is its own authority.
        self._api = Api(f"https://{HOST}:{port}", token, self._folder / "apiserver.crt")
        plane = Plane(self._api, self._folder / "kubeconfig")
        plane.kubeconfig.write_text(kubeconfig(f"https://{HOST}:{port}", token, self._folder / "apiserver.crt"))
        plane.kubeconfig.chmod(0o600)
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{token},admin,admin,system:masters\n")

        self._start("etcd", kit.etcd(), etcd_options(self._folder, store, peers))
        self._until("etcd", lambda: _answers(f"http://{HOST}:{store}/health"))
        self._start(kit.API_SERVER, kit.programs_folder() / kit.API_SERVER, api_server_options(self._folder, port, store, key, tokens))
        self._until(kit.API_SERVER, plane.api.is_ready)
        client = [f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", f"--bind-address={HOST}", "--secure-port=0"]
        client += [f"--kube-api-qps={REQUESTS_PER_SECOND}", f"--kube-api-burst={REQUESTS_PER_SECOND}"]
        controllers = f"--controllers=*,{','.join(f'-{each}' for each in CONTROLLERS_OFF)}"
        self._start(
            kit.CONTROLLER_MANAGER,
            kit.programs_folder() / kit.CONTROLLER_MANAGER,
            [*client, controllers, f"--service-account-private-key-file={key}"],
        )
        self._start(kit.SCHEDULER, kit.programs_folder() / kit.SCHEDULER, client)
        # The first thing that the controllers make.
        self._until(kit.CONTROLLER_MANAGER, lambda: plane.api.exists("/api/v1/namespaces/default/serviceaccounts/default"))
        return plane

    def stop(self) -> None:
        """The clients of the API server first."""
        if self._api is not None:
            self._api.close()
        for server in reversed(self._running.values()):
            server.terminate()
            # `timeout` hands the signal on, and kills what has not ended.
            try:
                server.wait(2 * STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # And with `timeout` the server below it.
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def _start(self, name: str, program: Path, options: list[str]) -> None:
        bound = [need("timeout", what_for="ends the servers of the control plane"), f"--kill-after={STOP_TIMEOUT_S:.0f}", str(LIFETIME_S)]
        with self._log(name).open("wb") as log:
            # Out of reach of this terminal's Ctrl-C: they are stopped in order.
            self._running[name] = subprocess.Popen(
                [*bound, program, *options], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _until(self, name: str, is_there: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not is_there():
            if self._running[name].poll() is not None:
                raise ScriptError(f"{name} ended when it started; its log ends:\n{tail(self._log(name).read_text())}")
            if time.monotonic() > deadline_s:
                raise ScriptError(f"{name} is not ready after {START_TIMEOUT_S:.0f} s; its log ends:\n{tail(self._log(name).read_text())}")
            time.sleep(POLL_S)

    def _signing_key(self) -> Path:
        """For the tokens of service accounts, which none of our pods has."""
        key = self._folder / "service-account.key"
        subprocess.run([need("openssl", what_for="makes a key"), "genrsa", "-out", key, "2048"], capture_output=True, check=True)
        return key


def etcd_options(folder: Path, port: int, peer_port: int) -> list[str]:
    """A store that nobody needs after a crash."""
    clients, peers = f"http://{HOST}:{port}", f"http://{HOST}:{peer_port}"
    urls = {"client": clients, "peer": peers}
    listen = [f"--listen-{kind}-urls={url}" for kind, url in urls.items()]
    return [
        f"--data-dir={folder / 'etcd'}",
        *listen,
        f"--advertise-client-urls={clients}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]


def api_server_options(folder: Path, port: int, store_port: int, key: Path, tokens: Path) -> list[str]:
    """With the admission that a cluster has by default, Pod Security among it."""
    return [
        f"--etcd-servers=http://{HOST}:{store_port}",
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        # The Service `kubernetes` leads nowhere: nothing runs that could ask for it. The address is one for documents.
        "--endpoint-reconciler-type=none",
        "--advertise-address=192.0.2.1",
    ]


def kubeconfig(url: str, token: str, authority: Path) -> str:
    """Its file for kubectl and for the controllers."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "trial", "cluster": {"server": url, "certificate-authority": str(authority)}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "trial", "context": {"cluster": "trial", "user": "admin"}}],
            "current-context": "trial",
        }
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=POLL_S * 10, trust_env=False).is_success
    except httpx.HTTPError:
        return False
