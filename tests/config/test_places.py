"""Where a key is read: which file and which prefix, and that none of them is dropped without a word."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ticketmaster.bootstrap import topics
from ticketmaster.config.keys import (
    ACKS,
    CLIENT_PREFIXES,
    COMPRESSION,
    FIXED,
    KAFKA_KEYS,
    NOT_SUPPORTED,
    PLACES,
    PROCESS,
    PRODUCER,
    SECURITY,
    STREAM_KEYS,
)
from ticketmaster.config.roles import Loaded, load_properties
from ticketmaster.errors import UsageError

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
SASL = f'security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} username="a" password="b";'
TOKENS = (
    "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=https://login/token\n"
    f'sasl.jaas.config={OAUTH} clientId="a" clientSecret="b";'
)
HTTPS = "schema.registry.url=https://r:1"


class Files:
    """The three files of a role."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, c: str = "", sc: str = "", pc: str = "") -> Loaded:
        paths = [self.folder / name for name in ("c", "sc", "pc")]
        for path, text in zip(paths, (c, sc, pc), strict=True):
            path.write_text(text)
        return load_properties(*paths)

    def refused(self, c: str = "", sc: str = "", pc: str = "") -> str:
        with pytest.raises(UsageError) as raised:
            self.load(c, sc, pc)
        return str(raised.value).replace(f"{self.folder}/", "")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def facts(loaded: Loaded) -> dict[str, Any]:
    """All that can be compared: a context of TLS by what it trusts, shows and allows."""
    found: dict[str, Any] = {}
    for name, part in (
        ("kafka", loaded.kafka),
        ("security", loaded.kafka.security),
        ("registry", loaded.registry),
        ("engine", loaded.streams),
    ):
        for field in part.__dataclass_fields__:
            value = getattr(part, field)
            if field == "ssl_context" and value is not None:
                value = (value.get_ca_certs(), value.check_hostname, value.minimum_version, value.maximum_version)
            if field != "security":
                found[f"{name}.{field}"] = value
    return found


# --- Security is never dropped -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "prefix"), [("sc", ""), ("pc", ""), ("pc", "producer.")])
def test_the_connection_of_an_overriding_file_is_that_of_the_process(files: Files, flag: str, prefix: str) -> None:
    text = f"bootstrap.servers=b:2\n{SASL}\nschema.registry.url=http://r:2"
    loaded = files.load("bootstrap.servers=a:1\nsecurity.protocol=PLAINTEXT", **{flag: re.sub("(?m)^", prefix, text)})

    assert (loaded.kafka.bootstrap_servers, loaded.registry.url) == ("b:2", "http://r:2")
    assert (loaded.kafka.security.protocol, loaded.kafka.security.username, loaded.kafka.security.password) == ("SASL_PLAINTEXT", "a", "b")
    assert loaded.notes == ()


@pytest.mark.parametrize("prefix", [prefix for prefix in CLIENT_PREFIXES if prefix != "topic."])
@pytest.mark.parametrize("key", ["security.protocol=SSL", "bootstrap.servers=b:2", "sasl.jaas.config=x", "ssl.truststore.location=/x"])
def test_a_connection_of_one_client_alone_is_refused(files: Files, prefix: str, key: str) -> None:
    message = files.refused(f"bootstrap.servers=a:1\n{prefix}{key}")

    assert message.startswith(f"c:2: {prefix}{key.partition('=')[0]} changes nothing: ")
    assert message.endswith("for all clients of a process connect alike")


def test_what_holds_for_all_may_be_said_for_one_client_again(files: Files) -> None:
    loaded = files.load("bootstrap.servers=a:1\nsecurity.protocol=SSL\nadmin.bootstrap.servers=a:1\nproducer.security.protocol=SSL")

    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("security.protocl=SSL", "did you mean security.protocol?"),
        ("securty.protocol=SSL", "did you mean security.protocol?"),
        ("boostrap.servers=a:1", "did you mean bootstrap.servers?"),
        ("security.protocol=SSL\nssl.truststore.locations=/x", "did you mean ssl.truststore.location?"),
        ("sasl.username=ann", "there is no such key"),
        ("ssl.ca.location=/x", "ssl."),
        ("security.protocol=SSL\nssl.cipher.suites=x", "ssl.enabled.protocols"),
        ("security.protocol=SSL\nssl.truststore.password=x", "PEM has none"),
        (f"{HTTPS}\nschema.registry.ssl.keystore.password=x", "PEM has none"),
        ("bearer.auth.token=x", "a user and a password only"),
        ("ssl.truststore.location=/x", "see security.protocol"),
        ("sasl.jaas.config=x", "see security.protocol"),
        ("schema.registry.ssl.truststore.location=/x", "see schema.registry.url"),
        ("basic.auth.user.info=a:b", "basic.auth.credentials.source=USER_INFO"),
        ("schema.registry.basic.auth.user.info=a:b", "basic.auth.credentials.source=USER_INFO"),
    ],
)
def test_a_setting_of_security_that_nothing_makes_use_of_ends_the_program(files: Files, text: str, told: str) -> None:
    assert told in files.refused(text)


