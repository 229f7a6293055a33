"""As much of a client for Kubernetes' API as a trial needs."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

import httpx

from scripts.errors import ScriptError

TIMEOUT_S: Final = 10.0
MERGE: Final = "application/merge-patch+json"
# Lists of conditions and containers are merged by type and name.
STRATEGIC_MERGE: Final = "application/strategic-merge-patch+json"

Object = dict[str, Any]


class Api:
    """Objects by their paths, such as `/api/v1/namespaces/default/pods/p`. Threads may share it."""

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._url = url
        self._token = token
        self._authority = authority
        self._client: httpx.Client | None = None

    def close(self) -> None:
        """Ends its connections."""
        if self._client is not None:
            self._client.close()

    def is_ready(self) -> bool:
        """Whether the server says so; it may not run yet."""
        try:
            return self._ask("GET", "/readyz").is_success
        except (httpx.HTTPError, OSError):
            return False

    def items(self, path: str) -> list[Object]:
        """Everything of a collection. A kind that the server does not know has no objects."""
        answer = self._ask("GET", path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        found: list[Object] = self._checked(answer)["items"]
        return found

    def get(self, path: str) -> Object:
        """One object. ScriptError: there is none."""
        return self._checked(self._ask("GET", path))

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        return self._ask("GET", path).is_success

    def create(self, path: str, body: Object) -> None:
        """Adds an object to a collection, unless it is there."""
        answer = self._ask("POST", path, body)
        if answer.status_code != httpx.codes.CONFLICT:
            self._checked(answer)

    def evict(self, namespace: str, pod: str) -> bool:
        """Whether the disruption budgets let the pod be evicted, as when its node is drained."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        answer = self._ask("POST", path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}})
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return False
        self._checked(answer)
        return True

    def change(self, path: str, patch: Object, kind: str = MERGE) -> None:
        """Merges into an object, or its status; one that is gone stays gone."""
        answer = self._ask("PATCH", path, patch, kind)
        if answer.status_code not in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            self._checked(answer)

    def delete(self, path: str, uid: str) -> None:
        """At once, and this very object only; one that is gone stays gone."""
        answer = self._ask("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
        if answer.status_code not in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            self._checked(answer)

    def _ask(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> httpx.Response:
        if self._client is None:
            # The certificate is there once the server has begun.
            trust = ssl.create_default_context(cafile=self._authority)
            headers = {"authorization": f"Bearer {self._token}"}
            self._client = httpx.Client(base_url=self._url, headers=headers, verify=trust, timeout=TIMEOUT_S, trust_env=False)
        return self._client.request(method, path, json=body, headers={"content-type": kind})

    def _checked(self, answer: httpx.Response) -> Object:
        if not answer.is_success:
            request = answer.request
            raise ScriptError(f"{request.method} {request.url.path}: {answer.status_code} {answer.json().get('message', '')}")
        found: Object = answer.json()
        return found
