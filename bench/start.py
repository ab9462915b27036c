"""Measure the time from the start of the process to the end of its first scan."""

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.answers import Answer, Bar, Bars, Detail, Row, middle, quantile
from bench.sizes import Sizes
from bench.stage import CHECKOUT, Stage, stage

HOW = """\
The time counts from the start of the process to the first scan in its log; nothing is due. Cold
means that no module is compiled (an empty `PYTHONPYCACHEPREFIX`, which covers Python's own library
as well), and that the files of Python's library, the packages and the worker are dropped from the
page cache, as far as the system allows it. The three ways take turns. The packages are those of
the tests. The limit in theory is Python itself: `python -c pass`, warm."""


def start(sizes: Sizes) -> Answer:
    """Measure cold and warm starts by turns."""
    seconds: dict[str, list[float]] = {"warm": [], "cold": [], "Python alone": []}
    with stage() as here:
        ways: dict[str, Callable[[], float]] = {
            "warm": here.seconds_to_first_scan,
            "cold": lambda: _cold(here),
            "Python alone": _python_alone,
        }
        here.seconds_to_first_scan()
        for _ in range(sizes.starts):
            for name, way in ways.items():
                seconds[name].append(way())
    alone = quantile(seconds["Python alone"], 0.5)
    rows = (
        Row(
            "Start of the process to the end of its first scan",
            ", ".join(f"{way} {middle(seconds[way], '.2f', 's')}" for way in ("warm", "cold")),
            limit=f"Python alone: {alone:.2f} s",
        ),
    )
    bars = tuple(Bar(name, quantile(seconds[name], 0.5), is_ours=True) for name in ("warm", "cold"))
    chart = Bars("Process start to first scan", "seconds", bars, alone, "Python alone")
    detail = Detail(
        ("Start", *seconds),
        tuple(
            (str(number + 1), *(f"{taken:.2f} s" for taken in each))
            for number, each in enumerate(zip(*seconds.values(), strict=True))
        ),
    )
    question = "Start: from the process to its first scan"
    return Answer(question, HOW, rows, (detail,), {"start": chart})


def _cold(here: Stage) -> float:
    _forget_files()
    with TemporaryDirectory() as empty:
        return here.seconds_to_first_scan(PYTHONPYCACHEPREFIX=empty)


def _python_alone() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - began


def _forget_files() -> None:
    """Remove the files that a start reads from the page cache."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()  # what is not written yet would stay
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {Path(sysconfig.get_path(name)) for name in names} | {CHECKOUT / "worker"}
    for place in places:
        for file in place.rglob("*"):
            if file.suffix in (".py", ".pyc", ".so") and file.is_file():
                with file.open("rb") as open_file:
                    os.posix_fadvise(open_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
