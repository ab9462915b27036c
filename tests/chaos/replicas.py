"""The workers of a run: real processes, each started again after each death."""

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.http_server import free_port
from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.worker_process import WorkerProcess, worker_environment

INTERVAL_SECONDS = 0.25
LEASE_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0
SHUTDOWN_SECONDS = 5.0
REQUESTS_PER_SECOND = 4.0
"""The default."""

WEBHOOK_SECRET = "whsec_of_the_chaos_run"
OPS_TOKEN = "operators-token-of-the-chaos-run"


def settings(
    supabase: LocalSupabase, mux: MuxSimulator, role: str = "service_role"
) -> dict[str, str]:
    """Return a worker's environment: the defaults, but for shorter times, with a key of a role."""
    return {
        **worker_environment(supabase, mux, role),
        "MUX_REQUESTS_PER_SECOND": f"{REQUESTS_PER_SECOND:g}",
        "SCAN_INTERVAL_SECONDS": f"{INTERVAL_SECONDS:g}",
        "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
        "MUX_TIMEOUT_SECONDS": f"{TIMEOUT_SECONDS:g}",
        "SUPABASE_TIMEOUT_SECONDS": f"{TIMEOUT_SECONDS:g}",
        "SHUTDOWN_SECONDS": f"{SHUTDOWN_SECONDS:g}",
        "MUX_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "OPS_TOKEN": OPS_TOKEN,
        "HOST": "127.0.0.1",
    }


class Replica:
    """One worker, under the same settings through all its deaths."""

    def __init__(
        self, environment: Mapping[str, str], module: str = "worker", clock: Path | None = None
    ) -> None:
        self.port = free_port()
        self.clock = clock
        """The file by which its clock is set, if it is."""

        self.lock = threading.Lock()
        """Held by the fault that this worker meets."""

        self.processes: list[WorkerProcess] = []
        self.stop_seconds: list[float] = []
        self._environment = {**environment, "PORT": str(self.port)}
        self._module = module

    @property
    def process(self) -> WorkerProcess:
        """Return the latest process."""
        return self.processes[-1]

    def start(self) -> None:
        """Start a process."""
        self.processes.append(WorkerProcess(self._environment, self._module).start())

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()

    def terminate(self) -> None:
        """Stop it as a platform does, and note how long that takes."""
        began = time.monotonic()
        self.process.stop()
        self.stop_seconds.append(time.monotonic() - began)

    def freeze(self) -> None:
        """Stop it with SIGSTOP, in the middle of whatever it does."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.signal(signal.SIGCONT)


def leader_of(replicas: Sequence[Replica]) -> Replica | None:
    """Return the replica that claimed rows last, by its log: whom to hit, not what is true."""
    last = {
        lines[-1]["timestamp"]: replica
        for replica in replicas
        if (lines := [e for e in replica.process.events("scan.finished") if e["claimed"]])
    }
    return last[max(last)] if last else None
