"""Reservations with an Idempotency-Key: one however often they are asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.support.till import HERE, OTHER, PARTITIONS, Client, Till, run, soon
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Refused, Retriable
from ticketmaster.ticket import idempotency
from ticketmaster.ticket.idempotency import derived_id, key_of, wish_behind, wish_of
from ticketmaster.ticket.ids import IdMint, canonical_id
from ticketmaster.ticket.problems import Problem
from ticketmaster.wire.reservations import decided, failed_at_once, processing, read_create, succeeded

OWNER_S = 2.0


def body(count: int = 1, **more: object) -> bytes:
    return json.dumps({"userId": "ann", "areaId": "A", "numOfSeats": count, "type": "RANDOM", **more}).encode()


def picked(*seats: int) -> bytes:
    return body(len(seats), type="SELF_PICK", seats=[{"row": 0, "col": seat} for seat in seats])


def key_on(*partitions: int) -> str:
    return next(key for key in map(str, range(100)) if partition_of(derived_id(b"show", b"ann", key), PARTITIONS) in partitions)


KEY, KEY_THERE = key_on(0, 1), key_on(2, 3)
ID, ID_THERE = (derived_id(b"show", b"ann", key).decode() for key in (KEY, KEY_THERE))


def post(till: Till, asked: bytes, key: str = KEY) -> Client:
    client = Client()
    try:
        till.gateway.post_keyed("show", key, asked, client)
    except Problem as problem:
        client.response_bytes(*problem.response)
    return client


def decide(till: Till, seats: bytes = b"\x02\x00\x00\x00") -> None:
    """The first command that the log has."""
    _, key, create = till.log[0]
    decision = decided(processing(key, create), succeeded(key, seats))
    assert decision
    till.decide(key, decision.reservation)


def test_an_id_is_a_uuid_of_version_8_that_sorts_below_all_that_are_minted() -> None:
    found = {derived_id(event, user, key) for event in (b"a", b"ab") for user in (b"b", b"ab") for key in ("b", "c", "ab")}
    assert len(found) == 12
    minted, _ = IdMint(SystemClock(), 1).mint()
    for one in found:
        assert canonical_id(one.decode()) == one.decode()
        assert one.startswith(b"00000000-0000-8")
        assert one[19:20] in b"89ab"
        assert one < minted
    assert derived_id(b"show", b"ann", "7") == b"00000000-0000-8" + derived_id(b"show", b"ann", "7")[15:]


def test_what_is_joined_is_told_apart() -> None:
    assert derived_id(b"ab", b"c", "d") != derived_id(b"a", b"bc", "d") != derived_id(b"a", b"b", "cd")


class Lines:
    """Headers of a request."""

    def __init__(self, *values: str) -> None:
        self._values = list(values)

    def get(self, name: str) -> str | None:
        raise AssertionError(name)

    def get_all(self, _name: str) -> list[str]:
        return self._values

    def __contains__(self, _name: str) -> bool:
        return True


def test_a_key_has_1_to_255_visible_characters_and_comes_once() -> None:
    for good in ("7", "~" * 255, '"quoted"', "8e03978e-40d5-43dd-bc93-6894a57f9324"):
        assert key_of(Lines(good)) == good
    for bad in (("",), ("7" * 256,), ("a b",), ("\x7f",), ("é",), ("a\n",), (), ("7", "7")):
        with pytest.raises(Problem) as refused:
            key_of(Lines(*bad))
        assert b"invalid_idempotency_key" in refused.value.response[2]


def test_whoever_repeats_a_request_gets_the_same_id_at_any_time() -> None:
    async def story(till: Till) -> None:
        clients = [post(till, body()), post(till, body())]
        await soon()
        clients.append(post(till, body()))
        await soon()
        written = len(till.log)
        decide(till)
        clients.append(post(till, body()))
        await soon()

        assert [client.told for client in clients] == [(200, ID)] * 4
        # What is decided needs no command.
        assert len(till.log) == written == 3
        assert {key for _, key, _ in till.log} == {ID.encode()}
        assert till.gateway.commands_in_flight == 0

    run(story)


OTHERS = [body(2), body(areaId="B"), picked(0), body(type="INVALID")]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("when", ["in flight", "undecided", "decided"])
def test_a_key_that_asks_for_something_else_is_refused(other: bytes, when: str) -> None:
    async def story(till: Till) -> None:
        first = post(till, body())
        if when != "in flight":
            await soon()
        if when == "decided":
            decide(till)
        second = post(till, other)
        await soon()

        assert first.told == (200, ID)
        assert second.told == (422, "idempotency_key_reused")
        assert len(till.log) == 1

    run(story)


def test_other_users_and_events_have_keys_of_their_own() -> None:
    async def story(till: Till) -> None:
        till.own(0, 1, 2, 3)
        clients = [post(till, body(2)), post(till, body(userId="bob"))]
        await soon()
        assert [client.status for client in clients] == [200, 200]
        assert clients[0].body != clients[1].body

    run(story)


def test_seats_are_the_same_in_whatever_order_they_are_picked() -> None:
    async def story(till: Till) -> None:
        post(till, picked(3, 4))
        assert post(till, picked(4, 5)).status == 422
        again = post(till, picked(4, 3))
        await soon()
        decide(till, b"\x04\x00\x08\x00\x06\x00")
        later = post(till, picked(3, 4))
        assert [again.told, later.told] == [(200, ID)] * 2
        assert post(till, picked(4, 5)).status == 422

    run(story)


def test_a_wish_is_read_from_whatever_became_of_it() -> None:
    async def story(till: Till) -> None:
        for asked in (*OTHERS, body(), body(0)):
            till.log.clear()
            till.gateway.post_reservation("show", asked, Client())
            await soon()
            ((_, key, create),) = till.log
            for made in (processing(key, create), failed_at_once(key, create, "[NOT_AVAILABLE]: gone")):
                assert wish_behind(made) == wish_of(create)

    run(story)


def test_after_a_command_that_the_log_did_not_take_its_key_is_free() -> None:
    async def story(till: Till) -> None:
        till.failure = Retriable("no leader")
        first = post(till, body())
        await soon()
        till.failure = None
        second = post(till, body(2))
        await soon()

        assert (first.told, second.told) == ((503, "log_unavailable"), (200, ID))

        till.failure = Refused("max.message.bytes", TopicPartition("commands", 0), (ID.encode(),))
        third = post(till, body(2))
        await soon()
        assert third.told == (413, "command_too_large")

    run(story)


def test_no_more_commands_are_remembered_than_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(till: Till) -> None:
        till.own(0, 1, 2, 3)
        for number in range(30):
            post(till, body(), str(number))
        await soon()
        assert len(till.gateway._keyed._first) == 10

    monkeypatch.setattr(idempotency, "_FIRST_MAX", 10)
    run(story)


# Other processes.


@pytest.mark.parametrize(
    ("status", "told"),
    [(200, (200, ID_THERE)), (422, (422, "idempotency_key_reused")), (413, (413, "command_too_large"))],
)
def test_the_owner_takes_the_command_and_its_answer_is_passed_on(status: int, told: tuple[int, str]) -> None:
    async def story(till: Till) -> None:
        client = post(till, body(), KEY_THERE)
        assert till.gateway.commands_in_flight == 1
        ((address, name, asked),) = till.asked
        assert (address, asked.path) == (OTHER, f"{ID_THERE}/command".encode())
        assert read_create(asked.body).who == b"ann"
        till.gateway.on_peer_answer(name, status, b"", b"")
        await soon()

        assert client.told == told
        assert till.log == []
        assert till.gateway.commands_in_flight == 0

    run(story)


@pytest.mark.parametrize(
    "fail",
    [
        lambda till, name: till.gateway.on_peer_failure(name),
        lambda till, name: till.gateway.on_peer_answer(name, 503, b"", b""),
        lambda till, name: till.gateway.on_peer_answer(name, 404, b"", b""),
        lambda _till, _name: None,
    ],
    ids=["away", "not serving", "older", "silent"],
)
def test_without_an_owner_that_answers_in_time_the_command_is_taken_all_the_same(fail: Callable[[Till, bytes], None]) -> None:
    async def story(till: Till) -> None:
        client = post(till, body(), KEY_THERE)
        ((_, name, _),) = till.asked
        fail(till, name)
        await asyncio.sleep(OWNER_S + 0.5)
        assert client.told == (200, ID_THERE)
        assert [key for _, key, _ in till.log] == [ID_THERE.encode()]
        # Its decision comes to the owner, so it is not waited for here.
        assert len(till.gateway._undecided) == 0
        # It answers after all.
        till.gateway.on_peer_answer(name, 200, b"", b"")
        assert till.gateway.commands_in_flight == 0

    run(story)


def test_a_process_takes_the_commands_of_its_own_partitions_for_others() -> None:
    async def story(till: Till) -> None:
        till.gateway.post_reservation("show", body(), Client())
        await soon()
        create = till.log.pop()[2]
        asked, none, elsewhere = Client(), Client(), Client()
        till.gateway.post_keyed_for_peer(ID.encode(), create, asked)
        till.gateway.post_keyed_for_peer(HERE, create[:-1], none)
        till.gateway.post_keyed_for_peer(ID_THERE.encode(), create, elsewhere)
        reused = post(till, body(2))
        await soon()

        assert [asked.told, none.told, elsewhere.told] == [(200, ID), (400, "invalid_field"), (503, "not_serving")]
        assert reused.told == (422, "idempotency_key_reused")

    run(story)


def test_at_the_end_whoever_waits_for_another_process_hears_that_nobody_knows() -> None:
    async def story(till: Till) -> None:
        client = post(till, body(), KEY_THERE)
        await till.gateway.fail()
        assert client.told == (503, "log_unavailable")
        assert till.gateway.commands_in_flight == 0

    run(story)
