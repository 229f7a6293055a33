"""The load client as it is run, against a real server over real sockets."""

from __future__ import annotations

import http.server
import json
import os
import pstats
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.load import check
from tests.perf.seat_seller import SeatSeller, selling

SPIKE = Path(__file__).parents[2] / "scripts" / "perf" / "spike"
SMALL = ["-n", "600", "-a", "3", "--rows", "10", "--cols", "10", "--in-flight", "200", "--seed", "7"]


WRONG, NOT_CHECKED = 1, 3


def spike(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SPIKE, *arguments], capture_output=True, text=True, timeout=120, check=False)


def spike_json(seller: SeatSeller, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = spike("--host", f"127.0.0.1:{seller.port}", "--json", "-", *SMALL, *arguments)
    assert done.returncode == code, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(("flags", "version"), [((), "1.1"), (("--http2",), "2")])
def test_a_sold_out_event_is_reported_and_agrees_with_the_maps(flags: tuple[str, ...], version: str) -> None:
    with selling(SeatSeller()) as seller:
        report = spike_json(seller, *flags)
    assert report["http"] == version
    assert report["reserved"] + report["refused"] == report["requests"] == 600
    assert report["refused"] > 0
    assert all("<area>" in reason and "<event>" in reason for reason in report["refused_by_reason"])
    assert sum(report["refused_by_reason"].values()) == report["refused"]
    assert report["seats_sold"] == sum(seats.count(b"#") for _, _, seats in seller.areas.values()) > 290
    assert report["maps"] == "3 areas and 3 seat maps agree with the replies"
    assert (report["errors"], report["retries"], report["violations"]) == ({}, {}, [])
    assert (report["verdict"], report["unchecked"]) == ("sound", [])
    assert report["http_requests_per_s"] == pytest.approx(2 * report["reservations_per_s"], rel=0.01)
    assert 0 < report["post_ms"]["p50"] <= report["post_ms"]["p95"] <= report["post_ms"]["p99"] <= report["post_ms"]["max"]
    assert report["decision_ms"]["p50"] >= 20  # the server decides after 20 ms
    assert report["client_cpu_us_per_reservation"] > report["client_cpu_us_per_http_request"] > 0


def test_several_processes_and_clients_ask_for_the_same_as_one() -> None:
    with selling(SeatSeller()) as one, selling(SeatSeller()) as many:
        first = spike_json(one, "--http2", "-c", "1", "--processes", "1", "--seats-max", "1")
        second = spike_json(many, "--http2", "-c", "4", "--processes", "2", "--seats-max", "1")
    assert {name: seats.count(b"#") for name, (_, _, seats) in one.areas.items()} == {
        name: seats.count(b"#") for name, (_, _, seats) in many.areas.items()
    }
    assert (first["reserved"], first["refused"]) == (second["reserved"], second["refused"])
    assert second["processes"] == 2


def test_many_long_polls_share_one_http2_connection() -> None:
    with selling(SeatSeller()) as seller:
        spike_json(seller, "--http2", "-c", "1")
    assert seller.streams_max > 100


def test_a_seat_that_is_sold_twice_is_found() -> None:
    with selling(SeatSeller(sells_twice=True)) as seller:
        report = spike_json(seller, code=1)
    assert any("was sold twice" in text for text in report["violations"])


def test_a_map_that_shows_sold_seats_as_free_is_found() -> None:
    with selling(SeatSeller(shows_taken_seats=False)) as seller:
        report = spike_json(seller, code=1)
    assert report["maps"] == "disagree with the replies"
    assert "area 0 has 100 free seats in the event" in report["violations"][0]


def test_an_accepted_reservation_that_the_server_forgets_is_found() -> None:
    with selling(SeatSeller(forgets_decisions=True)) as seller:
        report = spike_json(seller, code=1)
    assert report["undecided"] == 600
    assert "was accepted and never decided" in report["violations"][0]
    assert report["errors"] == {"GET: HTTP 404 unknown reservation": 600}


# --- A server that does wrong is never sound -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ({"sells_twice": True}, WRONG, "was sold twice"),
        ({"loses_every": 300}, WRONG, "was accepted and never decided"),
        ({"forgets_decisions": True}, WRONG, "was accepted and never decided"),
        ({"refuses_all": True}, WRONG, "free ones side by side"),
        ({"shows_taken_seats": False}, WRONG, "free seats in the event"),
        ({"leaks_seats": 3}, WRONG, "in the map, not so by the replies"),
        # One broken request does not make room for others.
        ({"leaks_seats": 9, "unacknowledged": 1}, WRONG, "in the map, not so by the replies"),
        ({"post_status": 500}, WRONG, "POST answered HTTP 500, which no valid request gets"),
        ({"post_status": 404}, WRONG, "POST answered HTTP 404, which no valid request gets"),
        ({"post_status": 502}, NOT_CHECKED, "nothing was sold"),
        ({"post_status": 503}, NOT_CHECKED, "600 of 600 requests were not decided"),
        ({"event_status": 500}, NOT_CHECKED, "answers 500"),
        ({"map_status": 503}, NOT_CHECKED, "answers 503"),
        ({"map_status": 404}, NOT_CHECKED, "answers 404"),
        ({"unacknowledged": 100}, NOT_CHECKED, "100 of 600 requests were not decided"),
    ],
)
def test_a_planted_fault_is_never_sound(fault: dict[str, Any], code: int, told: str) -> None:
    with selling(SeatSeller(**fault)) as seller:
        report = spike_json(seller, "--timeout-s", "2", code=code)

    assert report["verdict"] == {WRONG: "wrong", NOT_CHECKED: "not checked"}[code]
    assert told in str(report["violations"] if code == WRONG else report["unchecked"])
    with pytest.raises(BenchError, match=f"ended with {code}, {report['verdict']}") as raised:
        check(code, report)
    assert raised.value.exit_code == code


