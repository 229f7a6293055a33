"""What libraries log by Python's own means comes as the program's own lines, and never as a flood."""

from __future__ import annotations

import json
import logging

import pytest

from ticketmaster.telemetry.logs import LibraryHandler, LogObserver, OccasionalLog, configure_logs


class Clock:
    """A clock to be put forward."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The lines on stdout since the last call, as JSON; stderr must be empty."""
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_a_librarys_error_is_a_line_of_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")

    logging.getLogger("aiokafka.conn").error("Unable to connect to %s", "localhost:9")
    logging.getLogger("aiokafka.conn").info("Connected")

    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {"event": "library", "level": "error", "logger": "aiokafka.conn", "message": "Unable to connect to localhost:9"}


def test_its_traceback_comes_along(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")

    try:
        int("no good")
    except ValueError:
        logging.getLogger("lib").exception("it failed")

    (line,) = lines(capsys)
    assert "no good" in json.dumps(line["exception"])


def test_a_text_that_its_values_do_not_fit_is_logged_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")

    logging.getLogger("lib").warning("%d seats", "many")

    assert [line["message"] for line in lines(capsys)] == ["%d seats"]


def test_the_level_holds_for_libraries_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("error")

    logging.getLogger("lib").warning("not so bad")

    assert lines(capsys) == []


def test_one_text_comes_once_a_minute_with_how_often_it_was_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    clock = Clock()
    logger = logging.Logger("lib")  # noqa: LOG001 - one of its own: the root's handler must not hear it too
    logger.addHandler(LibraryHandler(clock))

    for number in range(50):
        logger.error("node %d is away", number)
    logger.error("another text")
    clock.now_s += 59.9
    logger.error("node %d is away", 50)
    clock.now_s += 0.1
    logger.error("node %d is away", 51)
    clock.now_s += 60
    logger.error("node %d is away", 52)

    assert [(line["message"], line.get("repeated", 0)) for line in lines(capsys)] == [
        ("node 0 is away", 0),
        ("another text", 0),
        ("node 51 is away", 50),
        ("node 52 is away", 0),
    ]


def test_an_outage_is_told_at_once_and_then_once_a_minute_by_its_latest_reason(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    clock = Clock()
    occasional = OccasionalLog(clock)

    for second in range(150):
        occasional.log(logging.WARNING, ("reading_failed", "event-service"), "reading_failed", reason=f"reason {second}")
        clock.now_s += 1
    occasional.log(logging.WARNING, ("reading_failed", "ticket-service"), "reading_failed", reason="another reader's")

    assert [(line["event"], line["reason"], line.get("repeated", 0)) for line in lines(capsys)] == [
        ("reading_failed", "reason 0", 0),
        ("reading_failed", "reason 60", 59),
        ("reading_failed", "reason 120", 59),
        ("reading_failed", "another reader's", 0),
    ]


def test_a_task_that_fails_again_and_again_is_told_once_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    observer = LogObserver()

    for reason in ("no permission", "no permission", "another reason", "no permission"):
        observer.task_restarted("event-service-1", reason)
        observer.task_restarted("event-service-2", reason)

    assert [(line["task"], line["reason"]) for line in lines(capsys)] == [
        ("event-service-1", "no permission"),
        ("event-service-2", "no permission"),
        ("event-service-1", "another reason"),
        ("event-service-2", "another reason"),
    ]
