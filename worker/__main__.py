"""Run the command line, as `python -m worker` and as `mux-worker`."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command; until it listens to signals itself, SIGTERM and SIGHUP end the process.

    As process 1 it has to say so, before the imports: Linux ignores what that process has no
    handler for.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _end)
    try:
        from worker.cli import main as cli
    except KeyboardInterrupt:
        sys.exit(1)
    cli.main()


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
