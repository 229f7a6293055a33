"""The program: ``ticketmaster``, or ``python -m ticketmaster``."""

import os
import signal
from types import FrameType

# What a shell says of a process that SIGTERM ended.
_TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """The command line; SIGTERM is heeded before all imports: by itself it does nothing to a container's first process."""
    signal.signal(signal.SIGTERM, _terminate)
    from ticketmaster.cli import main as command_line  # noqa: PLC0415 - most of the time that a start takes

    command_line()


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Ends the process as the signal ends any other. An exception could be lost here: imports have callbacks that can't raise one."""
    os._exit(_TERMINATED)


if __name__ == "__main__":
    main()
