"""Judge the requests that Mux received, what the processes printed, and how they ended."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandbox.mux.request_log import LoggedRequest
from tests.chaos.faults import RETRY_AFTER_SECONDS
from tests.chaos.replicas import SHUTDOWN_SECONDS, Replica
from tests.chaos.verdict import Violation

MUX_LIMIT = 5
"""GETs a second that Mux allows, sustained: it refuses the first that is over it."""

MOST_IN_A_SECOND = MUX_LIMIT + 1
"""Workers send no more than the limit. One that is held up on its way, by a new connection or by a
busy machine, may arrive in the same second as those that follow."""

SAMPLE_SECONDS = 0.02
RESERVED_SECONDS = 1.8
"""How long after a 429 requests may still come, which were reserved before it."""

MOST_COUNTED = 50
LOADED_SECONDS = 3.0
"""How much later than its deadline a process may end on a busy machine."""

MAX_LINE_BYTES = 8000
SECRETS = (
    "SUPABASE_SERVICE_ROLE_KEY",
    "MUX_TOKEN_ID",
    "MUX_TOKEN_SECRET",
    "MUX_WEBHOOK_SECRET",
    "OPS_TOKEN",
)


class Lag:
    """Measures how late this process itself is, since it also keeps Mux's record."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)
        self._late: list[tuple[float, float]] = []

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def stop(self) -> None:
        """Stop measuring."""
        self._stopping.set()
        self._thread.join()

    def within(self, began: float, ended: float) -> float:
        """Return the longest that this process stood still, in seconds, around a time."""
        near = (late for at, late in self._late if began - 1.0 < at < ended + 1.0)
        return max(near, default=0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            time.sleep(SAMPLE_SECONDS)
            late = time.monotonic() - began - SAMPLE_SECONDS
            if late > SAMPLE_SECONDS:
                self._late.append((began, late))


@dataclass(frozen=True, slots=True)
class MuxRecord:
    """The requests that Mux received, and when they were about to meet what; all monotonic."""

    requests: Sequence[LoggedRequest]
    lag: Lag
    thawed_at: Sequence[float]
    pauses: Sequence[tuple[float, float]]
    """From when until when a 429 with Retry-After was injected."""

    def over_budget(self) -> Iterator[Violation]:
        """Yield the seconds with more requests than Mux allows, and what Mux itself refused."""
        yield from self._crowded_seconds()
        refused = [r for r in self.requests if r.status == 429 and not self._is_injected(r)]
        if refused:
            yield Violation("budget", f"Mux refused {len(refused)} requests over its limit")
        yield from self._before_pause_ended()

    def _crowded_seconds(self) -> Iterator[Violation]:
        """Yield seconds with too many requests.

        One more is allowed for a worker that goes on after a SIGSTOP, since it may have been
        stopped between its turn and its request; and what came while this process stood still
        counts as spread.
        """
        began = sorted(request.began_at for request in self.requests)
        index = 0
        while index + MOST_IN_A_SECOND < len(began):
            first = began[index]
            allowed = MOST_IN_A_SECOND + sum(-1.0 < at - first < 1.5 for at in self.thawed_at)
            seconds = 1.0 - self.lag.within(first, first + 1.0)
            count = sum(at < first + seconds for at in began[index : index + MOST_COUNTED])
            if count > allowed:
                spread = ", ".join(f"{at - first:.2f}" for at in began[index : index + count])
                text = f"{count} requests within a second, {allowed} are allowed: {spread}"
                yield Violation("budget", text)
            index += count if count > allowed else 1

    def _before_pause_ended(self) -> Iterator[Violation]:
        """Yield the requests that came before the end of a pause that Mux asked for."""
        for refused in filter(self._is_injected, self.requests):
            since = [request.began_at - refused.at for request in self.requests]
            early = [s for s in since if RESERVED_SECONDS < s < RETRY_AFTER_SECONDS - 0.05]
            if early:
                text = f"{len(early)} requests, the first {min(early):.2f} s after a 429"
                yield Violation("budget", f"{text} that asked for {RETRY_AFTER_SECONDS} s")

    def _is_injected(self, request: LoggedRequest) -> bool:
        if request.status != 429:
            return False
        return any(began <= request.at <= ended + 1.0 for began, ended in self.pauses)


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what no process may print, by the name of its setting."""
    token = f"{environment['MUX_TOKEN_ID']}:{environment['MUX_TOKEN_SECRET']}"
    secrets = {name: environment[name] for name in SECRETS if name in environment}
    return {**secrets, "the Authorization header": base64.b64encode(token.encode()).decode()}


def secrets_in(outputs: Sequence[str], secrets: Mapping[str, str]) -> Iterator[Violation]:
    """Yield the secrets that a process has printed."""
    for output in outputs:
        for name, secret in secrets.items():
            if secret in output:
                yield Violation("secret", f"{name} was printed")


def no_log_lines(outputs: Sequence[str]) -> Iterator[Violation]:
    """Yield what is no line of a log: one JSON object under 8,000 bytes."""
    for output in outputs:
        for line in output.splitlines():
            if len(line.encode()) >= MAX_LINE_BYTES or not _is_object(line):
                yield Violation("process", f"a log line is no JSON object: {line[:300]}")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def ended_badly(replicas: Sequence[Replica]) -> Iterator[Violation]:
    """Yield the workers that ended by themselves, or took too long to stop."""
    for replica in replicas:
        if replica.processes and not replica.process.is_running:
            last_lines = replica.process.output[-3000:]
            yield Violation("process", f"a worker ended by itself:\n{last_lines}")
        for process in replica.processes:
            for line in process.events("worker.crashed"):
                yield Violation("process", f"a worker crashed: {json.dumps(line)[:3000]}")
        for seconds in replica.stop_seconds:
            if seconds > SHUTDOWN_SECONDS + LOADED_SECONDS:
                yield Violation("process", f"a worker took {seconds:.1f} s to stop")
