"""The signs of life of the worker's loop, for those who ask over HTTP or from a shell."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.settings import Settings

INTERVALS = 3
REQUESTS_A_ROW = 3
LONGEST_QUESTION_SECONDS = 30.0
"""How long one question to Mux is repeated, beyond the time that its last try may take."""

NO_DIRECTORY = (
    "No directory for temporary files can be written, so `mux-worker health` cannot see the "
    "worker. Set PORT, or TMPDIR to a directory that can be written."
)

LONGEST_CALL_TIMEOUTS = 3
"""How long a call of Supabase takes with its repeats, in timeouts."""

WRITE_EVERY_SECONDS = 1.0


def longest_pass_seconds(settings: Settings) -> float:
    """Give how long a pass may go on without settling anything: asking for one row, then settling.

    A pass that settles page after page may take as long as it needs.
    """
    its_turn = 1 / settings.mux_requests_per_second
    one_question = its_turn + LONGEST_QUESTION_SECONDS + settings.mux_timeout_seconds
    return REQUESTS_A_ROW * one_question + LONGEST_CALL_TIMEOUTS * settings.supabase_timeout_seconds


class Pulse:
    """Knows whether passes are really ending.

    A pass that an outage cut short has ended too, and the longer rest after it is meant to be. With
    a file, each beat is also written there, for `worker health` where there is no port.
    """

    def __init__(
        self,
        interval_seconds: float,
        longest_pass_seconds: float,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = INTERVALS * interval_seconds + longest_pass_seconds
        self._file = file
        self._clock = clock
        self._written_at = float("-inf")
        self._beat_at = clock()
        self._resting_until = self._beat_at
        self.last_pass_at: float | None = None
        """Unix seconds at which a pass ended last."""

    def ended(self, rest_seconds: float) -> None:
        """Note that a pass has ended, and that the next one begins in so many seconds."""
        self.last_pass_at = time.time()
        self._beat(rest_seconds)

    def progressed(self) -> None:
        """Note that the pass under way has settled something."""
        self._beat(0.0)

    def fault(self) -> str | None:
        """Tell what is wrong with the loop, if something is."""
        late = self._clock() - self._resting_until - self._patience
        if late <= 0:
            return None
        seconds = self._clock() - self._beat_at
        return f"no pass has ended for {seconds:.0f} s; it should within {self._patience:.0f} s"

    def _beat(self, rest_seconds: float) -> None:
        now = self._clock()
        rested_before = self._resting_until > self._beat_at
        self._beat_at, self._resting_until = now, now + rest_seconds
        is_news = rested_before or rest_seconds > WRITE_EVERY_SECONDS
        if self._file is not None and (is_news or now - self._written_at >= WRITE_EVERY_SECONDS):
            self._written_at = now
            write(self._file, self._beat_at, self._resting_until + self._patience)


def file_of(settings: Settings) -> Path | None:
    """Return the file for the signs of life of this user's worker for this project.

    None with PORT, since /healthz answers there, and where no directory can be written.
    """
    if settings.port is not None:
        return None
    try:
        directory = tempfile.gettempdir()
    except FileNotFoundError:
        return None
    project = f"{settings.supabase_url} {settings.mux_token_id.get_secret_value()}"
    mark = hashlib.sha256(project.encode()).hexdigest()[:12]
    return Path(directory) / f"mux-worker-{os.getuid()}-{mark}.alive"


def write(file: Path, beat_at: float, good_until: float) -> None:
    """Write a sign of life, by the clock that all processes of a machine share; or do not.

    A link that somebody laid there is not followed, nor is a file of another user written.
    """
    text = json.dumps({"pid": os.getpid(), "beat_at": beat_at, "good_until": good_until})
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(file, flags, 0o600)
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                os.truncate(descriptor, 0)
                os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def remove(file: Path | None) -> None:
    """Take the file away, if it is this process's own: the worker has stopped as it should."""
    if file is None:
        return
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(file.read_text())["pid"] == os.getpid():
            file.unlink()


def fault_in(file: Path, now: float) -> str | None:
    """Tell from the file what is wrong with the worker that writes it, if something is."""
    try:
        if file.lstat().st_uid != os.getuid():
            return f"{file} is of another user"
        told = json.loads(file.read_text())
        pid, beat_at, good_until = (
            int(told["pid"]),
            float(told["beat_at"]),
            float(told["good_until"]),
        )
    except FileNotFoundError:
        return "there is no worker of this user and project here, or its first pass is under way"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{file} cannot be read"
    if not _lives(pid):
        return f"the worker with process id {pid} has ended"
    if not beat_at <= now <= good_until:
        return f"no pass has ended for {now - beat_at:.0f} s"
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
