"""Two gateways that ask for tokens, speak TLS and know each other by a secret, on a real Kafka."""

from __future__ import annotations

import asyncio
import ssl
from itertools import cycle
from pathlib import Path

import httpx

from tests.chaos.fleet import READY_S, Fleet
from tests.e2e.site import announce, problem, seats
from tests.support.certificates import make_certificate, trusting
from tests.support.doors import bearing, line
from tests.support.systems import needs_renewal
from ticketmaster.ticket.access import Scope

MANY = 40
WORKERS = 3
# Of so many, each worker gets some.
NEW_CONNECTIONS = 40
RENEWED_S = 90.0
LINES = (
    line("organiser", Scope.ORGANISER),
    line("seller", Scope.SELLER),
    line("gala", Scope.BOX_OFFICE, events="gala*"),
)


async def test_any_gateway_serves_any_reservation_behind_its_doors(fleet: Fleet, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "tokens.txt").write_text("\n".join(one.text for one in LINES))
    (tmp_path / "secret").write_text("a-secret-of-both-of-them")
    options = (
        *("--tokens", str(tmp_path / "tokens.txt"), "--peer-secret-file", str(tmp_path / "secret"), "--reservations-need-token"),
        *("--tls-certificate", str(certificate), "--tls-key", str(key)),
    )
    started = [fleet.start("reservation"), fleet.start("event"), *(fleet.start("ticket", *options) for _ in range(2))]
    for program in started:
        await asyncio.to_thread(program.wait_ready_line, READY_S)
    context = trusting(certificate)
    clients = [httpx.AsyncClient(base_url=f"https://{address}", verify=context, timeout=20) for address in fleet.addresses()]
    first, second = clients
    async with first, second:
        first.headers.update(bearing("organiser"))
        for name in ("concert", "gala"):
            await announce(first, name, rows=10, cols=20)
        del first.headers["authorization"]
        assert problem(await second.get("/v1/event")) == (401, "token_needed")
        # Half of these live at the other process, which is asked by the secret.
        turns = zip(range(MANY), cycle(("concert", "gala")), cycle((first, first, second, second)), strict=False)
        for _, event, client in turns:
            other = second if client is first else first
            asked = await client.post(f"/v1/event/{event}/reservation", json=seats(), headers=bearing("seller"))
            path = f"/v1/reservation/{asked.text}"
            assert (await other.get(path, headers=bearing("organiser"))).json()["state"] == "RESERVED"
            paid = await client.post(f"{path}/payment", json={"reference": "7"}, headers=bearing("seller"))
            assert paid.json()["state"] == "PAID"
            refund = await other.delete(f"{path}?refund=true", headers=bearing("gala"))
            if event == "gala":
                assert refund.json()["state"] == "CANCELLED"
            else:
                assert problem(refund) == (403, "other_event")
            inside = f"/internal/v1/reservation/{asked.text}"
            assert problem(await client.get(inside, headers=bearing("organiser"))) == (404, "no_such_path")
    assert fleet.logged("peer_refused") == []
    fleet.stop_all()
    fleet.audit()


async def certificates_of(address: str) -> set[bytes]:
    """Those that new connections are shown, of which each worker gets some."""
    host, _, port = address.rpartition(":")
    found: set[bytes] = set()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(NEW_CONNECTIONS):
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found.add(shown)
        writer.close()
        await writer.wait_closed()
    return found


def der_of(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


async def test_workers_of_one_port_speak_tls_and_all_use_a_certificate_that_is_renewed(fleet: Fleet, tmp_path: Path) -> None:
    needs_renewal()
    certificate, key = make_certificate(tmp_path)
    first = der_of(certificate)
    options = ("-a", str(WORKERS), "--tls-certificate", str(certificate), "--tls-key", str(key))
    for program in (fleet.start("reservation"), fleet.start("event"), fleet.start("ticket", *options)):
        await asyncio.to_thread(program.wait_ready_line, READY_S)
    (address,) = fleet.addresses()

    async def sell(name: str) -> None:
        """Each request on a connection of its own: by whichever worker, and of whichever the reservation is."""
        context = trusting(certificate)
        for number in range(MANY):
            async with httpx.AsyncClient(base_url=f"https://{address}", verify=context, timeout=20) as client:
                if number == 0:
                    await announce(client, name, rows=10, cols=20)
                asked = await client.post(f"/v1/event/{name}/reservation", json=seats())
            async with httpx.AsyncClient(base_url=f"https://{address}", verify=context, timeout=20) as client:
                assert (await client.get(f"/v1/reservation/{asked.text}")).json()["state"] == "RESERVED"

    assert await certificates_of(address) == {first}
    await sell("before")
    make_certificate(tmp_path)
    second = der_of(certificate)
    async with asyncio.timeout(RENEWED_S):
        while await certificates_of(address) != {second}:
            await asyncio.sleep(0.1)
    await sell("after")
    # A worker tells it when the server before has come to its end.
    async with asyncio.timeout(RENEWED_S):
        while len(fleet.logged("reloaded")) < WORKERS:
            await asyncio.sleep(0.1)
    fleet.stop_all()
    fleet.audit()
