"""Errors as clients see them: RFC 9457 problem documents, each with a stable ``code``."""

from __future__ import annotations

import msgspec

from ticketmaster.domain.life import ChangeRefusal

Headers = list[tuple[str, str]]
# Status, headers and body.
Answer = tuple[int, Headers, bytes]

_encode = msgspec.json.Encoder().encode

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


PROBLEM: Headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]


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
            [*PROBLEM, *headers],
            body,
        )


def unavailable(code: str, detail: str, retry_after_s: int = 1) -> Problem:
    """503: it may work later."""
    return Problem(503, code, detail, (("retry-after", str(retry_after_s)),))


def too_many(code: str, detail: str) -> Problem:
    """429: this process has taken on all it may."""
    return Problem(429, code, detail, (("retry-after", "1"),))


def invalid_if_match() -> Problem:
    """400: an ``If-Match`` that names no revision."""
    return Problem(400, "invalid_if_match", "There is one If-Match: the ETag of the event as GET tells it, its revision in quotes, or *.")


def invalid_encoding() -> Problem:
    """400: bytes that are no text."""
    return Problem(400, "invalid_encoding", "The path, or a value of the query, is not UTF-8 in percent-encoding.")


def invalid_idempotency_key() -> Problem:
    """400: a header that is no key, or two of them."""
    return Problem(400, "invalid_idempotency_key", "There is one Idempotency-Key, of 1 to 255 visible ASCII characters.")


INVALID_ENCODING = invalid_encoding()
INVALID_HOST = Problem(
    400,
    "invalid_host",
    "A request of HTTP/1.1 has one Host header, one of HTTP/2 no other than its :authority; both hold a host and a port.",
)
TOKEN_NEEDED = Problem(
    401,
    "token_needed",
    "This takes a token: Authorization: Bearer, and the token behind it.",
    (("www-authenticate", 'Bearer realm="ticketmaster"'),),
)
INVALID_TOKEN = Problem(
    401,
    "invalid_token",
    "Authorization holds no token that is in force here.",
    (("www-authenticate", 'Bearer realm="ticketmaster", error="invalid_token"'),),
)
RATE_LIMITED = too_many(
    "rate_limited", "This token, or without one this client's address, has sent all that it may in a second; try again."
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
TOO_MANY_LISTS = too_many("too_many_lists", "Too many lists of reservations are being made; try again.")
LIST_TOO_LONG = unavailable(
    "list_too_long", "There are too many reservations to look through in time; `ticketmaster export` has them all.", 10
)
TOO_MANY_REQUESTS = too_many("too_many_requests", "Too many requests are in flight; try again.")
INTERNAL_ERROR = Problem(500, "internal_error", "A defect of the server; it was logged.")


# Payments, extensions and cancellations.
STILL_UNDECIDED = Problem(
    409, "not_decided", "The reservation is not decided yet, or not known; read it, and ask again when it is decided."
)
CHANGE_NOT_ANSWERED = unavailable("change_not_answered", "The change may be made, or not; send it again, which makes it once.")
HOLDS_UNAVAILABLE = unavailable(
    "holds_unavailable", "The schema registry did not take the schemas of holds, payments and rules, which are off until it has.", 60
)
INVALID_REFUND = Problem(400, "invalid_refund", "refund is true or false.")
INVALID_CHANGE = Problem(400, "invalid_field", "The body is no record that this process can read.")
IDEMPOTENCY_KEY_REUSED = Problem(
    422, "idempotency_key_reused", "This user has used this Idempotency-Key for a reservation of something else."
)
# Why a change did nothing, by the code in the reservation's record.
REFUSALS = {
    ChangeRefusal.HOLD_EXPIRED: Problem(409, "hold_expired", "The hold has ended, and the seats are given back; ask for seats again."),
    ChangeRefusal.HOLD_LIMIT: Problem(
        409, "hold_limit", "The hold can't last so long; holdSecondsMax of its event counts from the decision."
    ),
    ChangeRefusal.ALREADY_PAID: Problem(
        409, "already_paid", "The reservation is paid; to cancel it is a refund, to pay it again another payment."
    ),
    ChangeRefusal.CANCELLED: Problem(409, "reservation_cancelled", "The reservation was cancelled, and has no seats any more."),
    ChangeRefusal.FAILED: Problem(409, "reservation_failed", "The reservation has failed, and never had seats."),
    ChangeRefusal.EVENT_CANCELLED: Problem(409, "event_cancelled", "The event is cancelled, and so is every reservation of it."),
}


# The rules of a sale.
EVENT_CANCELLED = REFUSALS[ChangeRefusal.EVENT_CANCELLED]
SALE_CLOSED = Problem(409, "sale_closed", "The sale is over.")
SALE_PAUSED = Problem(409, "sale_paused", "The sale is paused; try again later.")
REVISION_CONFLICT = Problem(412, "revision_conflict", "The event has another revision than the one in If-Match; read it, and decide anew.")
INVALID_WINDOW = Problem(
    400, "invalid_window", "reservationOpeningTime would be behind reservationClosingTime; equal times, or none, are no window."
)
INVALID_HOLD = Problem(400, "invalid_hold", "holdSeconds would be more than holdSecondsMax.")


class _NotOpen(msgspec.Struct, rename={"opens_at": "opensAt"}):
    type: str
    title: str
    status: int
    code: str
    detail: str
    opens_at: msgspec.Raw


def sale_not_open(opens_at: msgspec.Raw, retry_after_s: int) -> Problem:
    """409: it will be sold, from ``opens_at`` on, seconds since 1970 as JSON has them."""
    problem = Problem(409, "sale_not_open", "The sale has not begun; it begins at opensAt.", (("retry-after", str(retry_after_s)),))
    status, headers, body = problem.response
    document = msgspec.json.decode(body)
    problem.response = status, headers, _encode(_NotOpen(**document, opens_at=opens_at))
    return problem


def body_too_large(bytes_max: int) -> Problem:
    """413: more than an operator allows."""
    return Problem(413, "body_too_large", f"The body may have {bytes_max} bytes.")


def wrong_method(allowed: str) -> Problem:
    """405: the path is known, the method is not."""
    return Problem(405, "wrong_method", f"This path takes {allowed}.", (("allow", allowed),))
