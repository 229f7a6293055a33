"""Asking other ticket processes, over one kept cleartext HTTP/2 connection to each.

On h2 directly: a pool such as httpx's admits 100 streams a connection, and whatever comes then waits behind long polls. Here a
connection carries as many as the peer allows, an ask costs no coroutine and no timer, and what is asked within one turn of the loop
leaves in one write. What h2 does for each stream and a peer needs not is left out: see :class:`_Http`.

A peer may be gone without a word: its machine lost power, or a router forgot the connection. So a peer that says nothing while it is
asked gets a PING. A connection on which nothing comes for some seconds is closed: its asks fail, and the next ask connects anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import takewhile
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import Encoder, NeverIndexedHeaderTuple

from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.peersecret import HEADER

_PATH = b"/internal/v1/reservation/"
_CONNECT_TIMEOUT_S = 1.0
_LOOK_S = 0.25
_IDLE_S = 60.0
# A connection is silent while nothing comes though something is asked: it is asked for a sign of life, and given up in the end.
_PING_S = 1.0
_SILENT_S = 4.0
# So long nobody connects to a peer that has answered nothing on its last connection.
_REST_S = 1.0
_WAITING_MAX = 50_000
_BODY_BYTES_MAX = 1 << 20
# Answers are small and many: no stream shall wait for the others' to be acknowledged.
_WINDOW_BYTES = 1 << 30
_NO_STREAMS_LEFT = 1 << 30
_PING = b"answers?"

OnAnswer = Callable[[bytes, int, bytes, bytes], None]
OnFailure = Callable[[bytes], None]


class _PlainEncoder(Encoder):
    """Without Huffman's code, which costs more time than all the rest of a request and saves a fifth of its bytes."""

    def encode(self, headers: Iterable[Any], huffman: bool = False) -> bytes:  # noqa: FBT001, FBT002 - h2 calls it as hpack has it
        return super().encode(headers, huffman=huffman)


