"""Start, record and stop the process of a local server."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.run_directory import RunDirectory

POLL_SECONDS = 0.005
LOG_TAIL_BYTES = 2000


class ServerProcess:
    """Run one program in a run directory, which also holds its log."""

    def __init__(
        self, directory: RunDirectory, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = Path(command[0]).name
        self.log = directory.path / f"{self.name}.log"
        self._process = _start(directory, command, environment, self.log)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` returns true.

        Raises:
            LocalStackError: the process ended, or was not ready in time; the message has the last
                lines of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.is_running:
                raise LocalStackError(f"{self.name} ended unexpectedly:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LocalStackError(f"{self.name} was not ready in time:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def wait_for_exit(self, seconds: float) -> None:
        """Wait until the process has ended.

        Raises:
            LocalStackError: it failed, or took longer than `seconds`; the message has the last
                lines of its log.
        """
        try:
            failed = self._process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGTERM)
            failed = True
        if failed:
            raise LocalStackError(f"{self.name} failed:\n{self.log_tail()}")

    def stop(self, number: signal.Signals, seconds: float = 5.0) -> None:
        """Stop the process with a signal, and kill it after `seconds`. Idempotent."""
        if self.is_running:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def detach(self) -> None:
        """Leave a running process to the other users of the run directory."""
        if self.is_running:
            # A Popen that is collected warns of a process that it did not see end.
            self._process.returncode = 0

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _start(
    directory: RunDirectory, command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    def start_and_record() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=directory.server_path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must not reach the servers: the stack stops them in order.
                start_new_session=True,
                **directory.user.popen_arguments(),
            )
        directory.record(process.pid)
        return process

    # Ctrl-C interrupts only the main thread, so every process that starts is also recorded.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(start_and_record).result()
