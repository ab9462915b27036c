"""The user that the local servers run as, since Postgres does not run as root."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.supabase.errors import LocalStackError


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """The user that the servers run as: the current user, or `nobody` instead of root."""

    uid: int
    gid: int

    @property
    def is_other_user(self) -> bool:
        """Whether this is another user than the current one."""
        return self.uid != os.geteuid()

    def popen_arguments(self) -> dict[str, Any]:
        """Return what `subprocess.Popen` needs to start a program as this user."""
        if not self.is_other_user:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def chown(self, path: Path) -> None:
        """Make this user the owner of one file or directory."""
        if self.is_other_user:
            os.chown(path, self.uid, self.gid)

    def can_run(self, program: Path) -> bool:
        """Whether this user can execute a program.

        `nobody` cannot when, for example, the virtual environment is in `/root`.
        """
        if not self.is_other_user:
            return os.access(program, os.X_OK)
        real = program.resolve()
        required = stat.S_IROTH | stat.S_IXOTH
        is_executable = real.stat().st_mode & required == required
        return is_executable and self.can_enter(real.parent)

    def can_enter(self, directory: Path) -> bool:
        """Whether this user can open files in a directory."""
        if not self.is_other_user:
            return os.access(directory, os.X_OK)
        real = directory.resolve()
        return all(path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents))


def service_user() -> ServiceUser:
    """Return the current user, or `nobody` when that is root.

    Raises:
        LocalStackError: the current user is root, and there is no user `nobody`.
    """
    if os.geteuid() != 0:
        return ServiceUser(os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        message = (
            "Postgres does not run as root, and there is no user `nobody`. Run as another user."
        )
        raise LocalStackError(message) from error
    return ServiceUser(nobody.pw_uid, nobody.pw_gid)


def copy_executable(source: Path, target: Path) -> None:
    """Copy a program, or a directory of programs, that every user can read and execute."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
