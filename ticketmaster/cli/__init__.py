"""The command line: options in, a frozen configuration out. What is wrong with them is one line and exit code 2."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import ticketmaster
from ticketmaster.cli.audit import audit
from ticketmaster.cli.backup import backup
from ticketmaster.cli.bench import bench
from ticketmaster.cli.environment import check_environment, one_line
from ticketmaster.cli.export import export
from ticketmaster.cli.options import NO_DIRECTORY
from ticketmaster.cli.roles import event, reservation, ticket
from ticketmaster.cli.say import forgive_encodings, told_error
from ticketmaster.cli.schemas import schemas
from ticketmaster.cli.simulate import simulate
from ticketmaster.cli.standalone import standalone
from ticketmaster.cli.tokens import tokens
from ticketmaster.cli.topics import topics
from ticketmaster.cli.trace import trace
from ticketmaster.errors import TicketmasterError, UsageError

PREFIX = "TICKETMASTER"
# They run until a signal stops them.
_SERVERS = (standalone, ticket, reservation, event)


class _Mistake(click.ClickException):
    exit_code = 2


@contextmanager
def _one_line_each() -> Iterator[None]:
    """Turns what an operator can mend into one line and exit code 2, and other trouble into one line and exit code 1."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as mistake:
        raise _Mistake(told_error(one_line(mistake))) from mistake
    except UsageError as mistake:
        raise _Mistake(told_error(str(mistake))) from mistake
    except TicketmasterError as trouble:
        raise click.ClickException(told_error(str(trouble))) from trouble


class _Group(click.Group):
    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        with _one_line_each():
            return super().make_context(info_name, args, parent, **extra)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        # A shell that completes a word is told of words only.
        if name and command and not ctx.resilient_parsing:
            check_environment(command, f"{PREFIX}_{name.upper()}", os.environ)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> object:
        with _one_line_each():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"auto_envvar_prefix": PREFIX, "max_content_width": 110, "show_default": True})
@click.version_option(ticketmaster.__version__, prog_name="ticketmaster", allow_from_autoenv=False)
@click.pass_context
def main(context: click.Context) -> None:
    """Sell reserved seats for events that everybody wants at the same second: no seat twice, nothing acknowledged lost.

    Every option can also be given in the environment, e.g. TICKETMASTER_STANDALONE_PORT.
    """
    # What libraries warn of goes to the log of a role; a command says in one line of its own what is wrong.
    logging.getLogger().addHandler(logging.NullHandler())
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # PYTHONUNBUFFERED: what a pipe does not take at once would be lost, without an error. Lines still go out one by one.
        sys.stdout = open(sys.stdout.fileno(), "w", buffering=1, encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    forgive_encodings()
    is_server = context.invoked_subcommand in [server.name for server in _SERVERS]
    if not is_server and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        # Other commands handle Ctrl-C themselves: some report what they found, some remove unfinished files.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Path.cwd()
    except OSError:
        # Libraries ask for it, and those that we start begin there. No path is read as one below it.
        os.chdir("/")
        context.meta[NO_DIRECTORY] = True


for _command in (*_SERVERS, tokens, topics, schemas, audit, trace, export, backup, simulate, bench):
    main.add_command(_command)