LIFE = ("--hold-seconds", "1", "--pay", "0.6", "--cancel", "0.2", "--rate", "300")


@pytest.mark.parametrize("flags", [(), ("--http2", "--processes", "2", "-c", "2")])
def test_seats_come_back_and_are_sold_again_and_paid_ones_stay(flags: tuple[str, ...]) -> None:
    with selling(SeatSeller(busy_changes=3)) as seller:
        report = spike_json(seller, *LIFE, "-n", "900", *flags)

    assert (report["verdict"], report["violations"]) == ("sound", [])
    assert report["paid"] + report["cancelled"] + report["expired_unpaid"] < report["reserved"]
    assert min(report["paid"], report["cancelled"]) > 0
    assert report["unknown_ends"] == 0
    assert sum(report["retries"].values()) == 3
    # Only paid seats are taken in the end; more was sold than the event has seats.
    taken = sum(seats.count(b"#") for _, _, seats in seller.areas.values())
    assert taken == sum(count for *_, count in seller.holds.values())
    assert len(seller.holds) == report["paid"]
    assert 0 < report["change_ms"]["p50"] <= report["change_ms"]["max"]


def test_holds_that_end_late_are_not_waited_for_if_told_so() -> None:
    with selling(SeatSeller()) as seller:
        began_s = time.monotonic()
        report = spike_json(seller, "--hold-seconds", "600", "--pay", "0.5", "--await-holds-s", "0")
        assert time.monotonic() - began_s < 60

    assert report["maps"] == "3 areas and 3 seat maps agree with the replies"
    assert report["paid"] < report["reserved"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        # A seat is sold again while it is held, or though it was paid.
        ({"sells_twice": True}, "was sold twice"),
        ({"ends_holds_after_s": 0.05}, "was sold twice"),
        ({"frees_paid": True}, "(PAID)"),
        ({"keeps_cancelled": True}, "in the map, not so by the replies"),
        ({"ends_holds_after_s": 60}, "in the map, not so by the replies"),
        # A payment that is refused without need, or answered by something else.
        ({"payment_answer": "hold_expired"}, "its hold ended"),
        ({"payment_answer": "reservation_cancelled"}, "PAY answered 409 reservation_cancelled"),
        ({"payment_answer": "already_paid"}, "PAY answered 409 already_paid"),
        ({"payment_answer": "{}"}, "malformed reply to PAY"),
        ({"cancel_status": 409}, "CANCEL answered 409 already_paid"),
        ({"cancel_status": 404}, "CANCEL answered 404"),
    ],
)
def test_a_planted_fault_of_the_life_is_never_sound(fault: dict[str, Any], told: str) -> None:
    with selling(SeatSeller(**fault)) as seller:
        report = spike_json(seller, *LIFE, "--timeout-s", "5", "--release-s", "3", code=WRONG)

    assert told in str(report["violations"])