class _Http(H2Connection):
    """h2 without what grows with the streams that are open: it counts them all for each that it opens."""

    def __init__(self) -> None:
        # What is sent is well formed, and what comes is from a process of this program.
        super().__init__(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.encoder = _PlainEncoder()

    @property
    def open_outbound_streams(self) -> int:
        """None, for h2's own check of the peer's limit: the link keeps it."""
        return 0

    def forget_closed(self) -> None:
        """Drops the streams that are done, which h2 does when it counts."""
        _ = super().open_outbound_streams


class _Answer:
    """An answer as far as it has come."""

    __slots__ = ("body", "deadline", "key", "post", "status", "traceparent")

    def __init__(self, key: bytes, post: Post | None, deadline: float) -> None:
        self.key = key
        # What is asked, where that is not the reservation of this key.
        self.post = post
        self.deadline = deadline
        self.status = 0
        self.traceparent = b""
        self.body = b""


class _Link(asyncio.Protocol):
    """The connection to one peer, from its opening to its end."""

    def __init__(self, address: str, on_answer: OnAnswer, on_failure: OnFailure, deadline_s: float, rest_s: float, secret: bytes) -> None:
        """Connects after ``rest_s``. ``secret``: as of :meth:`prove_by`."""
        self._loop = asyncio.get_running_loop()
        always = [(b":scheme", b"http"), (b":authority", address.encode())]
        self._headers = [(b":method", b"GET"), *always]
        self._post_headers = [(b":method", b"POST"), *always]
        self.prove_by(secret)
        self._on_answer = on_answer
        self._on_failure = on_failure
        self._deadline_s = deadline_s
        self._http = _Http()
        self._transport: asyncio.Transport | None = None
        self._unsent: deque[_Answer] = deque()
        self._streams: dict[int, _Answer] = {}
        self._streams_max = 100
        self._flushing = False
        # The peer reads slower than it is asked: what is not sent yet waits here, where it can expire.
        self._is_full = False
        # Looks in a row at which something was asked and nothing had come. Looks, not time: when this process itself stood still, it has
        # not read yet what came meanwhile.
        self._silent_looks = 0
        self._answered_at: float | None = None
        self.closed = False
        self.used_at = self.closed_at = self._loop.time()
        self._opening = asyncio.ensure_future(self._open(address, rest_s))

    def prove_by(self, secret: bytes) -> None:
        """Shows the peer from now on that a process of its own kind asks; without a secret, if that is empty."""
        self._proof = [(HEADER.encode(), secret)] if secret else []

    async def _open(self, address: str, rest_s: float) -> None:
        host, _, port = address.rpartition(":")
        try:
            await asyncio.sleep(rest_s)
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: self, host.strip("[]"), int(port))
        except (OSError, ValueError, OverflowError):
            self.close(tell=True)

    def ask(self, key: bytes, post: Post | None) -> None:
        """Asks soon; the answer or the failure is told later."""
        self.used_at = self._loop.time()
        self._unsent.append(_Answer(key, post, self.used_at + self._deadline_s))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing and self._transport:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.closed or self._is_full or not self._transport:
            return
        http, streams, unsent = self._http, self._streams, self._unsent
        try:
            while unsent and len(streams) < self._streams_max:
                asked = unsent[0]
                if asked.post and len(asked.post.body) > http.remote_settings.initial_window_size:
                    # It could not leave in one piece.
                    self._loop.call_soon(self._on_failure, unsent.popleft().key)
                    continue
                number = http.get_next_available_stream_id()
                # A path comes once: in the table of headers it would only push out those that come again.
                if asked.post is None:
                    path = NeverIndexedHeaderTuple(b":path", _PATH + asked.key)
                    http.send_headers(number, [*self._headers, path, *self._proof], end_stream=True)
                elif not self._send_post(number, asked.post):
                    break
                streams[number] = unsent.popleft()
        except ProtocolError:
            # Stream numbers run out after a billion: the next ask opens a new connection.
            self.close(tell=True)
            return
        self._transport.write(http.data_to_send())

    def _send_post(self, number: int, post: Post) -> bool:
        """Sends a request with its body; False: the peer must take other bodies first."""
        http = self._http
        size = len(post.body)
        if size > http.outbound_flow_control_window:
            return False
        length = NeverIndexedHeaderTuple(b"content-length", b"%d" % size)
        more = [NeverIndexedHeaderTuple(name.encode(), value) for name, value in post.headers]
        path = NeverIndexedHeaderTuple(b":path", _PATH + post.path)
        http.send_headers(number, [*self._post_headers, path, *self._proof, length, *more])
        frame_bytes_max = http.max_outbound_frame_size
        for at in range(0, size, frame_bytes_max):
            http.send_data(number, post.body[at : at + frame_bytes_max], end_stream=at + frame_bytes_max >= size)
        return True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's is one by its methods only.
        self._transport = cast("asyncio.Transport", transport)
        if self.closed:
            self._transport.abort()
            return
        self._silent_looks = 0
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _BODY_BYTES_MAX})
        self._http.increment_flow_control_window(_WINDOW_BYTES)
        self._flush()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        self._silent_looks = 0
        try:
            events = self._http.receive_data(data)
        except Exception:  # noqa: BLE001 - mostly a ProtocolError, but h2 does not say what else rubbish may raise
            self.close(tell=True)
            return
        for event in events:
            match event:
                case ResponseReceived(stream_id=number) if number in self._streams:
                    headers, answer = dict(event.headers or ()), self._streams[number]
                    answer.status, answer.traceparent = _status(headers), headers.get(b"traceparent", b"")
                case DataReceived(stream_id=number):
                    self._http.acknowledge_received_data(event.flow_controlled_length or 0, number)
                    self._take_body(number, event.data or b"")
                case StreamEnded(stream_id=number) if number in self._streams:
                    answer = self._streams.pop(number)
                    self._answered_at = self._loop.time()
                    self._on_answer(answer.key, answer.status, answer.body, answer.traceparent)
                case StreamReset(stream_id=number) if number in self._streams:
                    self._on_failure(self._streams.pop(number).key)
                case RemoteSettingsChanged():
                    self._streams_max = min(self._http.remote_settings.max_concurrent_streams, _NO_STREAMS_LEFT)
                case ConnectionTerminated():
                    # Whatever streams the peer would still answer, h2 takes no frame behind this one.
                    self.close(tell=True)
                    return
                case _:
                    pass
        self._flush_soon()

    def _take_body(self, number: int, data: bytes) -> None:
        answer = self._streams.get(number)
        if answer is None:
            return
        answer.body += data
        if len(answer.body) > _BODY_BYTES_MAX:
            self._http.reset_stream(number)
            self._on_failure(self._streams.pop(number).key)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(tell=True)

    # Looking after it.

    def look(self, now: float) -> None:
        """Fails what was asked too long ago, and closes a connection that is good for nothing any more."""
        if self.closed:
            return
        self._http.forget_closed()
        if not self.waiting:
            if now - self.used_at > _IDLE_S:
                self.close(tell=False)
            return
        expired = self._take_expired(now)
        # A peer that lives answers each ask in time, if only that it does not know: this one did nothing for a whole deadline.
        useless = bool(expired) and (self._answered_at or 0.0) < expired[0].deadline - self._deadline_s
        for answer in expired:
            self._on_failure(answer.key)
        if useless or self._is_silent():
            if self._transport and not self._is_full:
                # The last that a peer hears which reads after all: that nobody waits for its answers.
                self._transport.write(self._http.data_to_send())
            self.close(tell=True)
        else:
            self._flush_soon()

    def _take_expired(self, now: float) -> list[_Answer]:
        """What was asked too long ago, the oldest first; the peer is told that nobody waits for it."""
        expired = list(takewhile(lambda number: self._streams[number].deadline <= now, self._streams))
        for number in expired:
            with suppress(ProtocolError):
                self._http.reset_stream(number)
        answers = [self._streams.pop(number) for number in expired]
        while self._unsent and self._unsent[0].deadline <= now:
            answers.append(self._unsent.popleft())
        return answers

    def _is_silent(self) -> bool:
        """Whether nothing has come for too long; asks for a sign of life before that is so."""
        if not self.waiting or not self._transport:
            return False
        self._silent_looks += 1
        silent_s = self._silent_looks * _LOOK_S
        if self._silent_looks == round(_PING_S / _LOOK_S):
            self._http.ping(_PING)
        return silent_s > min(_SILENT_S, self._deadline_s)

    @property
    def waiting(self) -> int:
        """How many answers are waited for."""
        return len(self._streams) + len(self._unsent)

    @property
    def has_answered(self) -> bool:
        """Whether the peer has answered anything."""
        return self._answered_at is not None

    def close(self, *, tell: bool) -> None:
        """Ends the connection; ``tell`` fails what is not answered yet."""
        if self.closed:
            return
        self.closed, self.closed_at = True, self._loop.time()
        self._opening.cancel()
        if self._transport:
            self._transport.abort()
        unanswered = [*self._streams.values(), *self._unsent]
        self._streams.clear()
        self._unsent.clear()
        if tell:
            for answer in unanswered:
                self._on_failure(answer.key)


