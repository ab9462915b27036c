"""Run the worker's commands as their users do: each one a process of its own."""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]

READ_BY_PYTHON = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_", "OPENSSL")
"""What variables begin with that the interpreter or a library in C reads when it starts."""


def start(
    *arguments: str, env: Mapping[str, str], module: str = "worker", cwd: str = "/", **options: Any
) -> "subprocess.Popen[str]":
    """Start `python -m worker` with these arguments.

    It is forked, see `tests.fork_server`, unless `env` sets what a process reads at its start.
    """
    if sys.platform != "linux" or fork_server().cannot_fork(env):
        return start_python(*arguments, env=env, module=module, cwd=cwd, **options)
    return Forked([module, *arguments], env=dict(env), cwd=cwd, text=True, **options)


def start_python(
    *arguments: str, env: Mapping[str, str], module: str = "worker", cwd: str = "/", **options: Any
) -> "subprocess.Popen[str]":
    """Start `python -m worker` in a new Python, for tests of the start itself."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=env, cwd=cwd, text=True, **options)


def run(
    *arguments: str, env: Mapping[str, str], timeout: float = 240, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, through pipes."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with start(*arguments, env=env, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


class ForkServer:
    """The process of `tests.fork_server`, as long as this process runs."""

    def __init__(self) -> None:
        self._environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                env=self._environment,
                cwd=CHECKOUT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        with self._control.makefile("rb") as lines:
            self._read_at_import = frozenset(json.loads(lines.readline()))

    def cannot_fork(self, environment: Mapping[str, str]) -> bool:
        """Whether the imports, done already, would have read something else."""
        names = {*environment, *self._environment}
        return any(
            environment.get(name) != self._environment.get(name)
            for name in names
            if name in self._read_at_import or name.startswith(READ_BY_PYTHON)
        )

    def fork(self, command: Mapping[str, Any], streams: list[int]) -> tuple[int, socket.socket]:
        """Have a command started; return its process id, and the socket that tells its end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            socket.send_fds(self._control, [b"+"], [theirs.fileno(), *streams])
        ours.send(json.dumps(command).encode())
        return _number(ours), ours

    def stop(self) -> None:
        """End the process and what it has forked."""
        self._control.close()
        self._process.wait()


@cache
def fork_server() -> ForkServer:
    """Start the server, once."""
    server = ForkServer()
    atexit.register(server.stop)
    return server


class Forked(subprocess.Popen[str]):
    """A forked command; all that can be done with a process can be done with it."""

    _answer: socket.socket

    def _execute_child(
        self,
        args: list[str],
        executable: Any,
        preexec_fn: Any,
        close_fds: Any,
        pass_fds: Any,
        cwd: str,
        env: dict[str, str],
        startupinfo: Any,
        creationflags: Any,
        shell: Any,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: Any,
        gid: Any,
        gids: Any,
        uid: Any,
        umask: Any,
        start_new_session: bool,
        *_: Any,
    ) -> None:
        module, *arguments = args
        command = {
            "module": module,
            "arguments": arguments,
            "environment": env,
            "directory": str(cwd),
            "starts_session": start_new_session,
        }
        ends = (p2cread, c2pwrite, errwrite)
        streams = [end if end != -1 else number for number, end in enumerate(ends)]
        self.pid, self._answer = fork_server().fork(command, streams)
        closing: Any = self
        closing._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)

    def poll(self) -> int | None:
        """Return the exit status, None while the command runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status at the command's end."""
        if self.returncode is None:
            self._answer.settimeout(timeout)
            try:
                self.returncode = _number(self._answer)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._answer.close()
        return self.returncode


def _number(answer: socket.socket) -> int:
    text = answer.recv(32)
    if not text:
        raise RuntimeError("The fork server has ended. Look for its traceback above.")
    return int(text)
