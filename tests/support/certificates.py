"""Certificates of this machine, by its own openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

NAMES = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
P_256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def make_certificate(folder: Path, name: str = "tls", kind: tuple[str, ...] = P_256) -> tuple[Path, Path]:
    """Certificate and key, which replace those that are there as a whole."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = [path.with_suffix(f"{path.suffix}.new") for path in (certificate, key)]
    command: list[str | Path] = ["openssl", "req", "-x509", *kind, "-nodes", "-days", "2", *NAMES, "-out", made[0], "-keyout", made[1]]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    for path, new in zip((certificate, key), made, strict=True):
        new.replace(path)
    return certificate, key


def trusting(certificate: Path, *protocols: str) -> ssl.SSLContext:
    """A client that trusts nobody else, and speaks these protocols."""
    context = ssl.create_default_context(cafile=str(certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
