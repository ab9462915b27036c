"""One Postgres for several processes: the first one starts it, the last one stops it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.supabase.databases import Databases
from sandbox.supabase.postgres import Postgres
from sandbox.supabase.run_directory import RunDirectory
from sandbox.supabase.service_user import service_user

# `max_wal_size` limits the memory that the data takes.
SETTINGS = {"max_connections": "200", "max_wal_size": "256MB"}


@contextmanager
def join_postgres(file: Path) -> Iterator[Databases]:
    """Yield the databases of the Postgres that a file names; start it if it does not run.

    Raises:
        LocalStackError: a program is missing, or the server does not start.
    """
    directory, started = _join_or_start(file)
    try:
        yield Databases(directory.server_path)
    finally:
        directory.leave()
        if started is not None:
            started.detach()


def _join_or_start(file: Path) -> tuple[RunDirectory, Postgres | None]:
    with file.open("a+") as running:
        # The other processes wait here until the first one has started the server.
        fcntl.flock(running, fcntl.LOCK_EX)
        running.seek(0)
        path = running.read()
        directory = RunDirectory.join(service_user(), Path(path)) if path else None
        if directory is not None:
            return directory, None
        directory, postgres = _start()
        running.truncate(0)
        running.write(str(directory.path))
        return directory, postgres


def _start() -> tuple[RunDirectory, Postgres]:
    # Tests create many databases, each of hundreds of files.
    directory = RunDirectory.create(service_user(), in_memory=True)
    try:
        postgres = Postgres(directory, SETTINGS)
        postgres.start()
        # With the roles, which belong to all databases.
        Databases(directory.server_path).set_up("postgres", default_grants=False)
    except BaseException:
        directory.leave()
        raise
    return directory, postgres
