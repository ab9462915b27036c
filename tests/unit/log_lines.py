"""Read the lines of a log that a test has captured."""

import io
import json
from typing import Any


def logged(out: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines without their timestamps."""
    read = [json.loads(line) for line in out.getvalue().splitlines()]
    return [{k: v for k, v in line.items() if k != "timestamp"} for line in read]
