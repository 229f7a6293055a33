"""The wheel as a stranger has it: in an environment with nothing else in it, used from / and with no variable set."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import pytest

import ticketmaster
from scripts.release.building import bill_of_materials, build, install
from scripts.release.refusals import git
from tests.process.client import ask
from tests.process.server import ROOT, one_clear_line, wait_until
from tests.support.terminal import on_a_terminal
from ticketmaster.cli import main

TIMEOUT_S = 60
EVENT = {"eventName": "concert", "areas": [{"areaId": "A", "price": 1, "rowCount": 2, "colCount": 3}]}
WISH = {"userId": "ann", "eventId": "concert", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}


class Installed(NamedTuple):
    """An archive that was built, and the folder of programs that it was installed into."""

    archive: Path
    wheel: Path
    programs: Path

    @property
    def program(self) -> Path:
        """The console script."""
        return self.programs / "ticketmaster"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program, until it ends by itself."""
        command = [str(self.program), *arguments]
        return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("release")
    archive, wheel = build(folder / "dist")
    return Installed(archive, wheel, install(wheel, folder / "venv"))


@contextmanager
def serving(installed: Installed, folder: Path) -> Iterator[str]:
    """Host and port of the installed `standalone`."""
    said = folder / "stdout"
    with said.open("wb") as out:
        process = subprocess.Popen([installed.program, "standalone", "-p", "0", "-d", folder / "data"], cwd="/", env={}, stdout=out)
    try:
        wait_until(lambda: '"event":"ready"' in said.read_text().replace(": ", ":"), "ready")
        (url,) = re.findall(r'"url": ?"http://([^"]+)"', said.read_text())
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


async def test_it_sells_and_everything_that_reads_the_sale_reads_it(installed: Installed, tmp_path: Path) -> None:
    with serving(installed, tmp_path) as address:
        assert (await ask(address, "POST", "/v1/event", EVENT)).status == 200
        reservation_id = (await ask(address, "POST", "/v1/event/concert/reservation", WISH)).body.decode()
        assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).json["state"] == "RESERVED"
        page = (await ask(address, "GET", "/docs")).body.decode()
        assert f"<small>{ticketmaster.__version__}</small>" in page
        data = str(tmp_path / "data")
        backup = installed.run("backup", str(tmp_path / "copy"), "-d", data)
        assert (backup.returncode, backup.stderr) == (0, "")
    audit = installed.run("audit", "-d", str(tmp_path / "copy"))
    assert (audit.returncode, "sound: it all adds up" in audit.stdout) == (0, True), audit.stderr
    trace = installed.run("trace", reservation_id, "-d", data)
    assert (trace.returncode, "RESERVED" in trace.stdout) == (0, True), trace.stderr


