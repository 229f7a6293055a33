"""Requests as HTTP/2 streams, with nothing checked on the way out."""

from __future__ import annotations

from dataclasses import dataclass, field

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.fuzz.answers import Answer, BrokenAnswer, Line
from tests.fuzz.frames import configuration, headers_of
from tests.fuzz.messages import Message

_WINDOW_BYTES = 1 << 24


@dataclass(slots=True)
class _Stream:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    was_reset: bool = False


class Streams:
    """A connection by prior knowledge."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._h2 = H2Connection(configuration())
        self._streams: dict[int, _Stream] = {}
        self.is_over = False

    @classmethod
    async def open(cls, host: str, port: int) -> Streams:
        """Connects. OSError: nobody listens."""
        streams = cls(await Line.open(host, port))
        streams._h2.initiate_connection()
        streams._h2.increment_flow_control_window(_WINDOW_BYTES)
        await streams._flush()
        return streams

    async def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not await self.line.send(data):
            self.is_over = True

    async def _receive(self) -> None:
        """Takes what comes next. BrokenAnswer: it breaks the protocol."""
        alive = bool(self.line.received) or await self.line.receive()
        data = bytes(self.line.received)
        self.line.received.clear()
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except ProtocolError as cause:
            raise BrokenAnswer(f"HTTP/2: {cause!r}") from cause
        self.is_over = self.is_over or not alive
        await self._flush()

    def _on_event(self, event: object) -> None:
        if isinstance(event, ConnectionTerminated):
            self.is_over = True
        if not isinstance(event, ResponseReceived | DataReceived | StreamEnded | StreamReset):
            return
        stream = self._streams[event.stream_id]
        if isinstance(event, ResponseReceived):
            headers = {bytes(name).decode(): bytes(value).decode("latin-1") for name, value in event.headers}
            stream.status = int(headers.pop(":status"))
            stream.headers = headers
        elif isinstance(event, DataReceived):
            stream.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        else:
            stream.ended = True
            # After a whole answer, "no error" only says that the rest of the request is not wanted.
            answered = stream.status and isinstance(event, StreamReset) and event.error_code == ErrorCodes.NO_ERROR
            stream.was_reset = isinstance(event, StreamReset) and not answered

    async def start(self, message: Message, body_bytes: int | None = None) -> int:
        """Opens a stream and sends the request, as much of its body as ``body_bytes``. Returns its number."""
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = _Stream()
        body = message.sent_body()
        whole = body_bytes is None
        self._h2.send_headers(number, headers_of(message), end_stream=whole and not body)
        await self._flush()
        rest = memoryview(body if whole else body[:body_bytes])
        while rest and not stream.ended and not self.is_over:
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                await self._receive()
                continue
            piece, rest = bytes(rest[:room]), rest[room:]
            self._h2.send_data(number, piece, end_stream=whole and not rest)
            await self._flush()
        return number

    async def answer(self, number: int) -> Answer | None:
        """The answer on a stream; None: the server has reset it, or closed the connection. BrokenAnswer: it is none."""
        stream = self._streams[number]
        while not stream.ended and not self.is_over:
            await self._receive()
        del self._streams[number]
        if stream.was_reset or not stream.ended:
            return None
        length = stream.headers.get("content-length")
        if length is not None and stream.body and int(length) != len(stream.body):
            raise BrokenAnswer(f"HTTP/2: {len(stream.body)} bytes of a body of {length}")
        return Answer(stream.status, stream.headers, bytes(stream.body))

    async def cancel(self, number: int) -> None:
        """Breaks a stream off."""
        if not self._streams[number].ended and not self.is_over:
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
            await self._flush()

    def close(self) -> None:
        """Closes the connection."""
        self.line.close()
