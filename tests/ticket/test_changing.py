"""Payments, extensions and cancellations at the gateway: when a command is sent, and by what its client is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.support.till import CANCEL, EXTEND, HERE, OTHER, PAY, THERE, Client, Till, reservation, run, soon
from ticketmaster.broker.port import TopicPartition
from ticketmaster.domain.life import CANCELLED, HOLD_EXPIRED, Change, Life
from ticketmaster.domain.reservation import State
from ticketmaster.errors import Refused, Retriable
from ticketmaster.ticket import problems
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.wire.changes import encode_change, read_change
from ticketmaster.wire.frames import FRAMES

RESERVED = reservation(HERE, State.RESERVED, life=Life(50_000, 90_000))
PAID = reservation(HERE, State.PAID, life=Life(payment_reference=b"invoice 6"))
LONG_POLL_S = 10
SOURCE = TopicPartition("commands", 0)


def test_a_payment_is_answered_by_the_record_that_pays_it() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        client = till.change(HERE, PAY)
        await soon()
        assert client.status == 0
        till.role()

        assert client.told == (200, "PAID")
        assert json.loads(client.body)["paymentReference"] == "invoice 7"
        assert "holdExpiresAt" not in json.loads(client.body)
        assert (till.gateway.waiting, till.gateway.commands_in_flight) == (0, 0)

    run(story)


def test_an_extension_shows_when_the_hold_ends_now() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        client = till.change(HERE, EXTEND)
        await soon()
        till.role(time_ms=5_123)

        assert client.told == (200, "RESERVED")
        assert b'"failedReason":"","holdExpiresAt":65.123000000}' in client.body

    run(story)


def test_a_reservation_that_cant_be_read_is_an_answer_to_all_that_wait_for_it() -> None:
    async def story(till: Till) -> None:
        clients = [till.change(HERE, PAY), till.change(HERE, CANCEL)]
        await soon()
        till.decide(HERE, RESERVED[:-1])

        assert [client.told for client in clients] == [(500, "internal_error")] * 2
        assert till.gateway.waiting == 0

    run(story)


def test_a_reservation_that_cant_be_shown_is_changed_and_its_client_hears_of_the_trouble() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED.replace(b"ann", b"\xff\xfe\xfd")
        client = till.change(HERE, PAY)
        await soon()
        assert len(till.changes) == 1
        till.role()

        assert client.told == (500, "internal_error")
        assert till.gateway.waiting == 0

    run(story)


@pytest.mark.parametrize("change", [PAY, EXTEND])
def test_a_change_of_an_undecided_reservation_waits_for_the_decision(change: Change) -> None:
    async def story(till: Till) -> None:
        client = till.change(HERE, change)
        await soon()
        assert till.log == []
        till.decide(HERE, RESERVED)
        await soon()
        assert len(till.changes) == 1
        till.role()

        assert client.status == 200

    run(story)


@pytest.mark.parametrize("change", [PAY, EXTEND])
@pytest.mark.parametrize("known", [True, False], ids=["undecided", "unknown"])
def test_without_a_decision_nothing_is_written_and_the_client_hears_so(change: Change, known: bool) -> None:  # noqa: FBT001
    async def story(till: Till) -> None:
        if known:
            till.table[HERE] = reservation(HERE, State.PROCESSING)
        client = till.change(HERE, change)
        await asyncio.sleep(LONG_POLL_S + 1)

        assert client.told == (409, "not_decided")
        assert till.log == []

    run(story)


def test_a_cancellation_does_not_wait_for_the_decision() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = reservation(HERE, State.PROCESSING)
        client = till.change(HERE, CANCEL)
        await soon()
        till.role()

        assert client.told == (200, "CANCELLED")

    run(story)


def test_a_cancellation_that_overtakes_its_reservation_is_answered_when_that_comes() -> None:
    async def story(till: Till) -> None:
        client = till.change(HERE, CANCEL)
        await soon()
        (change,) = till.changes
        till.decide(HERE, reservation(HERE, State.CANCELLED, CANCELLED, Life(change_id=change.change_id)))

        assert client.told == (200, "CANCELLED")

        del till.table[HERE]
        unknown = till.change(HERE, CANCEL)
        await asyncio.sleep(LONG_POLL_S + 1)
        assert unknown.told == (409, "not_decided")

    run(story)


REFUSED = [
    (reservation(HERE, State.CANCELLED, HOLD_EXPIRED), PAY, "hold_expired"),
    (reservation(HERE, State.CANCELLED, HOLD_EXPIRED), EXTEND, "hold_expired"),
    (reservation(HERE, State.CANCELLED, CANCELLED), PAY, "reservation_cancelled"),
    (reservation(HERE, State.FAILED, "[NOT_AVAILABLE]: gone"), PAY, "reservation_failed"),
    (reservation(HERE, State.FAILED, "[NOT_AVAILABLE]: gone"), CANCEL, "reservation_failed"),
    (PAID, PAY, "already_paid"),
    (PAID, EXTEND, "already_paid"),
    (PAID, CANCEL, "already_paid"),
    (reservation(HERE, State.RESERVED, life=Life(900, 90_000)), PAY, "hold_expired"),
    (RESERVED, EXTEND._replace(seconds=90), "hold_limit"),
]


@pytest.mark.parametrize(("found", "change", "code"), REFUSED)
def test_what_can_not_be_changed_is_refused_with_its_reason(found: bytes, change: Change, code: str) -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = found
        client = till.change(HERE, change)
        await soon()
        till.role()

        assert client.told == (409, code)

    run(story)


@pytest.mark.parametrize(
    ("found", "change", "status"),
    [
        (reservation(HERE, State.CANCELLED, CANCELLED), PAY, 409),
        (reservation(HERE, State.CANCELLED, HOLD_EXPIRED), CANCEL, 200),
        (reservation(HERE, State.FAILED, "[NOT_AVAILABLE]: gone"), CANCEL, 409),
    ],
)
def test_of_what_is_over_the_client_hears_without_a_command(found: bytes, change: Change, status: int) -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = found
        assert till.change(HERE, change).status == status
        await soon()
        assert till.log == []

    run(story)


def test_only_a_refund_cancels_what_is_paid() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = PAID
        client = till.change(HERE, CANCEL._replace(refund=True))
        await soon()
        till.role()

        assert client.told == (200, "CANCELLED")
        assert json.loads(client.body)["failedReason"].startswith("[REFUNDED]: ")

    run(story)


def test_two_clients_at_once_get_answers_that_agree() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        clients = [till.change(HERE, change) for change in (PAY, PAY, PAY._replace(reference=b"other"), CANCEL, EXTEND)]
        await soon()
        till.role()

        assert [client.told for client in clients] == [(200, "PAID")] * 2 + [(409, "already_paid")] * 3

    run(story)


def test_a_long_poll_is_answered_by_whatever_record_comes_first() -> None:
    async def story(till: Till) -> None:
        poll = Client()
        till.gateway.get_reservation(HERE.decode(), poll)
        payment = till.change(HERE, PAY)
        till.decide(HERE, RESERVED)
        assert (poll.told, payment.status) == ((200, "RESERVED"), 0)
        await soon()
        till.role()
        assert payment.told == (200, "PAID")

    run(story)


def test_a_table_that_opens_has_the_answer_or_the_decision() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        sent = till.change(HERE, PAY)
        await soon()
        till.opened = False
        waiting = till.change(HERE, EXTEND)
        (change,) = till.changes
        till.table[HERE] = reservation(HERE, State.PAID, life=Life(payment_reference=b"invoice 7", change_id=change.change_id))
        till.opened = True
        till.gateway.on_table_opened()
        await soon()
        assert sent.told == (200, "PAID")
        till.role()
        assert waiting.told == (409, "already_paid")

    run(story)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Retriable("no leader"), (503, "log_unavailable")),
        (Refused("max.message.bytes", SOURCE, (HERE,)), (413, "command_too_large")),
    ],
)
def test_a_change_that_the_log_does_not_take_is_told_as_such(failure: Retriable | Refused, told: tuple[int, str]) -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        till.failure = failure
        client = till.change(HERE, PAY)
        await soon()

        assert client.told == told
        assert (till.gateway.waiting, till.gateway.commands_in_flight) == (0, 0)

    run(story)


def test_a_change_that_is_never_worked_off_may_be_sent_again() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        client = till.change(HERE, PAY)
        await asyncio.sleep(LONG_POLL_S + 1)

        assert client.told == (503, "change_not_answered")

    run(story)


def test_at_the_end_each_client_hears_whether_anything_was_written() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        sent, passed_on = till.change(HERE, PAY), till.change(THERE, PAY)
        del till.table[HERE]
        waiting = till.change(HERE, PAY)
        await soon()
        await till.gateway.drain()
        late = till.change(HERE, PAY)

        assert [client.told for client in (sent, passed_on)] == [(503, "change_not_answered")] * 2
        assert [client.told for client in (waiting, late)] == [(503, "shutting_down")] * 2
        assert till.gateway.waiting == 0

    run(story, TicketLimits(drain_ms=100))


def test_no_more_changes_wait_than_the_limit_allows() -> None:
    async def story(till: Till) -> None:
        clients = [till.change(key, PAY) for key in (HERE, THERE, HERE)]
        assert [client.told for client in clients] == [(0, ""), (0, ""), (429, "too_many_waiting")]

    run(story, TicketLimits(waiting_requests_max=2))


def test_without_their_schemas_changes_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(till: Till) -> None:
        assert till.change(HERE, PAY).told == (503, "holds_unavailable")

    monkeypatch.setattr(FRAMES, "has_all", False)
    run(story)


# Other processes.


def test_the_owner_is_asked_to_make_the_change_and_its_answer_is_passed_on() -> None:
    async def story(till: Till) -> None:
        client = till.change(THERE, PAY)
        ((address, name, post),) = till.asked
        assert (address, post.path) == (OTHER, THERE + b"/change")
        assert read_change(post.body) == PAY._replace(change_id=name)
        till.gateway.on_peer_answer(name, 200, b'{"state":"PAID"}', b"")

        assert client.told == (200, "PAID")
        assert till.log == []

    run(story)


@pytest.mark.parametrize("problem", [problems.STILL_UNDECIDED, problems.REFUSALS["hold_expired"], problems.CHANGE_NOT_ANSWERED])
def test_what_the_owner_refuses_is_refused(problem: problems.Problem) -> None:
    async def story(till: Till) -> None:
        client = till.change(THERE, PAY)
        status, _, body = problem.response
        till.gateway.on_peer_answer(till.asked[0][1], status, body, b"")

        assert (client.status, client.body) == (status, body)

    run(story)


@pytest.mark.parametrize(
    "fail",
    [
        lambda till, name: till.gateway.on_peer_failure(name),
        lambda till, name: till.gateway.on_peer_answer(name, 503, problems.NOT_SERVING.response[2], b""),
        lambda till, name: till.gateway.on_peer_answer(name, 429, problems.TOO_MANY_WAITING.response[2], b""),
        lambda till, name: till.gateway.on_peer_answer(name, 404, problems.NO_SUCH_PATH.response[2], b""),
    ],
    ids=["away", "not serving", "busy", "older"],
)
def test_an_owner_that_fails_is_asked_again_with_the_same_change_until_the_time_is_over(fail: Callable[[Till, bytes], None]) -> None:
    async def story(till: Till) -> None:
        client = till.change(THERE, PAY)
        while not client.status:
            if till.asked:
                assert len({name for _, name, _ in till.asked}) == 1
                fail(till, till.asked.pop()[1])
                assert not till.asked
            await asyncio.sleep(0.1)

        assert client.told == (503, "change_not_answered")
        assert till.log == []
        till.asked.clear()
        await asyncio.sleep(1)
        assert till.asked == []

    run(story)


def test_a_change_follows_its_partition_wherever_that_goes() -> None:
    async def story(till: Till) -> None:
        client = till.change(THERE, PAY)
        till.opened = False
        till.own(2, 3)
        await soon()
        till.table[THERE] = reservation(THERE, State.RESERVED)
        till.opened = True
        till.gateway.on_table_opened()
        await soon()
        # The first owner has gone, and never answered.
        till.gateway.on_peer_failure(till.asked[0][1])
        till.role()
        assert client.told == (200, "PAID")

        till.table[THERE] = reservation(THERE, State.RESERVED)
        client = till.change(THERE, PAY)
        await soon()
        till.own(0, 1)
        await soon()
        assert till.asked[-1][1] == till.changes[-1].change_id
        till.gateway.on_peer_answer(till.asked[-1][1], 200, b'{"state":"PAID"}', b"")
        assert client.told == (200, "PAID")

    run(story)


def test_a_process_makes_the_changes_of_its_own_partitions_for_others() -> None:
    async def story(till: Till) -> None:
        till.table[HERE] = RESERVED
        changes, body = till.gateway.changes, encode_change(PAY._replace(change_id=b"7" * 32))
        asked, again, elsewhere, none = Client(), Client(), Client(), Client()
        changes.take_for_peer(HERE, body, asked)
        # Its connection broke: the same change comes again.
        changes.take_for_peer(HERE, body, again)
        changes.take_for_peer(THERE, body, elsewhere)
        changes.take_for_peer(HERE, body[:-1], none)
        await soon()
        assert len(till.changes) == 1
        till.role()

        assert [client.told for client in (asked, again)] == [(200, "PAID")] * 2
        assert elsewhere.told == (503, "not_serving")
        assert none.told == (400, "invalid_field")

    run(story)


def test_the_owner_says_what_it_knows_before_the_process_that_asked_it_gives_up() -> None:
    async def story(till: Till) -> None:
        asked = Client()
        till.gateway.changes.take_for_peer(HERE, encode_change(PAY._replace(change_id=b"7" * 32)), asked)
        await asyncio.sleep(LONG_POLL_S - 0.5)

        assert asked.told == (409, "not_decided")

    run(story)
