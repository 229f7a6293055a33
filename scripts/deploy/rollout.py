"""Objects onto a cluster, in the order in which they need each other, and the waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from scripts.deploy.manifests import ACCOUNTS, NAMESPACE, ROLES, client_secret, documents, joined, kind, name, seconds_a_pod
from scripts.deploy.programs import Programs, say
from scripts.errors import ScriptError

# The Job's own deadline, and a minute.
_TOPICS_S: Final = 660
_LOOK_S: Final = 2
_ROLLOUT_MIN_S: Final = 1_800


def apply_all(programs: Programs, rendered: str, *, kafka: bool = False, properties: Mapping[str, str] | None = None) -> None:
    """Namespace and credentials, then what the roles need, then topics, then the roles. ``properties``: those of each account."""
    objects = documents(rendered)
    namespace = [each for each in objects if kind(each) == "Namespace"]
    job = [each for each in objects if kind(each) == "Job"]
    roles = [each for each in objects if kind(each) == "StatefulSet" and name(each) in ROLES]
    rest = [each for each in objects if each not in (*namespace, *job, *roles)]

    _apply(programs, namespace)
    for account in ACCOUNTS if properties else ():
        command = (
            "kubectl",
            "--namespace",
            NAMESPACE,
            "create",
            "secret",
            "generic",
            client_secret(account),
            "--dry-run=client",
            "-o",
            "yaml",
        )
        _apply(programs, [programs.ask(*command, "--from-file=client.properties=/dev/stdin", stdin=(properties or {})[account])])
    _apply(programs, rest)
    if kafka:
        programs.kubectl("wait", "kafka/kafka", "--for=condition=Ready", "--timeout=15m")
        programs.kubectl("rollout", "status", "statefulset/schema-registry", "--timeout=5m")
    # The last Job's pod can't be changed.
    programs.kubectl("delete", "job/topics", "--ignore-not-found")
    _apply(programs, job)
    _wait_for_topics(programs)
    _apply(programs, roles)
    for each in roles:
        programs.kubectl("rollout", "status", f"statefulset/{name(each)}", f"--timeout={rollout_timeout_s(each)}s")


def rollout_timeout_s(stateful_set: str) -> int:
    """One pod goes and comes after the other: as many times as there are pods, the longest that one may take."""
    pods, longest_s = seconds_a_pod(stateful_set)
    return max(pods * longest_s, _ROLLOUT_MIN_S)


def _apply(programs: Programs, objects: Sequence[str]) -> None:
    programs.kubectl("apply", "--filename=-", stdin=joined(objects))


def _wait_for_topics(programs: Programs) -> None:
    """ScriptError: the Job has failed, which is said with what its pod said last; `kubectl wait` would wait for its success on."""
    query = '{range .status.conditions[?(@.status=="True")]}{.type}{" "}{end}'
    say(f"waiting for the Job topics, {_TOPICS_S} s at most")
    deadline = time.monotonic() + _TOPICS_S
    while True:
        found = programs.ask("kubectl", "--namespace", NAMESPACE, "get", "job/topics", f"--output=jsonpath={query}").split()
        if "Complete" in found:
            return
        if "Failed" in found or time.monotonic() > deadline:
            with suppress(ScriptError):
                programs.kubectl("logs", "job/topics", "--tail=20")
            raise ScriptError("the Job topics has failed, see above" if "Failed" in found else "the Job topics does not end")
        time.sleep(_LOOK_S)
