"""scripts/image, without building anything: what it reads, what it hands to the build, and when it calls a container right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.errors import ScriptError
from scripts.image.building import bytes_in
from scripts.image.compose import service
from scripts.image.confinement import problems
from scripts.image.dockerfile import Base, base, instructions
from scripts.image.roots import digest
from scripts.image.sale import sold
from scripts.image.settings import apt_file, pip_certificates, pip_file, sources

ROOT: Final = Path(__file__).resolve().parents[2]

# --- The Dockerfile --------------------------------------------------------------------------------------------------


def test_continued_lines_are_one_instruction_and_comments_are_none() -> None:
    assert instructions("# syntax\nFROM a AS b\n\nRUN one \\\n && two\n") == [("FROM", "a AS b"), ("RUN", "one   && two")]


def test_the_base_is_that_of_the_first_stage() -> None:
    text = "ARG A=1\nFROM python:3.11.14-slim-trixie AS base\nFROM base AS build\nFROM scratch\n"
    assert base(instructions(text)) == Base("python:3.11.14-slim-trixie", "3.11", "trixie")


def test_an_image_that_no_stand_in_is_known_for_is_named() -> None:
    with pytest.raises(ScriptError, match="begins with alpine:3: no slim image"):
        base(instructions("FROM alpine:3\n"))


def test_the_base_of_our_dockerfile_is_one_of_these() -> None:
    assert base(instructions((ROOT / "Dockerfile").read_text())).debian == "trixie"


def test_what_is_made_differently_has_another_name() -> None:
    assert digest("a", "b") != digest("ab")
    assert digest("a", "b") == digest("a", "b")


# --- What the build is told of this machine ----------------------------------------------------------------------------


def test_pip_is_told_how_to_reach_its_index_and_the_environment_wins() -> None:
    listed = """global.index-url='https://one.example/simple'
:env:.index-url='https://two.example/simple'
:env:.extra-index-url='https://three.example/simple https://four.example/simple'
install.timeout='30'
"""
    assert pip_file(listed).splitlines() == [
        "[global]",
        "cert = /mnt/certificates.pem",
        "index-url = https://two.example/simple",
        "timeout = 30",
        "extra-index-url = https://three.example/simple",
        "    https://four.example/simple",
    ]


def test_pip_is_told_nothing_that_only_this_machine_has() -> None:
    listed = ":env:.find-links='/a/folder'\nglobal.cache-dir='/another'\nglobal.cert='/some.pem'\ndownload.index-url='https://no.example'\n"
    assert pip_file(listed) == "[global]\ncert = /mnt/certificates.pem\n"
    assert pip_certificates(listed) == Path("/some.pem")


def test_the_certificates_are_those_of_the_system_unless_pip_has_others() -> None:
    assert pip_certificates("") == Path("/etc/ssl/certs/ca-certificates.crt")
    assert pip_certificates("global.cert='/a.pem'\n:env:.cert='/b.pem'\n") == Path("/b.pem")


def test_apt_is_told_how_to_fetch_and_reads_no_sources_but_ours() -> None:
    dump = """Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::https::CAInfo "/somewhere.pem";
Acquire::Check-Date "false";
Acquire::CompressionTypes::xz "xz";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
"""
    assert apt_file(dump).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128/";',
        'Acquire::Check-Date "false";',
        'Acquire::https::CAInfo "/mnt/certificates.pem";',
        'Dir::Etc::SourceList "/mnt/sources.list";',
        'Dir::Etc::SourceParts "/dev/null";',
    ]


def test_the_mirrors_are_those_of_this_machine_for_the_wanted_release() -> None:
    targets = """Debian|bookworm|http://mirror.example/debian/