def test_what_the_file_itself_switches_off_is_noted_and_what_another_file_adds_is_refused(files: Files) -> None:
    (note,) = files.load("security.protocol=PLAINTEXT\nssl.truststore.location=/x").notes
    assert note.endswith("ssl.truststore.location is ignored: nothing that is set makes use of it; see security.protocol")

    assert files.refused("security.protocol=PLAINTEXT", pc="ssl.truststore.location=/x").startswith("pc:1: ssl.truststore.location ")


def test_credentials_of_the_registry_need_no_address_of_it(files: Files) -> None:
    text = "basic.auth.credentials.source=USER_INFO\nbasic.auth.user.info=ann:pw"
    registry = files.load(text).registry
    assert (registry.url, registry.username, registry.password) == ("http://localhost:8081", "ann", "pw")

    assert files.load(re.sub("(?m)^", "schema.registry.", text)).registry == registry


def test_an_at_sign_in_the_path_of_the_registry_is_no_user(files: Files) -> None:
    assert files.load("schema.registry.url=http://r:1/a@b").registry.url == "http://r:1/a@b"


@pytest.mark.parametrize("behind", ["?token=s3cr3t", "/#s3cr3t"])
def test_what_stands_behind_the_path_of_the_registry_is_refused_and_not_told(files: Files, behind: str) -> None:
    refused = files.refused(f"schema.registry.url=http://r:1{behind}")
    assert "without ? and #" in refused
    assert "s3cr3t" not in refused


# --- Every documented key changes something ------------------------------------------------------------------------------------

# Of each key: what stands beside it, and a value; where there is none, the key is one of a number and stands alone.
SAMPLES: dict[str, tuple[str, str]] = {
    "bootstrap.servers": ("", "b:2"),
    "client.id": ("", "me"),
    "replication.factor": ("", "2"),
    COMPRESSION: ("", "none"),
    ACKS: ("", "1"),
    "commit.interval.ms": ("", "7"),
    "security.protocol": ("", "SSL"),
    "sasl.mechanism": (SASL, "SCRAM-SHA-256"),
    "sasl.jaas.config": (SASL, f'{PLAIN} username="c" password="d";'),
    "sasl.oauthbearer.token.endpoint.url": (TOKENS, "https://other/token"),
    "sasl.oauthbearer.client.credentials.client.id": (TOKENS, "c"),
    "sasl.oauthbearer.client.credentials.client.secret": (TOKENS, "d"),
    "sasl.oauthbearer.scope": (TOKENS, "s"),
    "schema.registry.url": ("", "http://r:2"),
    "basic.auth.credentials.source": ("schema.registry.url=http://u:p@r:1\nbasic.auth.user.info=a:b", "USER_INFO"),
    "basic.auth.user.info": ("basic.auth.credentials.source=USER_INFO", "a:b"),
    "schema.registry.basic.auth.credentials.source": ("schema.registry.url=http://u:p@r:1\nbasic.auth.user.info=a:b", "USER_INFO"),
    "schema.registry.basic.auth.user.info": ("basic.auth.credentials.source=USER_INFO", "a:b"),
    **dict.fromkeys(FIXED, ("", "no")),
}
# Of TLS, for the brokers and for the registry.
TLS: dict[str, tuple[str, str]] = {
    "ssl.truststore.location": ("", "{pem}/cert.pem"),
    "ssl.truststore.certificates": ("", "{cert}"),
    "ssl.truststore.type": ("ssl.truststore.location={pem}/cert.pem", "JKS"),
    "ssl.keystore.location": ("", "{pem}/none.pem"),
    "ssl.keystore.key": ("", "{cert}"),
    "ssl.keystore.certificate.chain": ("", "{cert}"),
    "ssl.keystore.type": ("ssl.keystore.location={pem}/both.pem\nssl.key.password=pw", "PKCS12"),
    "ssl.key.password": ("ssl.keystore.location={pem}/both.pem", "pw"),
    "ssl.endpoint.identification.algorithm": ("", ""),
    "ssl.enabled.protocols": ("", "TLSv1.3"),
}


