"""A run directory for each stack or shared Postgres, which is removed even after a crash.

Each process that uses the directory holds a shared lock on it, and the directory records every
process that is started in it. The last user to leave stops these processes and removes the
directory. A directory without a lock is abandoned: the next start does the same with it.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil

from sandbox.supabase.service_user import ServiceUser

PREFIX = "mux-local-"
RECORD = "processes"
# Postgres removes its shared memory only on a signal that it can handle, so SIGKILL comes last.
STOP_SIGNALS = {"postgres": signal.SIGQUIT, "postgrest": signal.SIGTERM, "initdb": signal.SIGTERM}
STOP_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.01
# Creation times are relative to the boot time, which changes when the clock is set.
CREATION_TOLERANCE_SECONDS = 2.0
# Files here are in memory. There are none on macOS, and few in a container by default.
MEMORY = Path("/dev/shm")  # noqa: S108 - the directories in it are created by mkdtemp
MIN_MEMORY_BYTES = 2 * 1024**3
# macOS allows 104 bytes for the path of a socket, Linux 108.
MAX_SOCKET_PATH = 100


class RunDirectory:
    """A directory for the files of servers, in use until `leave`.

    `path` belongs to this process's user and holds logs and records. `server_path`, inside it,
    belongs to the servers' user and holds the data and the sockets; no other user can enter it.
    """

    def __init__(self, user: ServiceUser, path: Path, lock: int) -> None:
        self.user = user
        self.path = path
        self.server_path = path / "run"
        self._lock = lock

    @classmethod
    def create(cls, user: ServiceUser, *, in_memory: bool = False) -> Self:
        """Create a directory, on request in memory where there is room."""
        base = MEMORY if in_memory and _has_memory(user) else base_directory(user)
        directory = cls(user, *_create_locked(base))
        if user.is_other_user:
            directory.path.chmod(0o711)
        directory.server_path.mkdir(mode=0o700)
        user.chown(directory.server_path)
        return directory

    @classmethod
    def join(cls, user: ServiceUser, path: Path) -> Self | None:
        """Use a directory of another process; return None if its last user has left."""
        lock = _try_lock(path, fcntl.LOCK_SH)
        return None if lock is None else cls(user, path, lock)

    def record(self, pid: int) -> None:
        """Record a process, so that another process can stop it."""
        with contextlib.suppress(psutil.NoSuchProcess), (self.path / RECORD).open("a") as record:
            record.write(f"{pid} {psutil.Process(pid).create_time()}\n")

    def leave(self) -> None:
        """Stop using the directory; the last user also stops its processes and removes it."""
        try:
            # This releases our shared lock in any case, so of two last users one gets the lock.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            _clean_up(self.path)
        finally:
            os.close(self._lock)


def remove_abandoned(user: ServiceUser) -> list[Path]:
    """Stop the processes and remove the directories whose users ended; return the paths."""
    removed = []
    for path in (*base_directory(user).glob(f"{PREFIX}*"), *MEMORY.glob(f"{PREFIX}*")):
        lock = _try_lock(path, fcntl.LOCK_EX)
        if lock is None:
            continue
        try:
            _clean_up(path)
            removed.append(path)
        finally:
            os.close(lock)
    return removed


def base_directory(user: ServiceUser) -> Path:
    """Return the temporary directory, or `/tmp`.

    `/tmp` is used where a socket's path would be too long or the servers' user has no access.
    """
    base = Path(tempfile.gettempdir())
    socket_path = base / f"{PREFIX}12345678" / "run" / ".s.PGSQL.5432.lock"
    if len(os.fsencode(socket_path)) <= MAX_SOCKET_PATH and user.can_enter(base):
        return base
    return Path("/tmp")  # noqa: S108 - the directories in it are created by mkdtemp


def _has_memory(user: ServiceUser) -> bool:
    if not os.access(MEMORY, os.W_OK) or not user.can_enter(MEMORY):
        return False
    memory = os.statvfs(MEMORY)
    # The directory may have to hold copies of the programs.
    can_run = not memory.f_flag & os.ST_NOEXEC
    return can_run and memory.f_bavail * memory.f_frsize >= MIN_MEMORY_BYTES


def _create_locked(base: Path) -> tuple[Path, int]:
    # Before it is locked, another process may take the directory for abandoned and remove it. Then
    # the lock fails, and the next directory is created.
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = _try_lock(path, fcntl.LOCK_SH)
        if lock is not None:
            return path, lock


def _try_lock(path: Path, kind: int) -> int | None:
    """Lock a directory; return None if that is not possible, or another user owns it."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _clean_up(path: Path) -> None:
    recorded = list(_recorded(path))
    processes = [process for process, _ in recorded]
    for process, stop_signal in recorded:
        _signal(process, stop_signal)
    _wait_for(processes)
    for process in processes:
        if _is_running(process):
            _signal(process, signal.SIGKILL)
    _wait_for(processes)
    _remove_tree(path)


def _remove_tree(path: Path) -> None:
    # A child of a killed process may still write a file.
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while True:
        try:
            return shutil.rmtree(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _recorded(path: Path) -> Iterator[tuple[psutil.Process, signal.Signals]]:
    """Yield the recorded processes that run, with the signal that stops each.

    A process that has the same PID but another creation time is not yielded.
    """
    try:
        lines = (path / RECORD).read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        # A writer that was killed may have left an incomplete line.
        pid, _, created = line.partition(" ")
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            process = psutil.Process(int(pid))
            same = abs(process.create_time() - float(created)) <= CREATION_TOLERANCE_SECONDS
            stop_signal = STOP_SIGNALS.get(process.name())
            if same and stop_signal is not None and _is_running(process):
                yield process, stop_signal


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _wait_for(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline and any(_is_running(process) for process in processes):
        time.sleep(POLL_SECONDS)
