"""What ends a command, by its exit code."""


class DeployError(Exception):
    """Something failed that should work: exit code 1."""

    code = 1


class UsageError(DeployError):
    """Something is missing or asked for wrongly; the text is one line and says what to do next: exit code 2."""

    code = 2
