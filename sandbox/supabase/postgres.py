"""Start and stop a Postgres, and apply SQL files with psql."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.installation import find_installation, python_installation
from sandbox.supabase.process import ServerProcess
from sandbox.supabase.run_directory import RunDirectory

SUPERUSER = "supabase_admin"
INITDB_TIMEOUT_SECONDS = 60.0
START_TIMEOUT_SECONDS = 60.0
# The data is deleted with the stack, so nothing has to reach the disk.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # In files of the data directory: files in /dev/shm would stay after a killed server.
    "dynamic_shared_memory_type": "mmap",
}
LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# Postgres 15 has no builtin locales. Supabase's databases have this one.
LOCALE_15 = ("--locale=C", "--locale-provider=icu", "--icu-locale=en_US.UTF-8")


class Postgres:
    """Run a Postgres in a run directory, which also holds its Unix socket.

    `settings` override `SERVER_SETTINGS`.
    """

    def __init__(self, directory: RunDirectory, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._data = directory.server_path / "data"
        copies = directory.path / "programs"
        self._installation = find_installation().executable_for(directory.user, copies)
        self._server: ServerProcess | None = None

    def start(self) -> None:
        """Start the server and wait until it accepts connections; the first start creates its data.

        Raises:
            LocalStackError: it did not start; the message has the last lines of its log.
        """
        if not self._data.exists():
            self._create_data()
        command = [str(self._installation.programs / "postgres"), "-D", str(self._data)]
        command += ["-k", str(self._directory.server_path)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._server = ServerProcess(self._directory, command, _environment())
        self._server.wait_until(self._accepts_connections, START_TIMEOUT_SECONDS)

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server; an immediate stop leaves data that must be recovered. Idempotent."""
        if self._server is not None:
            self._server.stop(signal.SIGQUIT if immediate else signal.SIGINT)

    def detach(self) -> None:
        """Leave the server to the other users of the run directory."""
        if self._server is not None:
            self._server.detach()

    def _create_data(self) -> None:
        initdb = self._installation.programs / "initdb"
        command = [str(initdb), "-D", str(self._data), "-U", SUPERUSER]
        command += ["--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8"]
        command += LOCALE_15 if self._installation.version == "15" else LOCALE
        ServerProcess(self._directory, command, _environment()).wait_for_exit(
            INITDB_TIMEOUT_SECONDS
        )

    def _accepts_connections(self) -> bool:
        # The eighth line has the server's state; pg_ctl reads it too.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"


def apply_sql(dsn: str, files: Sequence[Path]) -> None:
    """Apply SQL files as a DBA does: with psql, in one session, which stops at the first error.

    Raises:
        LocalStackError: a file failed; the message is the output of psql, which names the file.
    """
    program = python_installation().programs / "psql"  # npm's packages have none
    command = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    for file in files:
        command += ["-f", str(file)]
    result = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise LocalStackError(f"psql failed:\n{result.stderr.strip()}")


def _environment() -> dict[str, str]:
    # The environment may hold PG… variables and secrets, which the servers must not see.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
