"""Run the worker as its users do, in its own process, and follow its log."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.commands import CHECKOUT, start, start_python
from tests.worker_role import key_settings

Line = dict[str, Any]


def worker_environment(
    supabase: LocalSupabase, mux: MuxSimulator, role: str = "service_role"
) -> dict[str, str]:
    """Return the environment of a worker for this Supabase and this Mux, with short intervals.

    `role` is that of its key.
    """
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT),
        "SUPABASE_URL": supabase.url,
        **key_settings(supabase, role),
        "MUX_TOKEN_ID": mux.token_id,
        "MUX_TOKEN_SECRET": mux.token_secret,
        "MUX_BASE_URL": mux.url,
        "MUX_REQUESTS_PER_SECOND": "200",
        "MUX_TIMEOUT_SECONDS": "10",
        "SUPABASE_TIMEOUT_SECONDS": "10",
        "SCAN_INTERVAL_SECONDS": "0.2",
        "LOG_FORMAT": "json",
    }


class WorkerProcess:
    """Run a command of the worker and read its log as it is written."""

    def __init__(self, environment: Mapping[str, str], module: str = "worker") -> None:
        self.environment = dict(environment)
        self._module = module
        self.lines: list[Line] = []
        self._raw: list[str] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, *arguments: str, **settings: str) -> "WorkerProcess":
        """Start a command, `run` by default."""
        return self._start(start, arguments, settings)

    def start_python(self, *arguments: str, **settings: str) -> "WorkerProcess":
        """Start a command in a new Python, see `tests.commands.start_python`."""
        return self._start(start_python, arguments, settings)

    def _start(
        self,
        starting: Callable[..., subprocess.Popen[str]],
        arguments: Sequence[str],
        settings: Mapping[str, str],
    ) -> "WorkerProcess":
        self._process = starting(
            *(arguments or ("run",)),
            module=self._module,
            env={**self.environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._changed:
                self._raw.append(text)
                with suppress(ValueError):  # a console's line, or a traceback
                    self.lines.append(json.loads(text))
                self._changed.notify_all()

    @property
    def output(self) -> str:
        """Return all that was printed so far."""
        with self._changed:
            return "".join(self._raw)

    @property
    def pid(self) -> int:
        """Return the process's id."""
        assert self._process is not None
        return self._process.pid

    def wait_for(self, event: str, *, times: int = 1, timeout: float = 90, **fields: Any) -> Line:
        """Wait until an event with these fields was logged this many times; return the last."""

        def found() -> Sequence[Line]:
            return self.events(event, **fields)

        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found()) < times:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no {event} {fields} in:\n{''.join(self._raw)}")
                self._changed.wait(min(left, 0.5))
            return found()[times - 1]

    def wait_until(self, condition: Callable[[], bool], timeout: float = 90) -> None:
        """Wait until a condition holds; check it at every log line, and every 50 ms."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"the condition does not hold; the log:\n{self.output}")
            with self._changed:
                self._changed.wait(0.05)

    def events(self, event: str, **fields: Any) -> list[Line]:
        """Return the lines of an event that have these fields."""
        with self._changed:
            return [
                line
                for line in self.lines
                if line.get("event") == event
                and all(line.get(name) == value for name, value in fields.items())
            ]

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = 90) -> int:
        """Wait for the end of the process; return its exit status."""
        assert self._process is not None
        assert self._reader is not None
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        return code

    def stop(self, timeout: float = 90) -> int:
        """Stop the worker as a platform does; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """End the process if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None and self._reader is not None:
                self._reader.join(5)
                self._process.stdout.close()
