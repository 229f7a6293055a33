"""Tokens for SASL OAUTHBEARER, by client credentials."""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import Any

import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from ticketmaster.broker.kafka.settings import OauthClient
from ticketmaster.imports import without_rich
from ticketmaster.proxies import by_proxy, proxy_for
from ticketmaster.urls import told

with without_rich():
    import httpx

# A token is used for this part of its life, so that none expires on its way.
_USED_SHARE = 0.8
_LIFE_UNKNOWN_S = 60.0
_LIFE_MAX_S = 86_400.0


class TokenRefused(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """The token endpoint answers, and gives this client no token."""


class _Answer(msgspec.Struct):
    """What a token endpoint says (RFC 6749, section 5.1)."""

    access_token: str
    # Seconds; some servers send them as text (RFC 6749 has a number).
    expires_in: Any = None

    @property
    def life_s(self) -> float:
        """How long the token is good. Where that can't be told it is asked for again soon."""
        try:
            life_s = float(self.expires_in)
        except (TypeError, ValueError):
            return _LIFE_UNKNOWN_S
        return min(life_s, _LIFE_MAX_S) if life_s > 0 else _LIFE_UNKNOWN_S


# Wherefrom every client of the process has its token: one request to the endpoint, not one a producer.
@lru_cache(maxsize=16)
def token_provider(client: OauthClient, request_timeout_ms: int) -> TokenProvider:
    """The process's provider for this client."""
    return TokenProvider(client, request_timeout_ms)


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Fetches a token when the last one is about to expire."""

    def __init__(self, client: OauthClient, request_timeout_ms: int) -> None:
        self._client = client
        self._timeout_s = request_timeout_ms / 1000
        self._token = ""
        self._good_until_s = 0.0
        # Seconds of a loop's clock mean nothing to another loop.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fetching = asyncio.Lock()

    async def token(self) -> str:
        """A token that is still good; raises KafkaConnectionError, which aiokafka's clients retry."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._token, self._fetching = loop, "", asyncio.Lock()
        async with self._fetching:
            if not self._token or loop.time() >= self._good_until_s:
                asked_at_s = loop.time()
                answer = await self._fetch()
                self._token, self._good_until_s = answer.access_token, asked_at_s + answer.life_s * _USED_SHARE
            return self._token

    def extensions(self) -> dict[str, str]:
        return dict(self._client.extensions)

    async def _fetch(self) -> _Answer:
        url = self._client.token_url
        where, proxy = told(url), proxy_for(url)
        form: dict[str, Any] = {"grant_type": "client_credentials"}
        if self._client.scope:
            form["scope"] = self._client.scope
        try:
            # The system's authorities: httpx has a list of its own.
            arguments: dict[str, Any] = {"verify": ssl.create_default_context(), "trust_env": False, "timeout": self._timeout_s}
            async with httpx.AsyncClient(proxy=proxy.url if proxy else None, **arguments) as http:
                answer = await http.post(url, data=form, auth=(self._client.client_id, self._client.client_secret))
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            raise KafkaConnectionError(f"the token endpoint {where} does not answer{by_proxy(proxy)}: {cause!r}") from cause
        if answer.status_code != httpx.codes.OK:
            text = f"the token endpoint {where} refuses client {self._client.client_id}: HTTP {answer.status_code}{by_proxy(proxy)}"
            passing = answer.status_code >= 500 or answer.status_code in (408, 429)
            raise KafkaConnectionError(text) if passing else TokenRefused(text)
        try:
            return msgspec.json.decode(answer.content, type=_Answer)
        except (msgspec.MsgspecError, UnicodeError):
            # Neither the answer nor the cause is told: a token may stand in them.
            raise TokenRefused(f"the token endpoint {where} answers without an access_token") from None
