"""TLS on the port for clients: both versions of HTTP, and certificates that are renewed while clients are served."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import LIMITS
from tests.e2e.site import TIMEOUT_S, Site, announce, seats, site
from tests.support.certificates import make_certificate, trusting
from tests.support.systems import needs_renewal
from ticketmaster.errors import UsageError
from ticketmaster.ticket.settings import Certificate, ServerSettings

# A client's next answer closes its connection for so long.
LAME_DUCK_MS = 100


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    """A certificate and its key."""
    return Certificate(*make_certificate(tmp_path))


@pytest.fixture
async def secure(settings: ServerSettings, files: Certificate) -> AsyncIterator[Site]:
    """A small site that speaks TLS."""
    async with site(replace(LIMITS, long_poll_ms=2_000), replace(settings, tls=files, lame_duck_ms=LAME_DUCK_MS)) as one:
        yield one


def client_of(one: Site, certificate: Path, version: int) -> httpx.AsyncClient:
    """A client that trusts this certificate only."""
    context = trusting(certificate)
    return httpx.AsyncClient(
        base_url=f"https://localhost:{one.port}", http1=version == 1, http2=version == 2, verify=context, timeout=TIMEOUT_S
    )


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_seats_are_sold_over_tls(secure: Site, files: Certificate, version: int) -> None:
    async with client_of(secure, files.certificate, version) as client:
        await announce(client)
        asked = await client.post("/v1/event/concert/reservation", json=seats())
        read = await client.get(f"/v1/reservation/{asked.text}")

    assert (read.json()["state"], read.http_version) == ("RESERVED", "HTTP/2" if version == 2 else "HTTP/1.1")


@pytest.mark.parametrize(("offered", "chosen"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), (("h2",), "h2"), ((), None)])
async def test_the_version_of_http_is_chosen_by_alpn(
    secure: Site, files: Certificate, offered: tuple[str, ...], chosen: str | None
) -> None:
    _, writer = await asyncio.open_connection(
        "127.0.0.1", secure.port, ssl=trusting(files.certificate, *offered), server_hostname="localhost"
    )
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert connection.selected_alpn_protocol() == chosen
    writer.close()


@pytest.mark.parametrize(
    ("version", "is_taken"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)]
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_versions_from_1_2_on_are_spoken(secure: Site, files: Certificate, version: ssl.TLSVersion, *, is_taken: bool) -> None:
    context = trusting(files.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", secure.port, ssl=context, server_hostname="localhost")
    except (ssl.SSLError, ConnectionError):
        assert not is_taken
    else:
        assert is_taken
        writer.close()


async def test_a_client_without_tls_gets_no_answer_and_disturbs_nobody(secure: Site, files: Certificate) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
    writer.write(b"GET /v1/health_check HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), TIMEOUT_S)
    assert not answer.startswith(b"HTTP/")
    writer.close()
    async with client_of(secure, files.certificate, 1) as client:
        assert (await client.get("/v1/health_check")).status_code == 200


async def certificate_of(one: Site, trusted: Path) -> bytes | None:
    """What a new connection is shown; None: something that is not trusted."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", one.port, ssl=trusting(trusted), server_hostname="localhost")
    except ssl.SSLError:
        return None
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return connection.getpeercert(binary_form=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_a_certificate_is_renewed_while_clients_wait_and_none_is_refused(
    secure: Site, files: Certificate, tmp_path: Path, version: int
) -> None:
    needs_renewal()
    first = tmp_path / "first.pem"
    first.write_bytes(files.certificate.read_bytes())
    unknown = "01a2124a-fc96-7000-8855-0ce95bc3ca78"
    stop = asyncio.Event()

    async def come_and_go() -> int:
        """Clients that trust both, each with a connection of its own."""
        count = 0
        both = tmp_path / "both.pem"
        while not stop.is_set():
            both.write_bytes(first.read_bytes() + files.certificate.read_bytes())
            async with client_of(secure, both, 1) as client:
                assert (await client.get("/v1/health_check")).status_code == 200
            count += 1
        return count

    async with client_of(secure, first, version) as client:
        waiting = asyncio.create_task(client.get(f"/v1/reservation/{unknown}"))
        await until(lambda: secure.gateway.waiting == 1)
        make_certificate(tmp_path)
        coming = asyncio.create_task(come_and_go())

        await secure.renew()

        assert await certificate_of(secure, files.certificate) is not None
        assert await certificate_of(secure, first) is None
        stop.set()
        assert await coming > 0
        if version == 1:
            # Python's HTTP/2 gives up at GOAWAY what is still answered.
            assert (await waiting).status_code == 503
        else:
            await asyncio.gather(waiting, return_exceptions=True)
    # And again: what was renewed once can be renewed.
    make_certificate(tmp_path)
    await secure.renew()
    assert await certificate_of(secure, files.certificate) is not None
    assert not secure.ended


async def test_a_certificate_that_the_server_can_not_use_leaves_the_one_before(secure: Site, files: Certificate, tmp_path: Path) -> None:
    needs_renewal()
    first = tmp_path / "first.pem"
    first.write_bytes(files.certificate.read_bytes())

    async def renew_in_vain() -> None:
        with pytest.raises(UsageError, match="the server does not begin with it"):
            await secure.renew()

    files.certificate.write_bytes(b"")
    await renew_in_vain()
    make_certificate(tmp_path, "other")
    (tmp_path / "other.pem").replace(files.certificate)
    await renew_in_vain()

    assert await certificate_of(secure, first) is not None
    assert not secure.ended
