"""HTTP/1.1 and cleartext HTTP/2 over libcurl's multi interface: thousands of transfers on one selector, without a coroutine for each."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from enum import Enum
from typing import Any, Protocol

import pycurl

INFO_READ_MAX = 1_000
# One buffer a transfer; replies are smaller than this, and large buffers cost page faults.
RECEIVE_BUFFER_BYTES = 2_048
CONNECT_TIMEOUT_MS = 10_000
STREAMS_MAX = 100_000

ERROR_NAMES = {
    pycurl.E_URL_MALFORMAT: "malformed host",
    pycurl.E_COULDNT_RESOLVE_HOST: "host unknown",
    pycurl.E_COULDNT_CONNECT: "connection refused",
    pycurl.E_OPERATION_TIMEDOUT: "timed out",
    pycurl.E_GOT_NOTHING: "connection closed without a reply",
    pycurl.E_SEND_ERROR: "connection lost while sending",
    pycurl.E_SEND_FAIL_REWIND: "connection lost after sending",
    pycurl.E_RECV_ERROR: "connection lost while receiving",
    pycurl.E_PARTIAL_FILE: "reply cut short",
    pycurl.E_HTTP2: "HTTP/2 error",
    8: "no HTTP reply",  # CURLE_WEIRD_SERVER_REPLY and CURLE_HTTP2_STREAM, which pycurl does not name
    92: "HTTP/2 stream error",
}


# Of a gateway that asks for one; it needs the scopes organiser and seller. Not an option: everybody sees those in a list of processes.
TOKEN_VARIABLE = "TICKETMASTER_SPIKE_TOKEN"  # noqa: S105 - a name


class UnreachableError(Exception):
    """No HTTP reply came; the text says why in a few words."""


class Kind(Enum):
    """The request of a transfer."""

    POST = "POST"
    GET = "GET"
    CHANGE = "change"


class Exchange(Protocol):
    """Whatever the caller has to know again when a transfer is done."""


def error_name(code: int) -> str:
    """A transport error in a few words."""
    return ERROR_NAMES.get(code, f"libcurl error {code}")


class Transfer(pycurl.Curl):
    """A reusable libcurl handle: one request and its reply at a time."""

    exchange: Any
    kind: Kind

    def __init__(self, *, http2: bool, timeout_s: float) -> None:
        super().__init__()
        self.payload = b""
        self._chunks: list[bytes] = []
        self._token: list[str] = []
        self.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if http2 else pycurl.CURL_HTTP_VERSION_1_1)
        self.setopt(pycurl.WRITEFUNCTION, self._chunks.append)
        self.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout_s * 1_000)))
        self.setopt(pycurl.CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS)
        self.setopt(pycurl.BUFFERSIZE, RECEIVE_BUFFER_BYTES)
        self.setopt(pycurl.NOSIGNAL, 1)
        self.setopt(pycurl.PROXY, "")
        if token := os.environ.get(TOKEN_VARIABLE):
            self._token = [f"Authorization: Bearer {token}"]
            self.setopt(pycurl.HTTPHEADER, self._token)
        # The others wait for the first one's HTTP/2 connection instead of opening their own.
        self.setopt(pycurl.PIPEWAIT, 1)

    def be_post(self, url: str) -> None:
        """Become a POST of JSON to this URL.

        The body comes from a callback that can't rewind: libcurl would otherwise send a POST again by itself when a kept
        connection closes under it, and a reservation would be made that nobody knows of.
        """
        self.kind = Kind.POST
        self.setopt(pycurl.URL, url)
        self.setopt(pycurl.POST, 1)
        self.setopt(pycurl.READFUNCTION, self._read)
        self.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json", "Expect:", *self._token])

    def be_change(self, method: str, url: str) -> None:
        """Become a payment or a cancellation at this URL."""
        self.be_post(url)
        self.kind = Kind.CHANGE
        self.setopt(pycurl.CUSTOMREQUEST, method)

    def carry(self, body: bytes) -> None:
        """Send this body next."""
        self.payload = body
        self.setopt(pycurl.POSTFIELDSIZE, len(body))

    def be_get(self) -> None:
        """Become a GET; each request sets its URL."""
        self.kind = Kind.GET
        self.setopt(pycurl.HTTPGET, 1)

    def _read(self, size: int) -> bytes:
        chunk, self.payload = self.payload[:size], self.payload[size:]
        return chunk

    def status(self) -> int:
        """The reply's HTTP status."""
        status: int = self.getinfo(pycurl.RESPONSE_CODE)
        return status

    def retry_after_s(self) -> int:
        """The reply's Retry-After, 0 without one."""
        seconds: int = self.getinfo(pycurl.RETRY_AFTER)
        return seconds

    def take_body(self) -> bytes:
        """The reply's body; the next reply starts with an empty one."""
        body = b"".join(self._chunks)
        self._chunks.clear()
        return body


