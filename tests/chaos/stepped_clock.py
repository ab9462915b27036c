"""Shift the wall clock of one process by the seconds in a file. Its monotonic clock stays.

libfaketime would do so for libraries in C as well, but Python cannot sleep under it: its
`clock_nanosleep` refuses the absolute times of the monotonic clock.
"""

import datetime
import time
from pathlib import Path
from unittest import mock

from sandbox.checkout import CHECKOUT

STARTS = """
from tests.chaos import stepped_clock

stepped_clock.install({file!r})
"""


def settings(directory: Path, file: Path) -> dict[str, str]:
    """Return what a new Python needs to have its clock set by a file, from before its imports."""
    file.write_text("0")
    (directory / "sitecustomize.py").write_text(STARTS.format(file=str(file)))
    return {"PYTHONPATH": f"{directory}:{CHECKOUT}"}


def install(file: str) -> None:
    """Shift the clock of this process from now on."""
    real_time, real_datetime, shift = time.time, datetime.datetime, Path(file)

    def shifted() -> float:
        return real_time() + float(shift.read_text() or 0)  # empty while it is written

    class Shifted(real_datetime):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real_datetime.fromtimestamp(shifted(), tz)

    mock.patch.object(time, "time", shifted).start()
    mock.patch.object(datetime, "datetime", Shifted).start()
