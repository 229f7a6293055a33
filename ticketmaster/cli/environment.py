"""Options from the environment: which variables there are, and what is wrong with those that are set."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

import click

from ticketmaster.errors import UsageError

# What Kubernetes sets in every container for a Service whose name begins like ours; the plain port is a URL there.
_SERVICE_LINK = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_[A-Z]+(_\w+)?")


def variables(command: click.Command, prefix: str) -> Iterator[tuple[str, click.Option]]:
    """Every variable that sets an option of a command or of one below it."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.allow_from_autoenv and parameter.name:
            yield f"{prefix}_{parameter.name.upper()}", parameter
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from variables(below, f"{prefix}_{name.upper()}")


def check_environment(command: click.Command, prefix: str, environment: Mapping[str, str]) -> None:
    """UsageError: a variable that begins like those of the command is none of its."""
    known = [name.removeprefix(f"{prefix}_") for name, _ in variables(command, prefix)]
    for name, value in sorted(environment.items()):
        rest = name.removeprefix(f"{prefix}_")
        if rest == name or rest in known or _SERVICE_LINK.fullmatch(rest) or (rest == "PORT" and "://" in value):
            continue
        close = difflib.get_close_matches(rest, known, n=1)
        raise UsageError(f"{name} in the environment sets no option; " + (f"did you mean {prefix}_{close[0]}?" if close else "unset it"))


def one_line(error: click.UsageError) -> str:
    """What is wrong with the options, and where to look; a value of the environment is named by its variable."""
    context = error.ctx
    if context is None:
        return error.format_message()
    if isinstance(error, click.BadParameter) and error.param and error.param.name:
        name = error.param.name
        if context.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT:
            error.param_hint = f"{context.auto_envvar_prefix}_{name.upper()} in the environment"
    return f"{error.format_message().rstrip('.')}; see {context.command_path} --help"
