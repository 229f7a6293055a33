"""Errors that end a command, by exit code."""


class ScriptError(Exception):
    """Something failed that should work; the text says what happened: exit code 1."""

    code = 1


class UsageError(ScriptError):
    """Something is asked for wrongly; the text is one line and says what to do next: exit code 2."""

    code = 2


class MissingError(UsageError):
    """Something that this machine lacks; the text is one line and names it. Callers skip the parts that need it."""
