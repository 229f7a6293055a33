"""What the suites of configuration share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key with the password "pw" and its certificate, each in a file (``key.pem``, ``cert.pem``) and both in one (``both.pem``)."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem -passout pass:pw"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return folder
