"""A forked command behaves as one that a new Python runs."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CHECKOUT, fork_server, start, start_python

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}

Starting = Callable[..., "subprocess.Popen[str]"]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux only"),
    pytest.mark.parametrize("starting", [start, start_python]),
]


class Program:
    """A module in a directory of its own, which is run both ways."""

    def __init__(self, directory: Path, starting: Starting) -> None:
        self._directory = directory
        self._starting = starting

    def start(self, code: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start it."""
        (self._directory / "program.py").write_text(code)
        settings = {"env": ENVIRONMENT, "cwd": str(self._directory), "module": "program"}
        return self._starting(*arguments, **settings | options)

    def run(self, code: str, *arguments: str, **options: Any) -> tuple[int, str, str]:
        """Run it to its end; return its exit status and what it wrote."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(code, *arguments, **pipes | options) as process:
            stdout, stderr = process.communicate(timeout=120)
        return process.returncode, stdout, stderr


@pytest.fixture
def program(tmp_path: Path, starting: Starting) -> Program:
    """Return a program to run."""
    return Program(tmp_path, starting)


@pytest.mark.parametrize(
    ("code", "status", "last_line"),
    [
        ("", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('No.')", 1, "No."),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import os; print('lost'); os._exit(7)", 7, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import os; print('x', flush=False); os.close(1)", 120, "OSError: [Errno 9]"),
        ("import atexit, sys; atexit.register(sys.stderr.write, 'at exit')", 0, "at exit"),
    ],
)
def test_it_ends_as_python_ends_it(
    program: Program, code: str, status: int, last_line: str
) -> None:
    """Exit status, traceback and what happens at exit are Python's own."""
    returned, _, stderr = program.run(code)
    assert returned == status
    assert (stderr.splitlines() or [""])[-1].startswith(last_line)


SHOW = """
import asyncio, json, os, sys, threading
encodings = [(s.encoding, s.errors, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)]
print(json.dumps({
    "arguments": sys.argv, "directory": os.getcwd(), "path": sys.path[0], "name": __name__,
    "environment": dict(os.environ), "encodings": encodings, "descriptors": os.listdir("/dev/fd"),
    "group": os.getpgrp(), "session": os.getsid(0) == os.getpid(),
    "threads": threading.active_count(), "typed": sys.stdin.read(),
}))
"""


def test_it_sees_its_own_arguments_environment_directory_and_descriptors(
    program: Program, tmp_path: Path
) -> None:
    """Nothing of the process that forked it is visible."""
    given = tmp_path / "given"
    given.write_text("typed")
    with given.open() as stdin:
        _, stdout, _ = program.run(
            SHOW, "a", "b c", env={**ENVIRONMENT, "SETTING": "ö"}, stdin=stdin
        )
    utf8 = ["utf-8", "surrogateescape"]
    assert json.loads(stdout) == {
        "arguments": [str(tmp_path / "program.py"), "a", "b c"],
        "directory": str(tmp_path),
        "path": str(tmp_path),
        "name": "__main__",
        "environment": {**ENVIRONMENT, "SETTING": "ö", "LC_CTYPE": "C.UTF-8"},
        "encodings": [[*utf8, False], [*utf8, False], ["utf-8", "backslashreplace", True]],
        "descriptors": ["0", "1", "2", "3"],  # the last is the directory's, while it is read
        "group": os.getpgrp(),
        "session": False,
        "threads": 1,
        "typed": "typed",
    }


def test_it_has_python_s_signal_handlers(program: Program) -> None:
    """A test can ignore nothing and block nothing for it by accident."""
    show = (
        "import signal; print([(n.name, str(signal.getsignal(n))) for n in signal.Signals "
        "if signal.getsignal(n) not in (signal.SIG_DFL, None)], "
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))"
    )
    _, stdout, _ = program.run(show)
    assert "SIGCHLD" not in stdout
    assert "'SIGINT', '<built-in function default_int_handler>'" in stdout
    assert stdout.endswith("set() -1\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_gets_the_signals_it_is_sent(program: Program, number: signal.Signals) -> None:
    """Also when it has a terminal, its own session, and has not ended yet."""
    ours, theirs = pty.openpty()
    code = "import os, sys, time; print(sys.stdout.isatty(), os.getsid(0) == os.getpid());"
    process = program.start(
        f"{code} time.sleep(60)", stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    assert os.read(ours, 100) == b"True True\r\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(60) == -number
    assert process.poll() == -number
    os.close(ours)


def test_what_python_reads_at_its_start_is_not_for_a_fork(starting: Starting) -> None:
    """A variable that the interpreter or an import reads has a command start in a new Python."""
    server = fork_server()
    assert not server.cannot_fork({**ENVIRONMENT, "SUPABASE_URL": "x", "HTTPS_PROXY": "x"})
    for name in ("PYTHONPATH", "PYTHONIOENCODING", "TZ", "LC_ALL", "NO_COLOR", "SSLKEYLOGFILE"):
        assert server.cannot_fork({**ENVIRONMENT, name: "x"}), name
