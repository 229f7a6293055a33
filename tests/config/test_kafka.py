"""What Kafka's keys come to: the settings in force, notes about the rest, errors that name file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.config.keys import KAFKA_KEYS, STREAM_KEYS
from ticketmaster.config.roles import Loaded, load_properties
from ticketmaster.errors import UsageError
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.wire.registry_settings import RegistrySettings

ROOT = Path(__file__).resolve().parents[2]
APPCONFIG = ROOT / "appconfig"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def loaded(file: Path, text: str) -> Loaded:
    file.write_text(text)
    return load_properties(file)


def refused(file: Path, text: str) -> str:
    with pytest.raises(UsageError) as raised:
        loaded(file, text)
    message = str(raised.value)
    assert "\n" not in message
    return message


# --- The files that come with the program ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["ticket", "reservation", "event"])
@pytest.mark.parametrize("client", ["client.dev.properties", "client.docker.properties"])
def test_the_files_of_this_repository_have_no_key_without_meaning(client: str, role: str) -> None:
    folder = APPCONFIG / f"{role}-service"
    producer = folder / "producer.properties"

    settings = load_properties(APPCONFIG / client, folder / "stream.properties", producer if producer.exists() else None)

    assert settings.notes == ()
    # They say that all is as by default, for people to start from.
    assert settings.streams == StreamSettings()
    assert settings.kafka == KafkaSettings(bootstrap_servers=settings.kafka.bootstrap_servers)


def test_without_a_file_the_local_settings_hold_which_are_those_of_the_file_for_development() -> None:
    without, development = load_properties(None), load_properties(APPCONFIG / "client.dev.properties")

    assert (without.kafka, without.registry, without.streams) == (development.kafka, development.registry, development.streams)
    assert (without.config_file, development.config_file) == (None, APPCONFIG / "client.dev.properties")


# --- Values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [key for key in KAFKA_KEYS if key.name not in {"bootstrap.servers", "client.id", "replication.factor"}], ids=lambda key: key.name
)
def test_each_number_reaches_its_setting(file: Path, key: object) -> None:
    name, field = key.name, key.field  # type: ignore[attr-defined]
    # Half and twice the default, with what must fit to it.
    value = getattr(KafkaSettings(), field) + 1
    settings = loaded(file, f"{name}={value}")

    assert getattr(settings.kafka, field) == value
    assert settings.notes == ()


def test_the_commit_interval_reaches_the_engine(file: Path) -> None:
    (key,) = STREAM_KEYS

    assert loaded(file, f"{key.name}=7").streams.commit_interval_max_ms == 7


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("a:1", "a:1"),
        (" a:1 , b.c:2,", "a:1,b.c:2"),
        ("[::1]:9092", "[::1]:9092"),
        ("SASL_SSL://pkc-1.example:9092", "pkc-1.example:9092"),
    ],
)
def test_brokers_are_given_as_kafka_takes_them(file: Path, text: str, servers: str) -> None:
    assert loaded(file, f"bootstrap.servers={text}").kafka.bootstrap_servers == servers


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bootstrap.servers=", "host:port"),
        ("bootstrap.servers=a", "not 'a'"),
        ("bootstrap.servers=a:99999", "not 'a:99999'"),
        ("linger.ms=soon", "not 'soon'"),
        ("linger.ms=-1", "an integer of at least 0"),
        ("linger.ms=99999999999", "not '99999999999'"),
        ("linger.ms=1.5", "not '1.5'"),
        ("batch.size=0", "an integer of at least 1"),
        ("acks=0", "all, -1 or 1"),
        ("compression.type=rar", "none"),
        ("security.protocol=TLS", "PLAINTEXT"),
        ("processing.guarantee=at_least_once", "exactly_once_v2"),
        ("consumer.isolation.level=read_uncommitted", "read_committed"),
        ("enable.idempotence=false", "true"),
        ("session.timeout.ms=1000\nheartbeat.interval.ms=900", "more than half"),
        ("schema.registry.url=registry", "http://"),
        ("schema.registry.url=http://", "http://"),
        ("basic.auth.credentials.source=USER_INFO", "basic.auth.user.info"),
        ("basic.auth.credentials.source=SASL_INHERIT", "sasl.jaas.config"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_file_line_and_key(file: Path, line: str, told: str) -> None:
    prelude = "" if "schema" in line else "schema.registry.url=http://localhost:8081\n"
    message = refused(file, f"# first\n{prelude}{line}")
    number = 2 + prelude.count("\n") + line.count("\n")

    assert message.startswith(f"{file}:{number}: {line.splitlines()[-1].partition('=')[0]}: ")
    assert told in message


def test_less_than_all_acknowledgements_is_allowed_and_told(file: Path) -> None:
    settings = loaded(file, "acks=1")

    assert settings.kafka.acks == "1"
    (note,) = settings.notes
    assert note.startswith(f"{file}:1: acks: ")
    assert "lost" in note


# --- Which file and which prefix wins ----------------------------------------------------------------------------------------


def test_the_stream_file_overrides_the_client_file_and_the_producer_file_both(tmp_path: Path) -> None:
    config, stream, producer = (tmp_path / name for name in ("c", "sc", "pc"))
    config.write_text("linger.ms=1\nbatch.size=1000\nretry.backoff.ms=11")
    stream.write_text("linger.ms=2\nbatch.size=2000")
    producer.write_text("linger.ms=3")

    kafka = load_properties(config, stream, producer).kafka

    assert (kafka.linger_ms, kafka.batch_bytes_max, kafka.retry_backoff_ms) == (3, 2000, 11)


def test_a_prefix_wins_over_the_plain_key_and_the_narrower_one_over_the_wider(file: Path) -> None:
    kafka = loaded(
        file,
        "fetch.min.bytes=1\nconsumer.fetch.min.bytes=2\nmain.consumer.fetch.min.bytes=3\nlinger.ms=4\nproducer.linger.ms=5",
    ).kafka

    assert (kafka.fetch_bytes_min, kafka.linger_ms) == (3, 5)


# --- Keys without meaning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("num.stream.threads=4", "see --workers"),
        ("lingr.ms=4", "did you mean linger.ms?"),
        ("consumer.linger.ms=4", "no meaning with this prefix; set linger.ms"),
        ("whatever=4", "there is no such key"),
        ("state.dir=x", "see --state-dir"),
    ],
)
def test_a_key_without_meaning_is_noted_once(file: Path, line: str, told: str) -> None:
    settings = loaded(file, f"{line}\n{line}")

    (note,) = settings.notes
    assert note.startswith(f"{file}:2: {line.partition('=')[0]} is ignored: ")
    assert told in note


def test_a_java_clients_configuration_is_taken_without_an_error(file: Path) -> None:
    settings = loaded(
        file,
        "application.id=ticket-service\nkey.serializer=org.apache.kafka.common.serialization.StringSerializer\n"
        "specific.avro.reader=true\nauto.offset.reset=earliest\nlinger.ms=10",
    )

    assert settings.kafka.linger_ms == 10
    assert len(settings.notes) == 4


# --- The registry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RegistrySettings()),
        ("schema.registry.url=http://r:1/path", RegistrySettings(url="http://r:1/path")),
        ("schema.registry.url=http://ann:pw@r:1", RegistrySettings(url="http://r:1", username="ann", password="pw")),
        (
            "schema.registry.url=http://r:1\nbasic.auth.credentials.source=USER_INFO\nbasic.auth.user.info=ann:p:w",
            RegistrySettings(url="http://r:1", username="ann", password="p:w"),
        ),
        (
            (
                "schema.registry.url=http://r:1\nbasic.auth.credentials.source=SASL_INHERIT\n"
                'sasl.jaas.config=x.y.PlainLoginModule required username="ann" password="pw";'
            ),
            RegistrySettings(url="http://r:1", username="ann", password="pw"),
        ),
    ],
)
def test_the_registry_and_who_asks_it(file: Path, text: str, expected: RegistrySettings) -> None:
    assert loaded(file, text).registry == expected


def test_of_several_registries_the_first_is_used_and_the_rest_noted(file: Path) -> None:
    settings = loaded(file, "schema.registry.url=http://a:1,http://b:2")

    assert settings.registry.url == "http://a:1"
    assert "only the first of 2" in settings.notes[0]