def test_payments_that_nobody_answers_are_not_checked() -> None:
    with selling(SeatSeller(busy_changes=1_000_000)) as seller:
        report = spike_json(seller, "--pay", "0.5", "--timeout-s", "2", code=NOT_CHECKED)

    assert "payments and cancellations were not answered" in str(report["unchecked"])
    assert report["violations"] == []


def test_a_command_that_may_have_been_taken_is_counted_as_unknown_and_not_sent_again() -> None:
    with selling(SeatSeller(unacknowledged=5)) as seller:
        report = spike_json(seller)

    assert seller.posts == 600
    assert (report["unknown"], report["retries"]) == (5, {})
    assert report["reserved"] + report["refused"] == 595
    assert (report["verdict"], report["violations"]) == ("sound", [])
    assert "more seats are taken, by requests whose end nobody knows" in report["maps"]
    # They waited as long as anybody may.
    assert report["decision_ms"]["max"] == 60_000
    with pytest.raises(BenchError, match="5 reservations were not decided"):
        check(0, report)


def test_a_report_without_a_verdict_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="without a verdict"):
        check(0, {})


def test_a_server_without_maps_is_not_compared() -> None:
    with selling(SeatSeller(shows_maps=False)) as seller:
        report = spike_json(seller, code=NOT_CHECKED)
    assert report["verdict"] == "not checked"
    assert report["maps"].startswith("not checked: GET /v1/event/spike-")
    assert report["maps"].endswith("answers 404")


@pytest.mark.parametrize("flags", [(), ("--http2",)])
def test_a_busy_server_is_asked_again_when_it_says_so(flags: tuple[str, ...]) -> None:
    with selling(SeatSeller(busy_replies=5, slow_polls=7)) as seller:
        report = spike_json(seller, *flags)
    assert report["retries"] == {"POST: HTTP 503": 5, "GET: HTTP 503": 7}
    assert report["reserved"] + report["refused"] == 600
    assert report["decision_ms"]["max"] >= 1_000  # Retry-After: 1


def test_an_open_loop_keeps_its_schedule() -> None:
    with selling(SeatSeller()) as seller:
        report = spike_json(seller, "--http2", "-n", "100", "--rate", "200")
    assert report["wall_s"] >= 99 / 200
    assert report["rate_per_s"] == 200


def test_the_report_for_people_goes_to_stdout_and_the_json_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with selling(SeatSeller()) as seller:
        done = spike("--host", f"http://127.0.0.1:{seller.port}", "-env", "a-label", "--json", str(file), *SMALL)
    assert done.returncode == 0
    assert "env a-label" in done.stdout
    assert "no seat was sold twice" in done.stdout
    assert json.loads(file.read_bytes())["env"] == "a-label"


def test_a_profile_of_the_worker_is_written(tmp_path: Path) -> None:
    file = tmp_path / "worker.prof"
    with selling(SeatSeller()) as seller:
        spike_json(seller, "--profile", str(file))
    functions = pstats.Stats(str(file)).get_stats_profile().func_profiles
    assert {"run", "_send_due", "_decided", "<method 'socket_action' of 'pycurl.CurlMulti' objects>"} <= functions.keys()


