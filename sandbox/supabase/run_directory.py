"""One directory per stack, which vanishes with its owner, even one that was killed.

The owner holds a lock on the directory for as long as it lives, and writes down every process
that it starts. A directory whose lock is free has lost its owner: the next start ends the
processes and removes the directory.
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

import psutil

from sandbox.supabase.service_user import Account

PREFIX = "mux-local-"
RECORD = "processes"
# Postgres cleans up its shared memory only when it is asked to stop, so it is asked first.
STOP_SIGNALS = {"postgres": signal.SIGQUIT, "postgrest": signal.SIGTERM, "initdb": signal.SIGTERM}
STOP_SECONDS = 5.0
POLL_SECONDS = 0.01
# The kernel's boot time, from which creation times are counted, moves when the clock is set.
CREATION_TOLERANCE_SECONDS = 2.0
# macOS allows 104 bytes for the path of a socket, Linux 108.
LONGEST_SOCKET_PATH = 100


class StackDirectory:
    """Own a new directory in the temporary directory until `remove`.

    `path` belongs to us and holds logs and records; `run`, inside it, belongs to the servers'
    account and holds the data and the sockets. Nobody else can enter `run`.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.path, self._lock = _create_locked(base_directory(account))
        self.run = self.path / "run"
        if account.is_borrowed:
            self.path.chmod(0o711)
        self.run.mkdir(mode=0o700)
        account.give(self.run)

    def record(self, pid: int) -> None:
        """Write down a process that we started, so that it can be found without us."""
        with contextlib.suppress(psutil.NoSuchProcess), (self.path / RECORD).open("a") as record:
            record.write(f"{pid} {psutil.Process(pid).create_time()}\n")

    def remove(self) -> None:
        """End what still runs here, remove the directory, release the lock."""
        _dispose(self.path)
        os.close(self._lock)


def clear_leftovers(account: Account) -> list[Path]:
    """Remove the directories, and end the processes, of owners that are gone; return which."""
    removed = []
    for path in base_directory(account).glob(f"{PREFIX}*"):
        lock = _try_lock(path)
        if lock is None:
            continue
        try:
            _dispose(path)
            removed.append(path)
        finally:
            os.close(lock)
    return removed


def base_directory(account: Account) -> Path:
    """Return the temporary directory, or `/tmp` where that one would not do.

    It does not where a socket's path would be too long, or where the servers may not go.
    """
    base = Path(tempfile.gettempdir())
    longest = base / f"{PREFIX}12345678" / "run" / ".s.PGSQL.5432.lock"
    if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH and account.can_enter(base):
        return base
    return Path("/tmp")  # noqa: S108 - what is made below it is made by mkdtemp


def _create_locked(base: Path) -> tuple[Path, int]:
    # Between its making and its locking somebody may take the directory for a leftover and
    # remove it. Then the lock fails, and another directory is made.
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = _try_lock(path)
        if lock is not None:
            return path, lock


def _try_lock(path: Path) -> int | None:
    """Lock a directory of ours; return None if it is not ours, is locked, or is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _dispose(path: Path) -> None:
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
    # A process that was just killed may have had a child, which still writes its last file.
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return shutil.rmtree(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _recorded(path: Path) -> Iterator[tuple[psutil.Process, signal.Signals]]:
    """Yield the recorded processes that live, with the signal that stops them.

    A stranger that was given the same number since is left alone.
    """
    try:
        lines = (path / RECORD).read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        # A line without its end is one whose writer was killed while writing it.
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
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and any(_is_running(process) for process in processes):
        time.sleep(POLL_SECONDS)