def _status(headers: dict[bytes, bytes]) -> int:
    """The status of an answer; 0 where it has none."""
    status = headers.get(b":status", b"")
    return int(status) if len(status) == 3 and status.isdigit() else 0


class Peers:
    """The other ticket processes, by address."""

    def __init__(self, on_answer: OnAnswer, on_failure: OnFailure, deadline_ms: int) -> None:
        """``on_answer(key, status, body, traceparent)`` or ``on_failure(key)`` is called once for each ask, later; neither may raise."""
        self._on_answer = on_answer
        self._on_failure = on_failure
        self._deadline_s = deadline_ms / 1000
        self._rest_s = min(_REST_S, self._deadline_s / 4)
        # With those that were closed a moment ago.
        self._links: dict[str, _Link] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False
        self._secret = b""

    def prove_by(self, secret: bytes) -> None:
        """Shows all from now on that one of them asks."""
        self._secret = secret
        for link in self._links.values():
            link.prove_by(secret)

    def ask(self, address: str, key: bytes, post: Post | None = None) -> None:
        """Asks the process at ``host:port`` for a reservation by its id; or to do something, which is told by this key."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        link = self._links.get(address)
        if link is None or link.closed:
            rest_s = 0.0 if link is None or link.has_answered else max(link.closed_at + self._rest_s - loop.time(), 0.0)
            link = self._links[address] = _Link(address, self._on_answer, self._fail, self._deadline_s, rest_s, self._secret)
        if link.waiting >= _WAITING_MAX:
            loop.call_soon(self._fail, key)
            return
        link.ask(key, post)
        if self._looking is None:
            self._looking = loop.call_later(_LOOK_S, self._look)

    def _fail(self, key: bytes) -> None:
        if not self._closed:
            self._on_failure(key)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for address, link in tuple(self._links.items()):
            link.look(now)
            # Clients that were told of a failure may have asked again, on a new connection.
            if link.closed and now - link.closed_at >= self._rest_s and self._links[address] is link:
                del self._links[address]
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look) if self._links else None

    def close(self) -> None:
        """Ends all connections; nothing is told any more."""
        self._closed = True
        if self._looking:
            self._looking.cancel()
        for link in self._links.values():
            link.close(tell=False)