def test_an_interrupt_reports_what_there_is() -> None:
    with selling(SeatSeller()) as seller:
        command = [sys.executable, str(SPIKE), "--host", f"127.0.0.1:{seller.port}", "--json", "-", *SMALL, "--rate", "100", "-n", "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            deadline_s = time.monotonic() + 30
            while len(seller.decisions) < 10 and time.monotonic() < deadline_s:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the workers too
            output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    report = json.loads(output)
    assert report["interrupted"]
    assert 0 < report["reserved"] < 100_000
    assert report["violations"] == []
    assert report["maps"] == "not checked: interrupted"


def test_a_server_that_goes_away_leaves_undecided_ids_and_no_hang() -> None:
    with selling(SeatSeller()) as seller:
        command = [sys.executable, str(SPIKE), "--host", f"127.0.0.1:{seller.port}", "--json", "-", *SMALL]
        more = ["--http2", "--rate", "500", "-n", "1000", "--timeout-s", "1"]
        process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline_s = time.monotonic() + 30
        while len(seller.decisions) < 100 and time.monotonic() < deadline_s:
            time.sleep(0.02)
    output, errors = process.communicate(timeout=60)
    report = json.loads(output)
    assert sum(report[name] for name in ("reserved", "refused", "failed", "unknown", "unreached")) == 1_000, errors
    assert "POST: connection refused, until the time was over" in report["errors"]
    assert report["maps"].startswith("not checked: ")
    assert report["undecided"] == 0
    assert process.returncode == NOT_CHECKED
    assert report["decision_ms"]["max"] >= 1_000


def test_a_post_is_never_sent_again_behind_the_clients_back() -> None:
    posts: list[str] = []

    class Cutter(http.server.BaseHTTPRequestHandler):
        """Creates the event, then cuts every kept connection under the second request on it."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/event":
                self.reply(b"{}")
                return
            posts.append(self.path)
            if len(posts) == 1:
                self.reply(b"11111111-1111-1111-1111-111111111111")
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def do_GET(self) -> None:
            decision = {"reservationId": self.path.rpartition("/")[2], "eventId": event(posts[0]), "areaId": "0", "numOfSeats": 1}
            decision |= {"type": "RANDOM", "seats": [{"row": 0, "col": 0}], "state": "RESERVED"}
            self.reply(json.dumps(decision).encode())

        def reply(self, body: bytes) -> None:
            self.send_response(200 if "/v1/event/" not in self.path or self.command == "POST" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def event(path: str) -> str:
        return path.split("/")[3]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cutter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = spike(
            "--host", f"127.0.0.1:{server.server_port}", "--json", "-", "-n", "2", "-a", "1", "--seats-max", "1", "--in-flight", "1"
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert done.returncode == NOT_CHECKED, done.stderr
    assert len(posts) == 2
    assert json.loads(done.stdout)["errors"] == {"POST: connection lost after sending": 1}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--host", "https://localhost:1"], "is neither host:port nor http://host:port"),
        (["--host", "localhost:99999"], "Port out of range"),
        (["--host", "localhost:1/path"], "is neither host:port nor http://host:port"),
        (["-n", "0"], "'-n' / '--requests': 0 is not in the range"),
        (["-a", "x"], "'-a' / '--areas'"),
        (["--bogus"], "No such option '--bogus'"),
        (["extra"], "unexpected extra argument"),
        (["-env"], "'-env' requires an argument"),
        (["--rate", "nan"], "--rate is not a number"),
        (["--pay", "0.7", "--cancel", "0.5"], "--pay 0.7 and --cancel 0.5 are shares of the same reservations, and more than 1"),
        (["--hold-seconds", "0"], "'--hold-seconds': 0 is not in the range"),
        (["-c", "50", "--in-flight", "10"], "-c 50 clients can't share 10 requests in flight"),
        (["-c", "1", "--processes", "2"], "--processes 2 needs at least as many clients"),
        (["--rows", "100000", "--cols", "100000"], "more than 50000000 seats"),
        (["--json", "/no/such/directory/x"], "no file can be written there"),
        (["--profile", "/no/such/directory/x"], "no file can be written there"),
    ],
)
def test_a_bad_option_is_one_clear_line(arguments: list[str], text: str) -> None:
    done = spike(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert text in done.stderr
    assert done.stderr.startswith("spike: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [(), ("--http2",)])
def test_a_server_that_is_not_there_is_one_clear_line(flags: tuple[str, ...]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = probe.getsockname()[1]
        done = spike("--host", f"127.0.0.1:{port}", *flags)
    assert done.returncode == NOT_CHECKED
    assert done.stderr == f"spike: http://127.0.0.1:{port} can't be reached: connection refused\n"


def test_a_server_that_creates_no_event_is_one_clear_line() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    try:
        done = spike("--host", f"127.0.0.1:{server.server_port}")
    finally:
        server.server_close()
        thread.join()
    assert done.returncode == NOT_CHECKED
    assert "does not create an event: HTTP 501" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_sold_before_the_opening_is_wrong() -> None:
    # This seller knows no windows: it sells at once.
    with selling(SeatSeller()) as seller:
        report = spike_json(seller, "--opens-in", "1", code=WRONG)

    assert "before the sale opens a request was answered with HTTP 200" in report["violations"][0]
