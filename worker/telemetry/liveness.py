"""Report whether the scan loop progresses: to /healthz, or in a file for `mux-worker health`."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.settings import Settings
from worker.telemetry.hooks import Telemetry

INTERVALS = 3
REQUESTS_PER_ROW = 3
MAX_RETRY_SECONDS = 30.0
"""How long one request to Mux is repeated, not counting its last attempt."""

MAX_CALL_TIMEOUTS = 3
"""How long a call of Supabase takes with its retries, in timeouts."""

WRITE_INTERVAL_SECONDS = 1.0
FILE_BYTES = 200
"""The length of the file, filled up with spaces: more than its text ever has."""

NO_DIRECTORY = (
    "`mux-worker health` cannot see the worker: no directory for temporary files can be written. "
    "Set PORT, or TMPDIR to a directory that can be written."
)


def longest_scan_seconds(settings: Settings) -> float:
    """Return how long a scan may go without settling a page: probing one row, then settling it.

    A scan that settles page after page may take as long as it needs.
    """
    wait = 1 / settings.mux_requests_per_second
    request = wait + MAX_RETRY_SECONDS + settings.mux_timeout_seconds
    return REQUESTS_PER_ROW * request + MAX_CALL_TIMEOUTS * settings.supabase_timeout_seconds


class Liveness(Telemetry):
    """Knows whether scans end, or settle pages, in time.

    A scan that an outage ended also counts, and the longer pause after it is expected. With a
    file, progress is also written there, for `mux-worker health` where PORT is not set.
    """

    def __init__(
        self,
        interval_seconds: float,
        longest_scan_seconds: float,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed_seconds = INTERVALS * interval_seconds + longest_scan_seconds
        self._file = file
        self._clock = clock
        self._written_at = float("-inf")
        self._last_progress_at = clock()
        self._pause_ends_at = self._last_progress_at
        self.last_scan_at: float | None = None
        """Unix seconds at which the last scan ended."""

    def scan_ended(self, pause_seconds: float) -> None:
        """Record that a scan ended, and that the next one begins after a pause."""
        self.last_scan_at = time.time()
        self._record_progress(pause_seconds)

    def scan_progressed(self) -> None:
        """Record that the scan under way has settled a page."""
        self._record_progress(0.0)

    def problem(self) -> str | None:
        """Return what is wrong with the loop; None if nothing is."""
        if self._clock() <= self._deadline:
            return None
        idle, allowed = self._clock() - self._last_progress_at, self._allowed_seconds
        return f"no scan has ended for {idle:.0f} s; it should within {allowed:.0f} s"

    @property
    def _deadline(self) -> float:
        return self._pause_ends_at + self._allowed_seconds

    def _record_progress(self, pause_seconds: float) -> None:
        now = self._clock()
        had_paused = self._pause_ends_at > self._last_progress_at
        self._last_progress_at, self._pause_ends_at = now, now + pause_seconds
        is_change = had_paused or pause_seconds > WRITE_INTERVAL_SECONDS
        is_write_due = now - self._written_at >= WRITE_INTERVAL_SECONDS
        if self._file is not None and (is_change or is_write_due):
            self._written_at = now
            write(self._file, now, self._deadline)


def file_of(settings: Settings) -> Path | None:
    """Return the liveness file of this user's worker for this project.

    None with PORT, where /healthz answers instead, and where no directory can be written.
    """
    if settings.port is not None:
        return None
    try:
        directory = tempfile.gettempdir()
    except FileNotFoundError:
        return None
    project = f"{settings.supabase_url} {settings.mux_token_id.get_secret_value()}"
    digest = hashlib.sha256(project.encode()).hexdigest()[:12]
    return Path(directory) / f"mux-worker-{os.getuid()}-{digest}.alive"


def write(file: Path, last_progress_at: float, deadline: float) -> None:
    """Write progress if that is possible, by the monotonic clock, which all processes share.

    No symbolic link is followed, and no file of another user is written.
    """
    fields = {"pid": os.getpid(), "last_progress_at": last_progress_at, "deadline": deadline}
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(file, flags, 0o600)
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                # Never empty meanwhile: a reader finds the old text or the new one.
                os.write(descriptor, json.dumps(fields).ljust(FILE_BYTES).encode())
                os.truncate(descriptor, FILE_BYTES)
        finally:
            os.close(descriptor)


def remove(file: Path | None) -> None:
    """Remove the file if this process wrote it: the worker has stopped normally."""
    if file is None:
        return
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(file.read_text())["pid"] == os.getpid():
            file.unlink()


def problem_in(file: Path, now: float) -> str | None:
    """Return what is wrong with the worker that writes the file; None if nothing is."""
    try:
        if file.lstat().st_uid != os.getuid():
            return f"{file} belongs to another user"
        fields = json.loads(file.read_text())
        pid = int(fields["pid"])
        last_progress_at, deadline = float(fields["last_progress_at"]), float(fields["deadline"])
    except FileNotFoundError:
        return "there is no worker of this user and project here, or its first scan is under way"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{file} cannot be read"
    if not _is_running(pid):
        return f"the worker with process id {pid} has ended"
    if not last_progress_at <= now <= deadline:
        return f"no scan has ended for {now - last_progress_at:.0f} s"
    return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