class Client:
    """One HTTP client: its connections, and the transfers on them.

    The owner selects, hands sockets and due timers in, and takes what is completed. Not thread-safe.
    """

    def __init__(self, url: str, event: str, selector: selectors.BaseSelector, *, http2: bool, connections: int, timeout_s: float) -> None:
        self.due_s: float | None = None
        self._http2 = http2
        self._timeout_s = timeout_s
        self._post_url = f"{url}/v1/event/{event}/reservation"
        self._get_url = f"{url}/v1/reservation/"
        self._selector = selector
        self._sockets: set[int] = set()
        self._idle: dict[Kind, list[Transfer]] = {kind: [] for kind in Kind}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX if http2 else pycurl.PIPE_NOTHING)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, STREAMS_MAX)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_interest)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer_set)

    def post(self, exchange: Exchange, body: bytes) -> None:
        """Start to ask for seats."""
        if idle := self._idle[Kind.POST]:
            transfer = idle.pop()
        else:
            transfer = Transfer(http2=self._http2, timeout_s=self._timeout_s)
            transfer.be_post(self._post_url)
        transfer.exchange = exchange
        transfer.carry(body)
        self._multi.add_handle(transfer)

    def get(self, exchange: Exchange, reservation_id: str) -> None:
        """Start to wait for a decision."""
        if idle := self._idle[Kind.GET]:
            transfer = idle.pop()
        else:
            transfer = Transfer(http2=self._http2, timeout_s=self._timeout_s)
            transfer.be_get()
        transfer.exchange = exchange
        transfer.setopt(pycurl.URL, self._get_url + reservation_id)
        self._multi.add_handle(transfer)

    def pay(self, exchange: Exchange, reservation_id: str, body: bytes) -> None:
        """Start to pay for a reservation."""
        self._change(exchange, "POST", f"{self._get_url}{reservation_id}/payment", body)

    def cancel(self, exchange: Exchange, reservation_id: str) -> None:
        """Start to cancel a reservation."""
        self._change(exchange, "DELETE", self._get_url + reservation_id, b"")

    def _change(self, exchange: Exchange, method: str, url: str, body: bytes) -> None:
        idle = self._idle[Kind.CHANGE]
        transfer = idle.pop() if idle else Transfer(http2=self._http2, timeout_s=self._timeout_s)
        transfer.be_change(method, url)
        transfer.exchange = exchange
        transfer.carry(body)
        self._multi.add_handle(transfer)

    def on_socket(self, descriptor: int, events: int) -> None:
        """Read and write what a ready socket allows. `events` are the selector's, whose bits are libcurl's."""
        self._multi.socket_action(descriptor, events)

    def on_timer(self) -> None:
        """Do what is due: start new transfers, end the late ones."""
        self.due_s = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def completed(self) -> Iterator[tuple[Transfer, int]]:
        """Each transfer that is done, with its transport error or 0. It is reused once the caller asks for the next one."""
        queued = 1
        while queued:
            queued, replied, broken = self._multi.info_read(INFO_READ_MAX)
            for done, code in [*((curl, 0) for curl in replied), *((curl, code) for curl, code, _ in broken)]:
                assert isinstance(done, Transfer)
                self._multi.remove_handle(done)
                yield done, code
                done.exchange = None
                self._idle[done.kind].append(done)

    def close(self) -> None:
        """Drop every connection, with what is on it."""
        self._multi.close()
        for descriptor in self._sockets:
            self._selector.unregister(descriptor)
        self._sockets.clear()

    def _on_interest(self, what: int, descriptor: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if descriptor in self._sockets:
                self._sockets.remove(descriptor)
                self._selector.unregister(descriptor)
        elif descriptor in self._sockets:
            self._selector.modify(descriptor, what, self)
        else:
            self._sockets.add(descriptor)
            self._selector.register(descriptor, what, self)

    def _on_timer_set(self, milliseconds: int) -> None:
        self.due_s = None if milliseconds < 0 else time.monotonic() + milliseconds / 1_000


class Api:
    """The server's other routes, one request after another."""

    def __init__(self, url: str, *, http2: bool, timeout_s: float) -> None:
        self._url = url
        self._get = Transfer(http2=http2, timeout_s=timeout_s)
        self._get.be_get()
        self._post = Transfer(http2=http2, timeout_s=timeout_s)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body. Raises `UnreachableError` when no reply comes."""
        self._get.setopt(pycurl.URL, self._url + path)
        return self._perform(self._get)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body. Raises `UnreachableError` when no reply comes."""
        self._post.be_post(self._url + path)
        self._post.carry(body)
        return self._perform(self._post)

    @staticmethod
    def _perform(transfer: Transfer) -> tuple[int, bytes]:
        transfer.take_body()  # what an earlier request left that broke
        try:
            transfer.perform()
        except pycurl.error as error:
            raise UnreachableError(error_name(int(error.args[0]))) from error
        return transfer.status(), transfer.take_body()
