"""Keys that change nothing: a note for each, or an error where somebody relies on it, as on all that is about security."""

from __future__ import annotations

import difflib
import re
from typing import Final

from ticketmaster.config.keys import CLIENT_PREFIXES, NOT_SUPPORTED, PLACES, PROCESS, REGISTRY_PREFIX, SECURITY, WITHOUT_MEANING, Where
from ticketmaster.config.properties import Property
from ticketmaster.config.values import Values
from ticketmaster.errors import UsageError

# A key of Kafka's looks like this. What does not may be the rest of a secret: a line of a key in PEM, of a password with a blank.
_KEY: Final = re.compile(r"[a-z_-]{1,40}(\.[a-z0-9_-]{1,40})*", re.ASCII)
# Whatever begins so is about security, whether it is known or not.
_SECURITY: Final = ("security.", "ssl.", "sasl.", "basic.auth.", "bearer.auth.", "bootstrap.")
# Which key says whether others are used: those that begin so.
_DECIDERS: Final = {
    "schema.registry.ssl.": "schema.registry.url",
    "sasl.": "security.protocol",
    "ssl.": "security.protocol",
}


def unused(values: Values) -> list[str]:
    """A note for each key that changed nothing. UsageError: it is about security, which would be less than whoever wrote it relies on."""
    notes = []
    for found in values.not_asked():
        name = _plain(found.key)
        if _is_repeated(values, found, name):
            continue
        close = _close(name)
        if name not in WITHOUT_MEANING and _is_relied_on(values, found, name, close):
            raise UsageError(f"{found.place}: {_shown(found.key)} changes nothing: {_reason(found.key, name, close)}")
        notes.append(note_of(found))
    return notes


def note_of(found: Property) -> str:
    """Why a key changes nothing here, and what does."""
    name = _plain(found.key)
    return f"{found.place}: {_shown(found.key)} is ignored: {_reason(found.key, name, _close(name))}"


def _plain(key: str) -> str:
    """A key without the prefix of a client."""
    return next((key.removeprefix(prefix) for prefix in CLIENT_PREFIXES if key.startswith(prefix)), key)


def _shown(key: str) -> str:
    return key if _KEY.fullmatch(key) else "a line that has no key of Kafka's, and might be a part of a secret,"


def _close(name: str) -> str | None:
    found = difflib.get_close_matches(name, [*PLACES, *WITHOUT_MEANING], n=1, cutoff=0.8)
    return found[0] if found else None


def _is_repeated(values: Values, found: Property, name: str) -> bool:
    """Whether it says for one client what holds for all."""
    return found.key != name and PLACES.get(name) is PROCESS and values.has(name) and values.raw(name) == found.value


def _is_relied_on(values: Values, found: Property, name: str, close: str | None) -> bool:
    known = name in SECURITY
    if not known and close not in SECURITY and not name.removeprefix(REGISTRY_PREFIX).startswith(_SECURITY):
        return False
    if found.key != name:
        return True
    decider = _decider(name)
    if decider is None:
        return not known
    beside = values.has(decider) and values.place(decider).file == found.place.file
    if beside and "SSL" not in (said := (values.text(decider) or "").upper()) and not said.startswith(("SASL", "HTTPS:")):
        # Switched off in so many words, in the same file: then it is meant.
        return False
    return not (known and beside)


def _decider(name: str) -> str | None:
    """The key that says whether a key of security is used at all."""
    return next((decider for prefix, decider in _DECIDERS.items() if name.startswith(prefix)), None)


def _reason(key: str, name: str, close: str | None) -> str:
    where: Where | None = PLACES.get(name)
    told = WITHOUT_MEANING.get(name) or NOT_SUPPORTED.get(name.removeprefix(REGISTRY_PREFIX))
    if told:
        return told
    if where is None:
        return f"there is no such key; did you mean {close}?" if close and close != name else "there is no such key"
    if key != name:
        return f"it has no meaning with this prefix; set {name}" + (
            ", for all clients of a process connect alike" if name in SECURITY else ""
        )
    decider = _decider(name)
    return f"nothing that is set makes use of it; see {decider}" if decider else "nothing that is set makes use of it"