@pytest.mark.parametrize("options", [[], ["--kafka"]])
def test_it_simulates(installed: Installed, options: list[str]) -> None:
    done = installed.run("simulate", "--seed", "7", "--commands", "60", "--faults", "6", *options)

    assert (done.returncode, done.stderr) == (0, "")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that is listed."""
    yield path
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from commands(below, (*path, name))


@pytest.mark.parametrize("words", list(commands(main)), ids=" ".join)
def test_every_listed_command_has_its_help(installed: Installed, words: tuple[str, ...]) -> None:
    done = installed.run(*words, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {' '.join(['ticketmaster', *words])} ")


@pytest.mark.parametrize("words", [("topics", "check"), ("schemas", "check"), ("audit",)])
def test_what_needs_a_kafka_or_a_registry_says_so_in_one_line(installed: Installed, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "client.properties").write_text("bootstrap.servers=127.0.0.1:9\nschema.registry.url=http://127.0.0.1:9\n")

    one_clear_line(installed.run(*words, "-c", str(tmp_path / "client.properties")), ["127.0.0.1:9"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--json", "x"]])
def test_the_benchmark_is_not_in_it_and_says_where_it_is(installed: Installed, arguments: list[str]) -> None:
    one_clear_line(installed.run("bench", *arguments), ["scripts/perf/bench", "clone"])
    assert "bench" not in installed.run("--help").stdout


def test_the_wheel_holds_the_package_its_schemas_its_manual_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    info, data = (f"ticketmaster-{ticketmaster.__version__}.{suffix}/" for suffix in ("dist-info", "data"))

    assert {name.partition("/")[0] for name in names} == {"ticketmaster", info.rstrip("/"), data.rstrip("/")}
    assert len([name for name in names if name.startswith("ticketmaster/_avro/")]) == len(list((ROOT / "avro").iterdir()))
    assert f"{info}licenses/LICENSE" in names
    assert {"ticketmaster/py.typed", "ticketmaster/ticket/openapi.json", "ticketmaster/ticket/docs.html"} <= set(names)
    # The manual is installed where `man` looks, not inside the package.
    assert [name for name in names if name.endswith(".1")] == [f"{data}data/share/man/man1/ticketmaster.1"]


def test_the_source_archive_holds_what_git_has_and_nothing_else(installed: Installed) -> None:
    with tarfile.open(installed.archive) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}

    assert names == {"PKG-INFO", *git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()}


def test_the_same_tree_makes_the_same_bytes(installed: Installed, tmp_path: Path) -> None:
    archive, wheel = build(tmp_path)

    assert (archive.read_bytes(), wheel.read_bytes()) == (installed.archive.read_bytes(), installed.wheel.read_bytes())


def test_the_bill_of_materials_has_the_program_and_what_it_runs_with(installed: Installed, tmp_path: Path) -> None:
    bill_of_materials(installed.programs, ticketmaster.__version__, tmp_path / "bill.json")

    text = (tmp_path / "bill.json").read_text()
    bill = json.loads(text)
    component = bill["metadata"]["component"]
    assert (component["name"], component["version"]) == ("ticketmaster", ticketmaster.__version__)
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    found = {re.sub(r"[._]", "-", one["name"].lower()): one["version"] for one in bill["components"]}
    assert len(found) > 40
    assert {name: version for name, version in found.items() if locked.get(name) != version} == {}
    # It tells nothing of the machine.
    assert str(installed.wheel.parent.parent) not in text


def test_man_finds_the_manual_beside_the_program(installed: Installed) -> None:
    man = shutil.which("man")
    if not man:
        pytest.skip("there is no man here")
    environment = {"PATH": f"{installed.programs}:{os.environ['PATH']}", "MANWIDTH": "200"}
    done = subprocess.run([man, "ticketmaster"], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"ticketmaster {ticketmaster.__version__}" in done.stdout
    assert "ticketmaster topics create [OPTIONS]" in done.stdout
    assert "bench" not in done.stdout


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(_TICKETMASTER_COMPLETE=bash_source ticketmaster)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -u; eval "$(_TICKETMASTER_COMPLETE=zsh_source ticketmaster)"'),
    "fish": (["fish", "--no-config", "-i"], "_TICKETMASTER_COMPLETE=fish_source ticketmaster | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(installed: Installed, tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    command, line = SHELLS[shell]
    environment = {"PATH": f"{installed.programs}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(tmp_path), "PS1": "$ "}
    # A variable that sets no option stops a command, but no completion.
    environment["TICKETMASTER_TOPICS_NONSENSE"] = "1"
    assert line.partition("eval")[2] in (ROOT / "docs" / "installation.md").read_text()
    with on_a_terminal(command, cwd=tmp_path, env=environment, columns=200) as (terminal, _):
        terminal.type(f"{line}\n")
        terminal.type("echo re''ady\n")
        terminal.read_until("ready")
        terminal.type("ticketmaster topi\tcre\t--replication\t")
        # To the line's beginning and to its end, so that the shell writes what it has completed where nothing is redrawn.
        terminal.type("\x01echo \x05 > completed\n")
        completed = tmp_path / "completed"
        wait_until(lambda: completed.exists() and completed.read_text().endswith("\n"), f"a line in {completed}")
        terminal.type("exit\n")
    assert completed.read_text().split() == ["ticketmaster", "topics", "create", "--replication-factor"]
