"""Marks of tests that only some systems can run. Each says why, here and where it is skipped."""

from __future__ import annotations

import os
import sys

import pytest

from ticketmaster.ticket.sockets import watchable

# Elsewhere a serving process refuses the renewal, goes on with the certificate before, and logs that it must be started again.
renews_certificates = pytest.mark.skipif(not watchable(), reason="a certificate is renewed on Linux only")  # which tells connections
# Elsewhere there is no such policy to look at.
has_batch_policy = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH")  # there is no other such policy
# Elsewhere a server can't listen on 127.0.0.2. Whether it warns depends on the address alone, so that it is the same everywhere.
has_whole_loopback = pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is this machine on Linux only")  # 127.0.0.2
# Others can make no files of another user, and become none.
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away, or become somebody else")  # others have none
