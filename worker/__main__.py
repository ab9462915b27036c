"""Run the command line, as `python -m worker` and as `mux-worker`."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command. Until it handles signals itself, SIGTERM and SIGHUP end the process.

    The handlers are set before the slow imports, since Linux ignores a signal for process 1 where
    that has no handler.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
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
