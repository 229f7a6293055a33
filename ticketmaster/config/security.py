"""Encryption and authentication, from the ``ssl.*`` and ``sasl.*`` keys of Kafka's clients."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ticketmaster.broker.kafka.settings import KafkaSecurity, OauthClient
from ticketmaster.config.properties import read_file
from ticketmaster.config.values import BARE_URL, Kind, Values, one_of
from ticketmaster.errors import UsageError
from ticketmaster.proxies import proxy_for

PROTOCOL: Final = one_of({name: name for name in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")}, fold=True)
MECHANISM: Final = one_of({name: name for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")})
STORE_TYPE: Final = one_of({name: name for name in ("PEM", "JKS", "PKCS12")}, fold=True)
HOSTNAME_CHECK: Final = one_of({"HTTPS": True, "": False}, fold=True)

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_PLAIN_MODULE: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM_MODULE: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_OAUTH_MODULE: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_MODULES: Final = {
    "PLAIN": _PLAIN_MODULE,
    "SCRAM-SHA-256": _SCRAM_MODULE,
    "SCRAM-SHA-512": _SCRAM_MODULE,
    "OAUTHBEARER": _OAUTH_MODULE,
}
_JAAS_SKIPPED: Final = re.compile(r"(?:\s+|//[^\n\r]*|/\*.*?\*/)*", re.DOTALL)
_JAAS_TOKEN: Final = re.compile(r"""(?P<word>[\w$.-]+)|"(?P<double>(?:\\.|[^"\\\n])*)"|'(?P<single>(?:\\.|[^'\\\n])*)'|(?P<sign>[=;])""")
_JAAS_FLAGS: Final = {"required", "requisite", "sufficient", "optional"}

_PATH: Final = re.compile(r"(?:[\w.~-]*/)?[\w./~+-]+\.\w{1,8}|/[\w./~+-]+", re.ASCII)


def _versions(text: str) -> list[ssl.TLSVersion]:
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= _VERSIONS.keys():
        raise ValueError(text)
    return sorted(_VERSIONS[name] for name in names)


TLS_VERSIONS: Final = Kind("TLSv1.2, TLSv1.3 or both with a comma between", _versions)


def kafka_security(values: Values) -> KafkaSecurity:
    """How to reach the brokers; raises UsageError for what is missing, contradictory or can't be read."""
    protocol = values.get("security.protocol", PROTOCOL) or "PLAINTEXT"
    context = ssl_context(values) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL_"):
        return KafkaSecurity(protocol=protocol, ssl_context=context)
    mechanism = values.get("sasl.mechanism", MECHANISM)
    if mechanism is None:
        raise values.error("security.protocol", f"{protocol} needs sasl.mechanism as well: {MECHANISM.expected}")
    if mechanism == "OAUTHBEARER":
        return KafkaSecurity(protocol=protocol, ssl_context=context, mechanism=mechanism, oauth=_oauth(values))
    if not values.has("sasl.jaas.config"):
        example = f'{_MODULES[mechanism]} required username="…" password="…";'
        raise values.error("sasl.mechanism", f"{mechanism} needs the credentials in sasl.jaas.config={example}")
    username, password = sasl_credentials(values, mechanism)
    return KafkaSecurity(protocol=protocol, ssl_context=context, mechanism=mechanism, username=username, password=password)


def sasl_credentials(values: Values, mechanism: str | None) -> tuple[str, str]:
    """User name and password of ``sasl.jaas.config``, which must be there; a mechanism of None takes any login module."""
    options = _jaas_options(values, mechanism)
    for name in ("username", "password"):
        if name not in options:
            raise values.error("sasl.jaas.config", f"has no {name}")
    return options["username"], options["password"]


def _oauth(values: Values) -> OauthClient:
    url_key = "sasl.oauthbearer.token.endpoint.url"
    url = values.get(url_key, BARE_URL)
    if url is None:
        raise values.error("sasl.mechanism", f"OAUTHBEARER needs {url_key} as well")
    # What is wrong with the proxy for it is said now; the client of Kafka would take it for a broker that is away.
    proxy_for(url)
    options = _jaas_options(values, "OAUTHBEARER") if values.has("sasl.jaas.config") else {}
    client_id = values.text("sasl.oauthbearer.client.credentials.client.id") or options.get("clientId")
    secret = values.raw("sasl.oauthbearer.client.credentials.client.secret") or options.get("clientSecret")
    if not client_id or not secret:
        raise values.error("sasl.mechanism", "OAUTHBEARER needs clientId and clientSecret in sasl.jaas.config")
    return OauthClient(
        token_url=url,
        client_id=client_id,
        client_secret=secret,
        scope=values.text("sasl.oauthbearer.scope") or options.get("scope", ""),
        extensions=tuple((name.removeprefix("extension_"), value) for name, value in options.items() if name.startswith("extension_")),
    )


def _jaas_options(values: Values, mechanism: str | None) -> dict[str, str]:
    key = "sasl.jaas.config"
    text = values.raw(key)
    assert text is not None, "asked for only when it is there"
    try:
        module, options = parse_jaas(text)
    except ValueError as wrong:
        raise values.error(key, str(wrong)) from None
    if mechanism and module != _MODULES[mechanism]:
        raise values.error(key, f"the login module of {mechanism} is {_MODULES[mechanism]}")
    return options


