"""Tokens for OAUTHBEARER: how long they are good, whom the endpoint must convince, and what is told of it."""

from __future__ import annotations

import ssl

import httpx
import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError

from ticketmaster.broker.kafka import oauth
from ticketmaster.broker.kafka.settings import OauthClient

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("expires_in", "life_s"),
    [
        ("3599", 3599),
        ('"3599"', 3599),
        ('"3599.5"', 3599.5),
        ("3599.5", 3599.5),
        ("0", 60),
        ("-1", 60),
        ("null", 60),
        ("[3599]", 60),
        ("{}", 60),
        ('""', 60),
        ('"soon"', 60),
        ('"nan"', 60),
        ('"1e999"', 86_400),
    ],
)
def test_a_life_is_taken_as_number_or_text_and_is_short_where_it_makes_no_sense(expires_in: str, life_s: float) -> None:
    answer = msgspec.json.decode(f'{{"access_token": "t", "expires_in": {expires_in}}}', type=oauth._Answer)

    assert answer.life_s == life_s


@pytest.mark.parametrize(
    "url", [f"http://svc:{SECRET}@127.0.0.1:1/token", f"http://127.0.0.1:1/token?code={SECRET}", f"http://{SECRET}@127.0.0.1:1"]
)
async def test_an_error_tells_the_endpoint_without_what_may_be_a_secret(url: str) -> None:
    client = OauthClient(token_url=url, client_id="c", client_secret=SECRET)
    with pytest.raises(KafkaConnectionError) as raised:
        await oauth.TokenProvider(client, 500).token()

    assert "http://127.0.0.1:1" in str(raised.value)
    assert not any(SECRET in text for text in (str(raised.value), repr(raised.value), repr(client)))


async def test_the_endpoint_must_convince_the_system_s_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ssl.SSLContext] = []
    real = httpx.AsyncClient

    def client(**arguments: object) -> httpx.AsyncClient:
        assert isinstance(arguments["verify"], ssl.SSLContext)
        seen.append(arguments["verify"])
        return real(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"access_token": "t"})))

    monkeypatch.setattr(httpx, "AsyncClient", client)
    assert await oauth.TokenProvider(OauthClient(token_url="https://login", client_id="c", client_secret="s"), 500).token() == "t"

    assert [context.get_ca_certs() for context in seen] == [ssl.create_default_context().get_ca_certs()]
    assert seen[0].check_hostname
