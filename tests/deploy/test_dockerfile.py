"""The Dockerfile, without Docker: that it finds what it copies, copies what the package is built from, and can tell who is healthy."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from scripts.image.dockerfile import instructions

ROOT: Final = Path(__file__).resolve().parents[2]


def arguments_of(name: str) -> list[str]:
    """Of every instruction of that name."""
    return [arguments for instruction, arguments in instructions((ROOT / "Dockerfile").read_text()) if instruction == name]


def copied() -> set[str]:
    """The files that are copied from this folder, not from another stage."""
    return {source for arguments in arguments_of("COPY") if "--from=" not in arguments for source in arguments.split()[:-1]}


def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def health_check() -> list[str]:
    """The command of the health check."""
    (arguments,) = arguments_of("HEALTHCHECK")
    command: list[str] = json.loads(arguments.partition("CMD")[2])
    return command


def test_what_is_copied_exists_and_is_all_that_docker_gets_to_see() -> None:
    everything, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert everything == "*"
    assert {line.removeprefix("!") for line in rest if line.startswith("!")} == copied()
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def test_all_that_the_package_is_built_from_is_copied() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project()["project"]["readme"], *project()["project"]["license-files"], *wheel["packages"], *wheel["force-include"]}

    assert needed | {"pyproject.toml", "requirements.lock"} == copied()


def test_packages_are_installed_by_their_hashes_from_the_lock_file() -> None:
    installs = re.findall(r"pip [^&]*\binstall\b([^&]*)", " && ".join(arguments_of("RUN")))

    (by_lock,) = (arguments.split() for arguments in installs if "requirements.lock" in arguments)
    assert {"--no-deps", "--require-hashes"} <= set(by_lock)
    # What else is installed is the build backend, at one version, and the package itself.
    others = [arguments.split()[-1].strip('"') for arguments in installs if "requirements.lock" not in arguments]
    assert others == ["hatchling==${HATCHLING_VERSION}", "/wheels/ticketmaster-*.whl"]


def test_the_build_backend_is_one_that_the_project_allows() -> None:
    (requirement,) = map(Requirement, project()["build-system"]["requires"])
    (version,) = (argument.partition("=")[2] for argument in arguments_of("ARG") if argument.startswith("HATCHLING_VERSION="))

    assert requirement.name == "hatchling"
    assert requirement.specifier.contains(version)


def test_the_one_interpreter_is_pinned_to_a_patch_release_that_the_project_allows() -> None:
    base, *stages, last = arguments_of("FROM")
    pinned = re.fullmatch(r"python:(\d\.\d+\.\d+)-slim-trixie AS (\w+)", base)

    assert pinned is not None
    version, name = pinned.groups()
    assert Requirement(f"python{project()['project']['requires-python']}").specifier.contains(version)
    # A virtual environment runs with the interpreter that made it only.
    assert {stage.split()[0] for stage in stages} == {name}
    assert last == "scratch"
    (everything,) = (arguments for arguments in arguments_of("COPY") if arguments.endswith(" / /"))
    assert everything.split()[0].removeprefix("--from=") in {stage.split()[-1] for stage in stages}


def test_the_program_runs_without_what_is_taken_out_of_its_packages() -> None:
    taken = re.findall(r"rm -rf \S+/site-packages/(\w+)", " ".join(arguments_of("RUN")))
    assert taken
    # Every module is imported, and a table is drawn by Rich.
    code = f"""
import pkgutil, sys
sys.modules.update(dict.fromkeys({taken}))
import ticketmaster
from ticketmaster.cli import main
for module in pkgutil.walk_packages(ticketmaster.__path__, "ticketmaster."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
main(["simulate", "--seed", "1", "--commands", "1", "--faults", "0"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_runs_as_a_numbered_user_and_anybody_may_keep_state() -> None:
    (user,) = arguments_of("USER")
    uid, gid = user.split(":")
    (volume,) = arguments_of("VOLUME")

    assert int(uid) > 0
    assert int(gid) > 0
    # Root's, so that the program takes it for a mounted volume; open as /tmp is, for platforms that choose a user of their own.
    assert f"install -d -m 1777 {volume} " in arguments_of("RUN")[-1]
    assert f"--uid {uid} --gid {gid} " in arguments_of("RUN")[-1]


def test_no_program_of_the_image_gives_the_rights_of_its_owner() -> None:
    assert arguments_of("RUN")[-1].endswith("&& find / -xdev -type f -perm /6000 -exec chmod a-s {} +")


def test_the_entry_point_is_the_console_script() -> None:
    (entry_point,) = arguments_of("ENTRYPOINT")

    (program,) = json.loads(entry_point)
    assert program in project()["project"]["scripts"]


def test_the_health_check_has_only_options_that_every_builder_knows() -> None:
    # Builders of before 2024 stop at --start-interval; docker-compose.yml says it instead.
    (arguments,) = arguments_of("HEALTHCHECK")

    assert re.findall(r"--([\w-]+)=", arguments.partition("CMD")[0]) == ["interval", "timeout", "retries", "start-period"]


# --- The health check, run -----------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that gives this status to the health check's path, and 404 to any other."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/v1/health_check" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def exit_code(port: int) -> int:
    """Of the image's health check, with the port put in place of the image's."""
    python, *arguments = health_check()
    assert python == "python"
    # A proxy is for the outside.
    env = os.environ | {"http_proxy": "http://127.0.0.1:9"}
    ours = [argument.replace("9464", str(port)) for argument in arguments]
    return subprocess.run([sys.executable, *ours], env=env, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1), (404, 1)])
def test_healthy_is_who_answers_200(status: int, expected: int) -> None:
    with answering(status) as port:
        assert exit_code(port) == expected


def test_who_does_not_answer_is_not_healthy() -> None:
    with answering(200) as port:
        pass

    assert exit_code(port) == 1