def parse_jaas(text: str) -> tuple[str, dict[str, str]]:
    """Login module and options of ``Module required key="value" …;``; raises ValueError, whose text has no part of the value."""
    tokens, position = list[tuple[str, str]](), 0
    while (position := _skipped(text, position)) < len(text):
        match = _JAAS_TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"character {position + 1} belongs to no word, no quoted text, no = and no ;")
        kind = str(match.lastgroup)
        quoted = kind in {"single", "double"}
        tokens.append(("word" if quoted else kind, re.sub(r"\\(.)", r"\1", match[kind]) if quoted else match[0]))
        position = match.end()
    signs = "".join({"word": "w"}.get(kind, value) for kind, value in tokens)
    words = [value for kind, value in tokens if kind == "word"]
    if not signs.endswith(";"):
        raise ValueError("must end with a semicolon")
    if signs.count(";") > 1:
        raise ValueError("must hold one login module, with one semicolon at its end")
    if not re.fullmatch(r"ww(w=w)*;", signs):
        raise ValueError('must be: login module, the word required, then key="value" pairs, then a semicolon')
    if words[1].lower() not in _JAAS_FLAGS:
        raise ValueError("after the login module must stand the word required")
    return words[0], dict(zip(words[2::2], words[3::2], strict=True))


def _skipped(text: str, position: int) -> int:
    match = _JAAS_SKIPPED.match(text, position)
    assert match is not None, "the pattern matches the empty string"
    return match.end()


def ssl_context(values: Values, prefix: str = "") -> ssl.SSLContext:
    """TLS as the ``ssl.*`` keys after ``prefix`` say; without a trust store, the system's authorities are trusted."""
    trusted = _pem(values, prefix, "truststore", ("certificates",))
    try:
        context = ssl.create_default_context(cadata=trusted)
    except (ssl.SSLError, ValueError) as cause:
        raise _store_error(values, prefix, "truststore", "certificates", f"holds no certificate that can be read ({cause})") from cause
    if values.get(f"{prefix}ssl.endpoint.identification.algorithm", HOSTNAME_CHECK) is False:
        context.check_hostname = False
    versions = values.get(f"{prefix}ssl.enabled.protocols", TLS_VERSIONS)
    if versions:
        context.minimum_version, context.maximum_version = versions[0], versions[-1]
    identity = _pem(values, prefix, "keystore", ("key", "certificate.chain"))
    if identity:
        _load_identity(context, identity, values, prefix)
    return context


def _load_identity(context: ssl.SSLContext, identity: str, values: Values, prefix: str) -> None:
    password = values.raw(f"{prefix}ssl.key.password") or ""
    # OpenSSL takes keys from files only; the directory can be read by nobody else.
    with TemporaryDirectory() as folder:
        file = Path(folder, "identity.pem")
        file.write_text(identity, encoding="utf-8")
        try:
            # Without a password OpenSSL would ask the terminal for it.
            context.load_cert_chain(file, password=password)
        except (OSError, ValueError) as cause:
            text = f"holds no certificate with its private key, or ssl.key.password does not open it ({cause})"
            raise _store_error(values, prefix, "keystore", "key", text) from cause


def _store_error(values: Values, prefix: str, store: str, inline: str, text: str) -> UsageError:
    keys = (f"{prefix}ssl.{store}.location", f"{prefix}ssl.{store}.{inline}")
    return values.error(next(key for key in keys if values.has(key)), text)


def _pem(values: Values, prefix: str, store: str, inline_names: tuple[str, ...]) -> str | None:
    """The PEM text of a store, from the file or from the properties themselves; None if there is no such store."""
    location = f"{prefix}ssl.{store}.location"
    store_type = values.get(f"{prefix}ssl.{store}.type", STORE_TYPE)
    inline = [values.raw(f"{prefix}ssl.{store}.{name}") for name in inline_names]
    path = values.text(location)
    if path is None:
        if any(inline):
            for name, text in zip(inline_names, inline, strict=True):
                if not text:
                    raise _store_error(values, prefix, store, _given(inline_names, inline), f"needs ssl.{store}.{name} as well")
            return "\n".join(filter(None, inline))
        return None
    if any(inline):
        raise values.error(location, f"contradicts ssl.{store}.{_given(inline_names, inline)}: give one of them")
    try:
        content = read_file(Path(path))
    except (OSError, ValueError) as cause:
        # A path may hold no character of code 0, which is no error of the system's. What is no path may be the secret itself.
        named = f"{path}: " if _PATH.fullmatch(path) else ""
        raise values.error(location, f"{named}{getattr(cause, 'strerror', None) or 'no file has such a name'}") from None
    if store_type in {"JKS", "PKCS12"} or b"-----BEGIN" not in content:
        raise values.error(location, _conversion(path, store, is_pkcs12=store_type == "PKCS12" or content[:1] == b"0"))
    return content.decode("utf-8", "replace")


def _given(names: tuple[str, ...], texts: list[str | None]) -> str:
    return next(name for name, text in zip(names, texts, strict=True) if text)


def _conversion(path: str, store: str, *, is_pkcs12: bool) -> str:
    path = path if _PATH.fullmatch(path) else "store"
    stem = str(Path(path).with_suffix(""))
    source = path if is_pkcs12 else f"{stem}.p12"
    command = f"openssl pkcs12 -in {source} {'-nokeys ' if store == 'truststore' else ''}-out {stem}.pem"
    if not is_pkcs12:
        command = f"keytool -importkeystore -srckeystore {path} -destkeystore {source} -deststoretype PKCS12 && {command}"
    return f"must be a PEM file; convert it by `{command}`, then set ssl.{store}.type=PEM and ssl.{store}.location={stem}.pem"
