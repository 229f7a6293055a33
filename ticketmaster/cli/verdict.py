"""Commands whose exit code is a verdict: whatever keeps one from it must not look like one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ticketmaster.cli.say import told_error
from ticketmaster.errors import TicketmasterError, UsageError


class _Undetermined(click.ClickException):
    exit_code = 3


@contextmanager
def finding_out() -> Iterator[None]:
    """Exit code 3 and one line where it can't be found out; 0 and 1 are verdicts, 2 is a mistake of the operator."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, UsageError, SystemExit):
        raise
    except (KeyboardInterrupt, click.Abort) as reason:
        raise _Undetermined("it was interrupted before it was found out") from reason
    except BrokenPipeError as reason:
        raise _Undetermined("nobody has read the answer to its end") from reason
    # Cancelled work and exhausted memory, too: each would end the process with exit code 1.
    except BaseException as trouble:
        what = str(trouble) if isinstance(trouble, TicketmasterError) else f"{type(trouble).__name__}: {trouble}".rstrip(": ")
        raise _Undetermined(told_error(f"it could not be found out: {' '.join(what.split())}")) from trouble
