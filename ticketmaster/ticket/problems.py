"""Errors as clients see them: RFC 9457 problem documents, each with a stable ``code``."""

from __future__ import annotations

import msgspec

Headers = list[tuple[str, str]]
# Status, headers and body.
Answer = tuple[int, Headers, bytes]

_encode = msgspec.json.Encoder().encode

TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class _Document(msgspec.Struct):
    type: str
    title: str
    status: int
    code: str
    detail: str


class Problem(Exception):
    """A refused request: an HTTP status, a stable code, and a sentence that says what to do."""

    def __init__(self, status: int, code: str, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        body = _encode(_Document(f"/docs#{code}", TITLES[status], status, code, detail))
        # Ready to send: under overload a refusal must cost next to nothing.
        self.response: Answer = (
            status,
            [("content-type", "application/problem+json"), ("cache-control", "no-store"), *headers],
            body,
        )


def unavailable(code: str, detail: str, retry_after_s: int = 1) -> Problem:
    """503: it may work later."""
    return Problem(503, code, detail, (("retry-after", str(retry_after_s)),))


def too_many(code: str, detail: str) -> Problem:
    """429: this process has taken on all it may."""
    return Problem(429, code, detail, (("retry-after", "1"),))


def invalid_encoding() -> Problem:
    """400: bytes that are no text."""
    return Problem(400, "invalid_encoding", "The path, or a value of the query, is not UTF-8 in percent-encoding.")


INVALID_ENCODING = invalid_encoding()
INVALID_HOST = Problem(
    400,
    "invalid_host",
    "A request of HTTP/1.1 has one Host header, one of HTTP/2 no other than its :authority; both hold a host and a port.",
)
BODY_BROKE_OFF = Problem(400, "malformed_json", "The body broke off before its end.")
NO_SUCH_PATH = Problem(404, "no_such_path", "There is nothing here; GET /docs lists what there is.")
NOT_DECIDED = unavailable("not_decided", "The reservation is not decided yet, or not known here; ask again.", 0)
NOT_A_RESERVATION_ID = Problem(404, "no_such_reservation", "A reservation id is a UUID, as POST .../reservation returned it.")
NO_SUCH_EVENT = Problem(404, "no_such_event", "No area of an event of this name exists.")
NO_SUCH_AREA = Problem(404, "no_such_area", "The event has no area of this id.")
NOT_SERVING = unavailable("not_serving", "The partitions are not served yet, or not any more; try again.")
SHUTTING_DOWN = unavailable("shutting_down", "This process is shutting down; try again, or another one.")
LOG_UNAVAILABLE = unavailable("log_unavailable", "The command could not be acknowledged; it may or may not have been taken.")
COMMAND_TOO_LARGE = Problem(413, "command_too_large", "The log never takes a command of this size, and has not; ask for less at once.")
TOO_MANY_WAITING = too_many("too_many_waiting", "Too many requests wait for a decision; try again.")
TOO_MANY_COMMANDS = too_many("too_many_commands", "Too many commands wait for the log; try again.")
TOO_MANY_REQUESTS = too_many("too_many_requests", "Too many requests are in flight; try again.")
INTERNAL_ERROR = Problem(500, "internal_error", "A defect of the server; it was logged.")


def body_too_large(bytes_max: int) -> Problem:
    """413: more than an operator allows."""
    return Problem(413, "body_too_large", f"The body may have {bytes_max} bytes.")


def wrong_method(allowed: str) -> Problem:
    """405: the path is known, the method is not."""
    return Problem(405, "wrong_method", f"This path takes {allowed}.", (("allow", allowed),))
