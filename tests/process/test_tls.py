"""TLS from the command line on, as real processes."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.process.server import one_clear_line, run, serving, wait_until
from tests.support.certificates import make_certificate, trusting
from tests.support.systems import needs_renewal

OPTIONS = ("--tls-certificate", "tls.pem", "--tls-key", "tls.key")


def is_served_by(address: str, certificate: Path) -> bool:
    """Whether it answers with this certificate."""
    try:
        with urllib.request.urlopen(f"https://{address}/v1/health_check", context=trusting(certificate), timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLCertVerificationError):
            raise
        return False


def test_a_port_speaks_tls_and_is_told_as_such(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    with serving(tmp_path / "data", *OPTIONS) as (server, address):
        assert address.startswith("https://")
        assert is_served_by(address.removeprefix("https://"), certificate)
        assert json.dumps(server.lines()).count("BEGIN") == 0


def test_a_certificate_that_is_renewed_is_used_and_one_that_is_none_is_not(tmp_path: Path) -> None:
    needs_renewal()
    certificate, key = make_certificate(tmp_path)
    with serving(tmp_path / "data", *OPTIONS) as (server, url):
        address = url.removeprefix("https://")
        first = tmp_path / "first.pem"
        first.write_bytes(certificate.read_bytes())
        # No server of this kind takes such a key, which would end it.
        make_certificate(tmp_path, kind=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"))
        wait_until(lambda: server.logged("not_reloaded") is not None, "it is refused")
        assert "the server can't use the certificate" in (server.logged("not_reloaded") or {})["reason"]
        assert is_served_by(address, first)

        make_certificate(tmp_path)
        wait_until(lambda: is_served_by(address, certificate), "the new one is used")
        # The server before may take one more that has come already.
        wait_until(lambda: not is_served_by(address, first), "the first one is used no more")
        wait_until(lambda: server.logged("reloaded") is not None, "it is told")
        assert key.exists()


def mismatch(folder: Path) -> None:
    make_certificate(folder, "other")
    (folder / "other.key").replace(folder / "tls.key")


def a_key_of_another_kind(folder: Path) -> None:
    make_certificate(folder, "other", kind=("-newkey", "rsa:2048"))
    (folder / "other.key").replace(folder / "tls.key")


def no_pem(folder: Path) -> None:
    (folder / "tls.pem").write_bytes(b"nothing")


def no_file(folder: Path) -> None:
    (folder / "tls.key").unlink()


def a_password(folder: Path) -> None:
    command = ["openssl", "ec", "-in", "tls.key", "-out", "locked.key", "-aes256", "-passout", "pass:pw"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "locked.key").replace(folder / "tls.key")


def an_odd_curve(folder: Path) -> None:
    make_certificate(folder, kind=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"))


@pytest.mark.parametrize("role", ["standalone", "ticket"])
@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (mismatch, "they do not belong together"),
        (a_key_of_another_kind, "they do not belong together"),
        (no_pem, "can't be used"),
        (no_file, "the certificate can't be read"),
        (a_password, "has a password"),
        (an_odd_curve, "ECDSA on P-256 or P-384"),
    ],
)
def test_files_that_can_not_be_used_are_one_clear_line(tmp_path: Path, role: str, spoil: object, part: str) -> None:
    make_certificate(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)

    one_clear_line(run(role, "-p", "0", *OPTIONS, cwd=tmp_path), ["tls.", part] if spoil is not a_password else [part])


@pytest.mark.parametrize("given", [OPTIONS[:2], OPTIONS[2:]])
def test_a_certificate_without_its_key_is_one_clear_line(tmp_path: Path, given: tuple[str, str]) -> None:
    one_clear_line(run("standalone", "-p", "0", *given, cwd=tmp_path), ["--tls-certificate and --tls-key belong together"])
