"""How scripts/bare/follow takes commands from README.md and docs/quickstart.md, and what it holds them against."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bare.commands import script
from scripts.bare.machine import mirror, pip_settings
from scripts.bare.readme import GUIDES, QUICK_REQUESTS, SALE, Command, Expects, Step, Trial, blocks, broken, in_order

ROOT = Path(__file__).resolve().parents[2]
QUICK = Trial(5001, 5002, kafka=False, whole=False)
WHOLE = Trial(5001, 5002, kafka=True, whole=True)
SAMPLE = """\
Text, and `code`.

```sh
# A remark.
make up   # sets up

one \\
  two
```

```
an answer
```

```sh
three &
```
"""


def found(trial: Trial) -> list[list[Step]]:
    """Every command of the guides, by its block."""
    guides = (in_order(list(blocks((ROOT / name).read_text(), name)), kafka=trial.kafka) for name in GUIDES)
    return [[trial.step(command) for command in block] for guide in guides for block in guide]


def steps(trial: Trial) -> dict[str, Step]:
    """Every command, by its name."""
    return {step.command.name: step for block in found(trial) for step in block}


def test_commands_are_those_of_the_shell_fences_with_what_continues_them() -> None:
    assert list(blocks(SAMPLE, "a.md")) == [
        (Command("a.md", 5, "make up   # sets up"), Command("a.md", 7, "one \\\n  two")),
        (Command("a.md", 16, "three &"),),
    ]
    assert Command("a.md", 5, "make up   # sets up").name == "make up"


@pytest.mark.parametrize("trial", [QUICK, WHOLE])
def test_what_serves_is_the_last_command_of_its_block(trial: Trial) -> None:
    serving = [step.command.name for block in found(trial) for step in block if step.expects is Expects.SERVES]
    assert serving == ["make up", "make up", "ticketmaster ticket -d ./tmp -p 8080"][: 2 + trial.kafka]
    assert all(step.expects is not Expects.SERVES for block in found(trial) for step in block[:-1])


def test_on_a_free_port_every_command_of_the_guides_names_it() -> None:
    for step in [*steps(QUICK).values(), *steps(WHOLE).values()]:
        assert "8080" not in step.text
    assert steps(QUICK)["make up"].text.startswith("PORT=5001 make up")
    assert steps(WHOLE)["ticketmaster ticket -d ./tmp -p 8080"].text == "ticketmaster ticket -c ./kafka/client.properties -d ./tmp -p 5002"


def test_in_a_hurry_the_sale_is_smaller_and_what_takes_minutes_is_left_out() -> None:
    assert steps(QUICK)[SALE].text == f"SERVER=localhost:5001 REQUESTS={QUICK_REQUESTS} make sale"
    assert steps(WHOLE)[SALE].text == "SERVER=localhost:5001 make sale"
    left_out = {name for name, step in steps(QUICK).items() if step.expects is Expects.LEFT_OUT}
    assert {"make check", "make test", "make test-versions"} < left_out
    # A release's wheel has tests of its own.
    of_wheel = [name for name in steps(WHOLE) if name.startswith("pipx")]
    assert of_wheel
    assert [name for name, step in steps(WHOLE).items() if step.expects is Expects.LEFT_OUT] == of_wheel


def test_without_a_kafka_its_commands_say_so_and_with_one_it_is_started_first() -> None:
    lacking = [name for name, step in steps(QUICK).items() if step.expects is Expects.LACKS]
    assert lacking == ["ticketmaster topics create", "scripts/kafka/cluster start ./kafka --registry"]
    names = list(steps(WHOLE))
    assert names.index("scripts/kafka/cluster start ./kafka --registry") < names.index("ticketmaster topics create")
    assert steps(WHOLE)["ticketmaster topics create"].text == "ticketmaster topics create -c ./kafka/client.properties"


@pytest.mark.parametrize(
    ("expects", "status", "output", "wrong"),
    [
        (Expects.DONE, 0, "fine", ""),
        (Expects.DONE, 1, "", "exit code 1"),
        (Expects.DONE, None, "", "has not come to an end in time"),
        (Expects.DONE, 0, 'Traceback (most recent call last):\n  File "x"', "a traceback"),
        # curl ends with 0 whatever the server answers.
        (Expects.DONE, 0, '{"type":"/docs#no_such_event","title":"Not Found"}', "a problem document"),
        (Expects.LACKS, 2, "cluster: no Java found\n", ""),
        (Expects.LACKS, 2, "one\ntwo\n", "exit code 2 and 2 lines, for want of one tool"),
        (Expects.LACKS, 0, "one\n", "exit code 0 and 1 lines, for want of one tool"),
    ],
)
def test_a_command_is_held_against_what_it_is_for(expects: Expects, status: int | None, output: str, wrong: str) -> None:
    assert broken(Step(Command("a.md", 1, "x"), "x", expects), status, output) == wrong


def test_a_command_changes_its_shell_and_reads_nothing_of_what_is_typed_next() -> None:
    said = script(Step(Command("a.md", 3, "id=$(one) # why"), "id=$(one) # why", Expects.DONE))
    assert "{\nid=$(one) # why\n} </dev/null >/var/tmp/said/a.md:3.out 2>&1\n" in said


def test_pip_there_is_told_what_pip_here_is_but_for_folders_of_this_machine() -> None:
    listed = [
        "global.index-url='https://mirror/simple'",
        ":env:.cert='/etc/ca.crt'",
        ":env:.find-links='/wheels'",
        "global.no-index='1'",
        "",
    ]
    assert pip_settings(listed) == {"index-url": "https://mirror/simple", "cert": "/etc/ca.crt"}


def test_packages_come_from_the_mirror_of_a_release_not_of_its_updates() -> None:
    assert mirror(["bookworm-security http://one/", "bookworm http://two/", "bookworm-updates http://three/"]) == "http://two/"
    assert mirror([]) == ""
