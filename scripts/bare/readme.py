"""The commands of README.md and docs/quickstart.md, as they stand there, and what each is to do on a machine that has little."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

# Followed one after the other: each begins with a server of its own.
GUIDES = ("README.md", "docs/quickstart.md")
# The port in their text; a trial takes a free one.
PORT = "8080"
SALE = "make sale"
# The sale's own size takes longer than CI has time for.
QUICK_REQUESTS = 5_000
KAFKA_OPTION = " -c ./kafka/client.properties"
# Every problem document of the server begins so.
PROBLEM = '"type":"/docs#'
TRACEBACK = "Traceback (most recent call last)"
_TAIL_LINES = 3


@dataclass(frozen=True, slots=True)
class Command:
    """A command, with the lines that continue it, and where it stands."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """For a report."""
        return f"{self.file}:{self.line}"

    @property
    def name(self) -> str:
        """Its first line, without the comment."""
        return re.sub(r"\s+#.*", "", self.text.splitlines()[0])


def blocks(text: str, file: str) -> Iterator[tuple[Command, ...]]:
    """The commands of each fence of shell commands."""
    commands: list[Command] = []
    pending: list[str] = []
    begin, inside = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if inside and commands:
                yield tuple(commands)
            inside, commands = line == "```sh", []
        elif inside and (pending or (line.strip() and not line.startswith("#"))):
            begin = begin if pending else number
            pending.append(line)
            if not line.endswith("\\"):
                commands.append(Command(file, begin, "\n".join(pending)))
                pending = []


class Expects(Enum):
    """What a command does if all is well."""

    DONE = "done"
    # It answers at its port until it is stopped.
    SERVES = "serves"
    # It says in one line what the machine lacks.
    LACKS = "lacks"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Step:
    """A command as it is run here."""

    command: Command
    text: str
    expects: Expects
    # Where it serves.
    port: int = 0
    # It is left out.
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """How far the guides are followed, and with what."""

    port: int
    # The roles serve on a port of their own: the one process goes on meanwhile.
    roles_port: int
    # Java and Maven are there, as docs/quickstart.md asks for.
    kafka: bool
    # The sale, the checks and the tests in full length.
    whole: bool

    def step(self, command: Command) -> Step:
        """What becomes of a command."""
        on_kafka = re.match(r"ticketmaster (topics \w+|event|reservation|ticket)\b", command.text)
        port = self.roles_port if on_kafka else self.port
        text = command.text.replace(PORT, str(port))
        if on_kafka and self.kafka:
            text = text.replace(on_kafka[0], on_kafka[0] + KAFKA_OPTION)
        if not self.whole and re.match(r"make (check|test|test-versions)\b", text):
            return Step(command, text, Expects.LEFT_OUT, why="takes minutes")
        if text.startswith("pipx "):
            return Step(command, text, Expects.LEFT_OUT, why="there is no pipx, and no wheel of a release")
        if not self.kafka:
            if on_kafka and not on_kafka[1].startswith("topics"):
                return Step(command, text, Expects.LEFT_OUT, why="there is no Kafka")
            if on_kafka or text.startswith("scripts/kafka/cluster start"):
                return Step(command, text, Expects.LACKS)
        if text.startswith(SALE):
            text = f"SERVER=localhost:{port} {'' if self.whole else f'REQUESTS={QUICK_REQUESTS} '}{text}"
        if text.startswith("make up"):
            text = f"PORT={port} {text}"
        serves = re.search(r"^(PORT=\d+ make up|ticketmaster ticket)\b", text)
        return Step(command, text, Expects.SERVES if serves else Expects.DONE, port)


def in_order(found: list[tuple[Command, ...]], *, kafka: bool) -> list[tuple[Command, ...]]:
    """The blocks as a reader follows them: whoever has no Kafka starts one, in the same terminal, before it is used."""
    start = next((block for block in found if block[0].text.startswith("scripts/kafka/cluster start")), None)
    if start is None or not kafka:
        return found
    at = found.index(start)
    users = found[at - 1]
    # It needs no .venv; what comes before the first command that needs Kafka may as well come first.
    return [*found[: at - 1], (*start, *users), *found[at + 1 :]]


def broken(step: Step, status: int | None, output: str) -> str:
    """The fault of a command; '' if it has none. Without a status it did not come to an end."""
    if TRACEBACK in output:
        return "a traceback"
    if PROBLEM in output:
        return "a problem document"
    if status is None:
        return "has not come to an end in time"
    if step.expects is Expects.LACKS:
        lines = [line for line in output.splitlines() if line.strip()]
        return "" if status == 2 and len(lines) == 1 else f"exit code {status} and {len(lines)} lines, for want of one tool"
    return "" if status == 0 else f"exit code {status}"


def tail(output: str) -> str:
    """The last lines that say something, for a report."""
    return "\n".join([f"    {line.rstrip()}" for line in output.splitlines() if line.strip()][-_TAIL_LINES:])
