"""The program: ``ticketmaster``, or ``python -m ticketmaster``."""

import os
import signal
import sys
from types import FrameType

# Shells add it to the number of the signal that ended a process.
_BY_SIGNAL = 128


def main() -> None:
    """The command line; signals are heeded before all imports: by itself SIGTERM does nothing to a container's first process."""
    signal.signal(signal.SIGTERM, _terminate)
    # Shells that run a script start background processes with SIGINT ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _terminate)
    _open_streams()
    from ticketmaster.cli import main as command_line  # noqa: PLC0415 - most of the time that a start takes

    command_line()


def _open_streams() -> None:
    """Opens standard streams that were closed by whoever started this: files and connections would get their numbers, and be written to."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # noqa: FBT003 - the function's own
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - it is a descriptor, for good


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Ends the process as the signal ends any other. An exception could be lost here: some callbacks can't raise one, and go on."""
    os._exit(_BY_SIGNAL + number)


if __name__ == "__main__":
    main()
