"""Generate the TypeScript types of the sandbox's database: `make types`."""

import os
import subprocess
from pathlib import Path

from sandbox.checkout import CHECKOUT
from sandbox.supabase.stack import LocalSupabase

SCRIPT = Path(__file__).with_name("typegen.mjs")
TYPES = CHECKOUT / "docs" / "database.types.ts"


def database_types(dsn: str) -> str:
    """Return what `supabase gen types typescript` writes for the schema public of a database."""
    return subprocess.run(
        ["node", SCRIPT],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


if __name__ == "__main__":
    with LocalSupabase() as supabase:
        TYPES.write_text(database_types(supabase.dsn()))
