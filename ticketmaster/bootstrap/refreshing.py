"""Files that are read again when they change: those of tokens, of secrets, of certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from ticketmaster.config.properties import read_file
from ticketmaster.errors import UsageError

_LOOK_S = 1.0

Contents = Sequence[bytes]


class Refreshed:
    """Files that belong together. They are read each second, as they are small: no clock's tick and no kind of link hides a change."""

    def __init__(
        self, what: str, paths: Sequence[Path], use: Callable[[Contents], Awaitable[None] | None], look_s: float = _LOOK_S
    ) -> None:
        """``use`` takes their contents. UsageError: they are not as they must be; then the last ones stay in force."""
        self._what = what
        self._paths = paths
        self._use = use
        self._look_s = look_s
        self._used: Contents = ()
        # What was found at the last look, or why nothing was; and the last of these that was no good.
        self._seen: Contents | str = ""
        self._refused: Contents | str = ""

    def start(self) -> None:
        """Puts them in force for the first time. UsageError: they can't be read, or are not as they must be."""
        contents = self._read()
        if isinstance(contents, str):
            raise UsageError(contents)
        self._use(contents)
        self._used = self._seen = contents

    def _read(self) -> Contents | str:
        contents = []
        for path in self._paths:
            try:
                contents.append(read_file(path))
            except OSError as reason:
                return f"{self._what} can't be read: {path}: {reason.strerror or reason}"
        return contents

    async def run(self) -> None:
        """A job: puts each change in force that is the same at two looks: whoever writes may be in the middle of it."""
        while True:
            await asyncio.sleep(self._look_s)
            contents = await asyncio.to_thread(self._read)
            is_settled, self._seen = contents == self._seen, contents
            if not is_settled or contents == self._refused:
                continue
            if contents == self._used:
                if self._refused:
                    # The error that was logged is mended: the log says that as well.
                    self._reloaded()
                continue
            try:
                if isinstance(contents, str):
                    raise UsageError(contents)  # noqa: TRY301 - told as what is wrong in them is
                using = self._use(contents)
                if using:
                    await using
            except (UsageError, OSError) as reason:
                self._refuse(contents, str(reason))
            else:
                self._used = contents
                self._reloaded()

    def _reloaded(self) -> None:
        self._refused = ""
        structlog.get_logger().info("reloaded", what=self._what)

    def _refuse(self, contents: Contents | str, reason: str) -> None:
        self._refused = contents
        structlog.get_logger().error("not_reloaded", what=self._what, reason=reason, advice="those that were good before stay in force")
