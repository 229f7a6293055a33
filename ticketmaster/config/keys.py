"""The property keys that are read by hand, beside those that fill a field each: what each may hold and what it means."""

from __future__ import annotations

from typing import Final

from ticketmaster.config.security import HOSTNAME_CHECK, MECHANISM, PROTOCOL, STORE_TYPE, TLS_VERSIONS
from ticketmaster.config.values import SECRET, TEXT, URL, WORD, Entry, Kind, one_of

CREDENTIALS_SOURCES: Final = one_of({name: name for name in ("URL", "USER_INFO", "SASL_INHERIT")}, fold=True)
_FILE: Final = Kind("a PEM file", str)


# Each is there twice: of the brokers, and with the prefix `schema.registry.` of the registry.
SSL: Final = (
    Entry("ssl.truststore.location", _FILE, "the system's authorities", "certificates of the authorities that are trusted"),
    Entry("ssl.truststore.certificates", TEXT, "", "the same, as PEM text instead of a file"),
    Entry("ssl.truststore.type", STORE_TYPE, "PEM", "JKS and PKCS12 are refused, with the command that converts them"),
    Entry("ssl.truststore.password", SECRET, "", "of a store that is no PEM file: not used"),
    Entry("ssl.keystore.location", _FILE, "", "our own certificate and its private key, where the other side asks for one"),
    Entry("ssl.keystore.key", SECRET, "", "the private key as PEM text instead of a file"),
    Entry("ssl.keystore.certificate.chain", TEXT, "", "the certificate that belongs to it"),
    Entry("ssl.keystore.type", STORE_TYPE, "PEM", "as of the trust store"),
    Entry("ssl.keystore.password", SECRET, "", "as of the trust store"),
    Entry("ssl.key.password", SECRET, "", "opens an encrypted private key"),
    Entry("ssl.endpoint.identification.algorithm", HOSTNAME_CHECK, "HTTPS", "empty: any host name is accepted in a certificate"),
    Entry("ssl.enabled.protocols", TLS_VERSIONS, "Python's own", "versions of TLS"),
)
KAFKA_SECURITY: Final = (
    Entry("security.protocol", PROTOCOL, "PLAINTEXT", "encryption and authentication of the brokers"),
    Entry("sasl.mechanism", MECHANISM, "", "how we prove who we are; needed by SASL_PLAINTEXT and SASL_SSL"),
    Entry("sasl.jaas.config", SECRET, "", "user name and password, or clientId, clientSecret, scope and extension_*, as for Java"),
    Entry("sasl.oauthbearer.token.endpoint.url", URL, "", "where OAUTHBEARER gets its tokens by client credentials"),
    Entry("sasl.oauthbearer.client.credentials.client.id", WORD, "clientId of sasl.jaas.config", "who asks there"),
    Entry("sasl.oauthbearer.client.credentials.client.secret", SECRET, "clientSecret of sasl.jaas.config", "its secret"),
    Entry("sasl.oauthbearer.scope", TEXT, "scope of sasl.jaas.config", "what is asked for there"),
    *SSL,
)
REGISTRY: Final = (
    Entry("schema.registry.url", URL, "http://localhost:8081", "base of the registry's Confluent interface; of several the first is used"),
    Entry("basic.auth.credentials.source", CREDENTIALS_SOURCES, "URL", "where user name and password for the registry stand"),
    Entry("basic.auth.user.info", SECRET, "", "with USER_INFO: user:password; schema.registry.basic.auth.user.info is the same"),
    *(entry._replace(name=f"schema.registry.{entry.name}") for entry in SSL),
)