def sample(name: str, pem: Path) -> tuple[str, str]:
    """(what stands beside a key, its value)."""
    prefix = "schema.registry." if name.startswith("schema.registry.ssl.") else ""
    plain = name.removeprefix(prefix)
    if plain in TLS:
        beside, value = TLS[plain]
        beside = "\n".join([HTTPS if prefix else "security.protocol=SSL", *(prefix + line for line in beside.splitlines())])
        cert = (pem / "cert.pem").read_text().strip().replace("\n", "\\n\\\n")
        return beside.format(pem=pem), value.format(pem=pem, cert=cert)
    if name in SAMPLES:
        return SAMPLES[name]
    (key,) = (key for key in (*KAFKA_KEYS, *STREAM_KEYS) if key.name == name)
    return "", str(getattr(load_properties(None).kafka, key.field) + 1)


@pytest.mark.parametrize("name", PLACES)
def test_every_key_of_the_table_changes_something(files: Files, pem: Path, name: str) -> None:
    beside, value = sample(name, pem)

    def outcome(c: str = "", pc: str = "") -> dict[str, Any] | str:
        try:
            return facts(files.load(c, pc=pc))
        except UsageError as error:
            return str(error)

    without = outcome(beside)
    for prefix in ("", *PLACES[name].prefixes):
        assert outcome(f"{beside}\n{prefix}{name}={value}") != without, prefix
    if PLACES[name] in (PROCESS, PRODUCER):
        assert outcome(beside, f"{name}={value}") != without, "-pc"


@pytest.mark.parametrize("name", [name for name, where in PLACES.items() if where not in (PROCESS, PRODUCER)])
def test_what_is_not_the_producers_has_no_meaning_in_its_file(files: Files, name: str, pem: Path) -> None:
    (note,) = files.load(pc=f"{name}={sample(name, pem)[1]}").notes

    assert note.endswith(f"{name} is ignored: it has no meaning with this prefix; set {name}") or name in note


def test_a_setting_that_no_code_reads_is_none() -> None:
    package = Path(__file__).resolve().parents[2] / "ticketmaster"
    sources = "".join(path.read_text() for path in package.rglob("*.py") if "config" not in path.parts)
    fields = {key.field for key in (*KAFKA_KEYS, *STREAM_KEYS)} | {"acks", "compression", "security"}

    assert sorted(field for field in fields if not re.search(rf"\.{field}\b", sources)) == []


@pytest.mark.parametrize(("lines", "option", "used"), [("", None, None), ("replication.factor=2", None, 2), ("replication.factor=2", 3, 3)])
def test_topics_get_the_replicas_of_the_file_unless_the_option_says_otherwise(
    files: Files, monkeypatch: pytest.MonkeyPatch, lines: str, option: int | None, used: int | None
) -> None:
    found: list[int | None] = []

    async def create(_broker: object, _wanted: object, _partitions: int | None, replicas: int | None) -> list[topics.Change]:
        found.append(replicas)
        return []

    async def with_broker(_kafka: object, work: Callable[[object], Awaitable[list[topics.Change]]]) -> list[topics.Change]:
        return await work(None)

    monkeypatch.setattr(topics, "create", create)
    monkeypatch.setattr(topics, "_with_broker", with_broker)
    topics.run_create(files.load(lines).kafka, None, option)

    assert found == [used]


# --- The original's files --------------------------------------------------------------------------------------------------------

# Every key that a properties file of the system has that we re-implement, by file.
ORIGINAL_C = (
    "bootstrap.servers=SASL_SSL://k:9092\nschema.registry.url=https://r\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
    "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username='a' password='b';\n"
    "basic.auth.credentials.source=USER_INFO\nbasic.auth.user.info=c:d\ncompression.type=lz4\nlinger.ms=50\n"
)
ORIGINAL_SC = (
    "commit.interval.ms=100\nmetric.reporters=org.apache.kafka.common.metrics.JmxReporter\nproducer.linger.ms=100\n"
    "producer.batch.size=2097152\nproducer.max.request.size=2097152\nproducer.compression.type=lz4\nproducer.buffer.memory=536870912\n"
)
ORIGINAL_PC = "compression.type=lz4\nlinger.ms=100\nbatch.size=2097152\nmax.request.size=2097152\nbuffer.memory=536870912\nacks=all\n"


