"""The lists in the documents are those of the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from scripts.docs import figures, manual, reference
from ticketmaster.cli import PREFIX, main
from ticketmaster.cli.environment import variables
from ticketmaster.config.kafka import read_kafka, read_registry, read_streams
from ticketmaster.config.keys import KAFKA_SECURITY, PLACES, REGISTRY
from ticketmaster.config.properties import Place, Property
from ticketmaster.config.unused import note_of
from ticketmaster.config.values import Values
from ticketmaster.errors import UsageError
from ticketmaster.ticket import problems
from ticketmaster.wire.topics import ALL_TOPICS

DOCUMENTS = {path.name: path for path in reference.documents()}
AT = Place(Path("client.properties"), 1)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_what_the_code_has(name: str) -> None:
    text = DOCUMENTS[name].read_text()

    assert text == reference.written(text), "write it anew: make docs"


def test_the_manual_has_what_the_code_has() -> None:
    text = manual.page()

    assert manual.TARGET.read_text() == text, "write it anew: make docs"
    assert [name for name, _ in variables(main, PREFIX) if f"[{name}]" not in text] == []


def test_every_list_has_its_place_in_a_document() -> None:
    everything = "".join(path.read_text() for path in DOCUMENTS.values())

    assert [name for name in reference.PARTS if f"<!-- {name}: written by make docs -->" not in everything] == []


def test_every_option_and_every_topic_is_in_its_list() -> None:
    text = reference.options()

    names = [name for name, _ in variables(main, PREFIX)]
    assert len(names) > 50
    assert [name for name in names if f"`{name}`" not in text] == []
    assert [topic.name for topic in ALL_TOPICS if f"`{topic.name}`" not in reference.topic_list()] == []


def test_every_problem_that_is_answered_is_in_its_list() -> None:
    text = reference.problems()

    given = [one.response for one in vars(problems).values() if isinstance(one, problems.Problem)]
    assert len(given) > 10
    codes = {(status, body.split(b'"code":"')[1].split(b'"')[0].decode()) for status, _, body in given}
    assert [(status, code) for status, code in codes if f"| {status} | `{code}` |" not in text] == []


def test_a_default_that_depends_is_taken_from_the_help() -> None:
    row = reference.option_row("X", click.Option(["--bind"], help="Where.  [default: it depends]"))

    assert row == ("`--bind`", "`X`", "text", "it depends", "", "Where.")


# --- Keys that are read by hand ----------------------------------------------------------------------------------------------


class Asked(Values):
    """Notes which keys are asked for."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__({key: Property(key, text, AT) for key, text in texts.items()})
        self.keys: set[str] = set()

    def raw(self, key: str) -> str | None:
        self.keys.add(key)
        return super().raw(key)

    def has(self, key: str) -> bool:
        self.keys.add(key)
        return super().has(key)


def configurations() -> Iterator[dict[str, str]]:
    """Each leads to keys that the others do not."""
    jaas = 'org.apache.kafka.common.security.{} required username="a" password="b" clientId="c";'
    registry = {"schema.registry.url": "https://registry"}
    yield {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": jaas.format("plain.PlainLoginModule"),
        **registry,
    }
    yield {"basic.auth.credentials.source": "USER_INFO", "basic.auth.user.info": "a:b", **registry}
    yield {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.jaas.config": jaas.format("oauthbearer.OAuthBearerLoginModule"),
        "sasl.oauthbearer.client.credentials.client.secret": "d",
        "sasl.oauthbearer.token.endpoint.url": "https://token",
    }
    # Refused, but not before the password of the key is looked for.
    no_identity = {"ssl.keystore.key": "no PEM", "ssl.keystore.certificate.chain": "no PEM"}
    yield {"security.protocol": "SSL", **no_identity}
    yield {f"schema.registry.{key}": text for key, text in no_identity.items()} | registry


def test_the_keys_that_are_read_are_those_in_the_lists() -> None:
    asked = set[str]()
    for texts in configurations():
        values = Asked(texts)
        with suppress(UsageError):
            read_kafka(values, [])
            read_streams(values)
            read_registry(values, [])
        asked |= values.keys

    told = {prefix + name for name, where in PLACES.items() for prefix in ("", *where.prefixes)}
    assert asked - told == set()
    assert {entry.name for entry in (*KAFKA_SECURITY, *REGISTRY)} - asked == set()


def test_the_defaults_that_are_told_are_in_force() -> None:
    told = {entry.name: entry.default for entry in (*KAFKA_SECURITY, *REGISTRY)}

    assert read_registry(Values({}), []).url == told["schema.registry.url"]
    assert read_kafka(Values({}), []).security.protocol == told["security.protocol"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("sasl.mechanisms", "sasl.mechanism"), ("ssl.truststore.locations", "ssl.truststore.location")]
)
def test_a_mistyped_key_is_told_with_its_neighbour(typed: str, meant: str) -> None:
    assert note_of(Property(typed, "x", AT)).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(("mended", "told"), [([], "1 seed failed."), ([{"seed": 17}], "1 seed failed, mended since.")])
def test_the_readme_calls_a_failed_seed_failed_whatever_was_at_fault(
    mended: list[dict[str, int]], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = {"result": {"seeds": 50, "faults": {"killed": 3}, "failed": {"17": ["not at rest"]}}}
    results = {"simulation": [simulated], "planted": [], "kafka": [], "mended": mended}
    (tmp_path / "reliability.json").write_text(json.dumps(results))
    monkeypatch.setattr(figures, "_DOCS", tmp_path)

    assert figures.proof().splitlines()[0].endswith(told)
