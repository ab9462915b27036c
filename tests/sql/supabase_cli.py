"""The Supabase CLI, offline, against a database of the local stack."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

PROGRAM = Path(__file__).parents[2] / "node_modules" / ".bin" / "supabase"
MISSING = None if PROGRAM.exists() else "no Supabase CLI in node_modules (npm ci)"


def address(dsn: str) -> str:
    """Write a dsn as the CLI takes it: with a host, which the socket's directory replaces."""
    of = conninfo_to_dict(dsn)
    return f"postgresql://{of['user']}@localhost/{of['dbname']}?host={of['host']}"


def environment(home: Path) -> dict[str, str]:
    """Give it a home of its own, and nobody to tell of its use."""
    return {
        "HOME": str(home),
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "SUPABASE_TELEMETRY_DISABLED": "1",
        "SUPABASE_NO_UPDATE_NOTIFIER": "1",
        "DO_NOT_TRACK": "1",
    }


def supabase_cli(
    *arguments: str, home: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the CLI in its home; the caller looks at the exit status."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=home,
        env={**environment(home), **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
