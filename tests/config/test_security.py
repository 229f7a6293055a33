"""Encryption and authentication as Kafka's clients are told of them. No error may show a secret."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.broker.kafka.settings import KafkaSecurity, OauthClient
from ticketmaster.config.roles import load_properties
from ticketmaster.config.security import parse_jaas
from ticketmaster.errors import UsageError

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
SECRET = "s3cr3t-never-shown"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def security(file: Path, text: str) -> KafkaSecurity:
    file.write_text(text)
    loaded = load_properties(file)
    assert loaded.notes == ()
    return loaded.kafka.security


def refused(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_properties(file)
    message = str(raised.value)
    assert message.startswith(f"{file}:")
    assert SECRET not in message
    assert "\n" not in message
    return message


# --- SASL --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mechanism", "module"), [("PLAIN", PLAIN), ("SCRAM-SHA-256", SCRAM), ("SCRAM-SHA-512", SCRAM)])
def test_user_name_and_password_come_from_the_jaas_configuration(file: Path, mechanism: str, module: str) -> None:
    found = security(
        file,
        f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\n"
        f'sasl.jaas.config={module} required \\\n  username="ann" \\\n  password="{SECRET}";',
    )

    assert (found.protocol, found.mechanism, found.username, found.password) == ("SASL_PLAINTEXT", mechanism, "ann", SECRET)
    assert found.ssl_context is None
    assert SECRET not in repr(found)


def test_sasl_over_tls_checks_the_broker_s_name_and_certificate(file: Path) -> None:
    found = security(
        file, f'security.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} required username="ann" password="x";'
    )

    assert found.protocol == "SASL_SSL"
    assert found.ssl_context is not None
    assert found.ssl_context.check_hostname
    assert found.ssl_context.verify_mode is ssl.CERT_REQUIRED


def test_oauth_gets_its_tokens_by_client_credentials(file: Path) -> None:
    found = security(
        file,
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=https://login/token\n"
        f'sasl.jaas.config={OAUTH} required clientId="c" clientSecret="{SECRET}" scope="s" extension_logicalCluster="lkc-1";',
    )

    assert found.oauth == OauthClient(
        token_url="https://login/token",
        client_id="c",
        client_secret=SECRET,
        scope="s",
        extensions=(("logicalCluster", "lkc-1"),),
    )
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("security.protocol=SASL_SSL", "needs sasl.mechanism"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI", "PLAIN"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN", "sasl.jaas.config"),
        (f'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={SCRAM} required username="a" password="{SECRET}";', PLAIN),
        (f'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} required password="{SECRET}";', "no username"),
        (f'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} required password="{SECRET}"', "semicolon"),
        (f"security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={SECRET};", "required"),
        (f'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} required password="{SECRET};', "character"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER", "token.endpoint.url"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=http://a", "clientSecret"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(file: Path, text: str, told: str) -> None:
    assert told in refused(file, text)


@given(st.dictionaries(st.from_regex(r"[a-zA-Z_]\w{0,8}", fullmatch=True).filter(str.isascii), st.text(st.characters(codec="utf-8"))))
def test_whatever_stands_between_quotation_marks_is_kept(options: dict[str, str]) -> None:
    options = {key: value.replace("\n", "") for key, value in options.items()}
    quoted = " ".join('{}="{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"')) for key, value in options.items())

    assert parse_jaas(f"// why\n{PLAIN} required /* what */ {quoted};") == (PLAIN, options)


@given(st.text(st.sampled_from("ab=;\"'\\ /*.\n")))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        module, options = parse_jaas(text)
    except ValueError:
        return
    assert module
    assert all(options)


# --- TLS ---------------------------------------------------------------------------------------------------------------------


def test_only_the_trust_store_is_trusted(file: Path, pem: Path) -> None:
    found = security(file, f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={pem}/cert.pem")

    assert found.ssl_context is not None
    (authority,) = found.ssl_context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "localhost"),),)


def test_a_certificate_may_stand_in_the_file_itself(file: Path, pem: Path) -> None:
    inline = (pem / "cert.pem").read_text().strip().replace("\n", "\\n\\\n")
    found = security(file, f"security.protocol=SSL\nssl.truststore.certificates={inline}")

    assert found.ssl_context is not None
    assert len(found.ssl_context.get_ca_certs()) == 1


def test_the_client_shows_the_certificate_of_its_key_store(file: Path, pem: Path) -> None:
    text = f"security.protocol=SSL\nssl.keystore.location={pem}/both.pem\nssl.key.password="

    assert security(file, f"{text}pw").ssl_context is not None
    assert "ssl.key.password does not open it" in refused(file, f"{text}{SECRET}")
    assert "ssl.key.password does not open it" in refused(file, text)


def test_versions_and_the_check_of_the_name_are_as_told(file: Path) -> None:
    text = "security.protocol=SSL\nssl.enabled.protocols=TLSv1.3\nssl.endpoint.identification.algorithm="
    context = security(file, text).ssl_context

    assert context is not None
    assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("ssl.truststore.location=/none", "No such file"),
        ("ssl.truststore.location={pem}/key.pem", "no certificate"),
        ("ssl.truststore.location={pem}/store.jks", "keytool"),
        ("ssl.truststore.location={pem}/store.p12\nssl.truststore.type=PKCS12", "openssl pkcs12"),
        ("ssl.truststore.location={pem}/cert.pem\nssl.truststore.certificates=x", "contradicts"),
        ("ssl.keystore.key=x", "ssl.keystore.certificate.chain"),
        ("ssl.enabled.protocols=SSLv3", "TLSv1.2"),
    ],
)
def test_what_cannot_be_used_for_tls_is_named_with_what_helps(file: Path, pem: Path, lines: str, told: str) -> None:
    (pem / "store.jks").write_bytes(b"\xfe\xed\xfe\xed")
    (pem / "store.p12").write_bytes(b"0\x82")

    assert told in refused(file, f"security.protocol=SSL\n{lines.format(pem=pem)}")


@pytest.mark.parametrize("store", ["truststore", "keystore"])
def test_a_store_without_an_end_is_not_read_to_its_end(file: Path, store: str) -> None:
    message = refused(file, f"security.protocol=SSL\nssl.{store}.location=/dev/zero")

    assert "more than 1,048,576 bytes" in message