Debian|bookworm|http://mirror.example/debian/
Debian|bookworm-backports|http://mirror.example/debian/
Debian|bookworm-security|http://mirror.example/security/
Others|nodistro|http://others.example/
"""
    assert sources(targets, "trixie") == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/security/ trixie-security main",
    ]


# --- How containers are started and judged -----------------------------------------------------------------------------


def test_the_roles_are_started_as_the_compose_file_says() -> None:
    ticket = service(ROOT / "docker-compose.yml", "ticket")
    assert ticket.entrypoint[:2] == ("/bin/sh", "-c")
    assert '"$HOSTNAME"' in ticket.entrypoint[2]
    assert "--metrics-port=9464" in ticket.command
    assert "--metrics-port=9470" in ticket.with_metrics_at(9470).command
    assert len(ticket.with_metrics_at(9470).command) == len(ticket.command)


def test_topics_are_made_with_as_many_replicas_as_there_are_brokers() -> None:
    topics = service(ROOT / "docker-compose.yml", "topics")
    assert topics.entrypoint == ()
    assert topics.command[-2:] == ("--replication-factor", "3")
    assert topics.with_replicas(1).command[-2:] == ("--replication-factor", "1")


CAPABILITIES: Final = "".join(f"{name}:\t0000000000000000\n" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
STATUS: Final = f"Name:\tpython\nUid:\t7\t7\t7\t7\nNSpid:\t210\t1\nNoNewPrivs:\t1\n{CAPABILITIES}"
MOUNTS: Final = "1 0 0:1 / / ro,relatime - overlay overlay rw\n2 1 0:2 / /tmp rw,nosuid - tmpfs tmpfs rw\n"


def test_a_process_that_can_do_nothing_but_its_work_has_no_problems() -> None:
    assert problems(STATUS, MOUNTS, 7) == []


@pytest.mark.parametrize(
    ("status", "mounts", "uid", "problem"),
    [
        (STATUS, MOUNTS, 8, "it runs as ['7', '7', '7', '7'], not as 8"),
        (STATUS.replace("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400"), MOUNTS, 7, "CapBnd is 0000000000000400"),
        (STATUS.replace("Privs:\t1", "Privs:\t0"), MOUNTS, 7, "it may get new privileges"),
        (STATUS.replace("210\t1", "210\t2"), MOUNTS, 7, "it is process 2 in its container, not the first"),
        (STATUS, MOUNTS.replace("ro,", "rw,"), 7, "its root can be written"),
    ],
)
def test_what_a_process_could_do_more_is_named(status: str, mounts: str, uid: int, problem: str) -> None:
    assert problems(status, mounts, uid) == [problem]


def reserved(*seats: tuple[int, int]) -> dict[str, Any]:
    return {"state": "RESERVED", "seats": [{"row": row, "col": col} for row, col in seats]}


def test_the_seats_of_a_sale_are_those_of_all_reservations() -> None:
    assert sold([reserved((0, 0), (0, 1)), reserved((1, 0))]) == {(0, 0), (0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("decided", "said"),
    [([reserved((0, 0)), reserved((0, 0))], "sold twice"), ([reserved((0, 0)), {"state": "FAILED"}], "1 of 2 reservations")],
)
def test_a_sale_that_went_wrong_says_so(decided: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ScriptError, match=said):
        sold(decided)


def test_a_file_of_two_names_counts_once_and_a_link_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "file").write_bytes(bytes(100))
    (tmp_path / "below" / "same").hardlink_to(tmp_path / "file")
    (tmp_path / "below" / "link").symlink_to("same")
    (tmp_path / "another").write_bytes(bytes(7))

    assert bytes_in(tmp_path) == 107


def test_a_machine_without_the_programs_skips_it_in_one_line(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "TICKETMASTER_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, ROOT / "scripts/image/check"], env=env, capture_output=True, text=True, timeout=60, check=False)

    reason = "it needs root, to mount and to change the root of programs" if os.geteuid() else "no unshare and no nsenter and"
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"skipped  the image: {reason}")
    assert not (tmp_path / "cache").exists()
