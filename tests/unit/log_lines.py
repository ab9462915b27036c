"""What was written to the log, as those read it who look for lines."""

import io
import json
from typing import Any


def told(out: io.StringIO) -> list[dict[str, Any]]:
    """Read the lines without their times."""
    read = [json.loads(line) for line in out.getvalue().splitlines()]
    return [{k: v for k, v in line.items() if k != "timestamp"} for line in read]