def test_every_key_of_the_original_s_files_is_honoured_or_reported(files: Files) -> None:
    loaded = files.load(ORIGINAL_C, ORIGINAL_SC, ORIGINAL_PC)

    assert (loaded.kafka.linger_ms, loaded.kafka.batch_bytes_max, loaded.kafka.request_bytes_max) == (100, 2_097_152, 2_097_152)
    assert (loaded.kafka.security.username, loaded.registry.username, loaded.streams.commit_interval_max_ms) == ("a", "c", 100)
    assert [re.search(r":\d+: (\S+) is ignored", note)[1] for note in loaded.notes] == ["metric.reporters", "buffer.memory"]  # type: ignore[index]


# --- As Java refuses it ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["acks=1", "producer.acks=1", "retries=0", "max.in.flight.requests.per.connection=6", "producer.retries=0"]
)
@pytest.mark.parametrize("flag", ["c", "pc"])
def test_idempotence_and_what_contradicts_it_are_refused_together(files: Files, line: str, flag: str) -> None:
    assert "enable.idempotence is true" in files.refused(**{flag: f"enable.idempotence=true\n{line}"})
    files.load(**{flag: line})


def test_an_idempotence_that_cant_be_had_is_told_for_itself_whatever_stands_beside_it(files: Files) -> None:
    assert "enable.idempotence: must be true" in files.refused(c="enable.idempotence=false\nacks=1")


@pytest.mark.parametrize("value", ["0", "-2", "101", "x"])
def test_replicas_are_one_or_more_or_the_cluster_s(files: Files, value: str) -> None:
    assert "-1 for the cluster's default" in files.refused(f"replication.factor={value}")


# --- No secret in any text -----------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-Never+Shown"
PEM_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
# All other keys are names, numbers and words: a short wrong one is repeated for whoever mistyped it.
SECRETS = {name for name in SECURITY if name.endswith(("config", "secret", "info", "key", "password", "url", "certificates", "chain"))}
# These a refusal of the token endpoint and the brokers' logs tell.
NAMES = {"client.id", "sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.scope"}


def beside(name: str) -> str:
    """What makes a key be read."""
    if name.startswith("schema.registry."):
        return HTTPS
    if name.startswith("ssl."):
        return "security.protocol=SSL"
    return TOKENS if "oauth" in name else SASL if name.startswith("sasl.") else ""


@pytest.mark.parametrize("name", [*PLACES, *NOT_SUPPORTED, "no.such.key", "ssl.no.such.key"])
def test_no_value_is_repeated_that_may_be_a_secret(files: Files, name: str) -> None:
    shapes = ("http://ann:{}@host:1", "x y {}", "-----BEGIN PRIVATE KEY-----\\n{}", *(["{}"] if name in SECRETS else []))
    for shape in shapes:
        line = f"{name}={shape.format(SECRET)}"
        for given in ({"c": line}, {"c": f"{beside(name)}\n{line}"}, {"c": beside(name), "pc": line}, {"c": f"producer.{line}"}):
            try:
                loaded = files.load(**given)
            except UsageError as error:
                texts = [str(error), repr(error), repr(error.__cause__)]
            else:
                texts = [*loaded.notes, *([] if name in NAMES else [repr(loaded)])]
            assert not any(SECRET in text for text in texts), (given, texts)


@pytest.mark.parametrize(
    "line",
    [PEM_LINE, f"{PEM_LINE}==", f'username="a" password="{SECRET}";', SECRET, f"{PLAIN} password={SECRET}", f"abc{SECRET}=x"],
)
def test_a_secret_whose_line_lacks_its_continuation_is_not_told_as_a_key(files: Files, line: str) -> None:
    loaded = files.load(f"security.protocol=PLAINTEXT\n{line}")

    assert loaded.notes
    for text in (*loaded.notes, repr(loaded)):
        assert SECRET not in text
        assert PEM_LINE not in text
