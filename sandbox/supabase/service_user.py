"""The account that local servers run as: Postgres refuses to be started by root."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.supabase.errors import LocalStackError


@dataclass(frozen=True, slots=True)
class Account:
    """Say which user the servers run as: ourselves, or `nobody` when we are root."""

    uid: int
    gid: int

    @property
    def is_borrowed(self) -> bool:
        """Tell whether this is another account than the one we run as."""
        return self.uid != os.geteuid()

    def popen_arguments(self) -> dict[str, Any]:
        """Return what `subprocess.Popen` needs to start a program as this user."""
        if not self.is_borrowed:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make this user the owner of one file or directory."""
        if self.is_borrowed:
            os.chown(path, self.uid, self.gid)

    def can_run(self, program: Path) -> bool:
        """Tell whether this user may reach and execute a program.

        A virtual environment below `/root` is the usual case in which `nobody` may not.
        """
        if not self.is_borrowed:
            return os.access(program, os.X_OK)
        real = program.resolve()
        everybody_runs = stat.S_IROTH | stat.S_IXOTH
        may_run = real.stat().st_mode & everybody_runs == everybody_runs
        return may_run and self.can_enter(real.parent)

    def can_enter(self, directory: Path) -> bool:
        """Tell whether this user may open what is in a directory."""
        if not self.is_borrowed:
            return os.access(directory, os.X_OK)
        real = directory.resolve()
        return all(path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents))


def server_account() -> Account:
    """Return our own account, or that of `nobody` when we are root.

    Raises:
        LocalStackError: we are root and the machine has no `nobody`.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        message = "Postgres does not run as root, and there is no user `nobody` to run it as"
        raise LocalStackError(message) from error
    return Account(nobody.pw_uid, nobody.pw_gid)


def copy_within_reach(source: Path, target: Path) -> None:
    """Copy a program, or a directory of them, so that everybody may read and execute it."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
