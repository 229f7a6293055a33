"""The command line: options in, a frozen configuration out. What is wrong with them is one line and exit code 2."""

from __future__ import annotations

import click

import ticketmaster
from ticketmaster.cli.standalone import standalone
from ticketmaster.errors import UsageError


class _Mistake(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Turns what an operator can mend into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as mistake:
            raise _Mistake(str(mistake)) from mistake


@click.group(cls=_Group, context_settings={"auto_envvar_prefix": "TICKETMASTER", "max_content_width": 110, "show_default": True})
@click.version_option(ticketmaster.__version__, prog_name="ticketmaster")
def main() -> None:
    """Sell reserved seats for events that everybody wants at the same second: no seat twice, nothing acknowledged lost.

    Every option can also be given in the environment, e.g. TICKETMASTER_STANDALONE_PORT.
    """


main.add_command(standalone)
