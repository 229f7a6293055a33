"""Things that only some systems allow. Each is the first line of a test, which is skipped elsewhere, with one line for all of its kind."""

from __future__ import annotations

import os
import sys

from tests.support.tools import skipped
from ticketmaster.ticket.sockets import watchable


def needs_renewal() -> None:
    """Elsewhere a serving process refuses the renewal, goes on with the certificate before, and logs that it must be started again."""
    if not watchable():
        skipped("a certificate is renewed while its port serves on Linux only")


def needs_batch_policy() -> None:
    """Elsewhere there is no such policy to look at."""
    if sys.platform != "linux":
        skipped("only Linux has SCHED_BATCH, the policy of the program's threads")


def needs_whole_loopback() -> None:
    """Elsewhere a server can't listen on 127.0.0.2. Whether it warns depends on the address alone, so that it is the same everywhere."""
    if sys.platform != "linux":
        skipped("all of 127.0.0.0/8 is this machine on Linux only")


def needs_root() -> None:
    """Others can make no files of another user, and become none."""
    if os.geteuid() != 0:
        skipped("only root can give files away, or become somebody else")
