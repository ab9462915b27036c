"""A server process of ours: started apart from the terminal, recorded, stopped in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.run_directory import StackDirectory

POLL_SECONDS = 0.005
LOG_TAIL_BYTES = 2000


class Child:
    """Run one program in a stack's directory, its output going to a log file there."""

    def __init__(
        self, directory: StackDirectory, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = Path(command[0]).name
        self.log = directory.path / f"{self.name}.log"
        self._process = _start(directory, command, environment, self.log)

    @property
    def is_running(self) -> bool:
        """Tell whether the process has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition that the process brings about.

        Raises:
            LocalStackError: the process ended, or the time is over; with the log's last lines.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.is_running:
                raise LocalStackError(f"{self.name} ended unexpectedly:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LocalStackError(f"{self.name} is not ready in time:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def finish(self, seconds: float) -> None:
        """Wait for a process that ends by itself.

        Raises:
            LocalStackError: it failed, or took longer than `seconds`; with the log's last lines.
        """
        try:
            failed = self._process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGTERM)
            failed = True
        if failed:
            raise LocalStackError(f"{self.name} failed:\n{self.log_tail()}")

    def stop(self, number: signal.Signals, seconds: float = 5.0) -> None:
        """Ask the process to end with a signal, and insist when it does not. Idempotent."""
        if self.is_running:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self) -> str:
        """Return the last lines that the process wrote."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _start(
    directory: StackDirectory, command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    def start_and_record() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=directory.run,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for us: we stop the servers, one after the other.
                start_new_session=True,
                **directory.account.popen_arguments(),
            )
        directory.record(process.pid)
        return process

    # Ctrl-C interrupts the main thread only, so that here no process is started unrecorded.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(start_and_record).result()
