"""Run `python -m module` in forks of one process that has imported what the worker needs.

A start of the worker is mostly imports. This process, started once by `tests.commands`, has done
them; a command is a fork of it, with its own arguments, environment, working directory, standard
streams and signals. At its end Python itself finishes the fork: its exit status, its traceback and
what it does at exit are those of a new Python.
"""

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest import mock

import worker

LIBRARIES = (
    "aiohttp.web",
    "anyio._backends._asyncio",
    "apscheduler.executors.asyncio",
    "apscheduler.triggers.interval",
    "dotenv",
    "encodings.idna",
    "httpcore._backends.anyio",
    "httpx",
    "jinja2",
    "mux_python",
    "prometheus_client",
    "rich.live",
    "rich.progress",
    "rich.table",
    "rich.traceback",
    "supabase",
)
"""What the worker imports only where it is used."""

LARGEST_REQUEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """A command as `tests.commands` sends it."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    starts_session: bool


class ForkServer:
    """Forks for each command, and reports how the fork ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._answers: dict[int, socket.socket] = {}
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)

    def serve(self) -> Command | None:
        """Return in each fork with its command, and in this process with None at the end."""
        signal.set_wakeup_fd(self._wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which closes `control`
        while True:
            readable, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in readable:
                self._woken.recv(4096)
                self._report()
            if self._control in readable:
                _, descriptors, _, _ = socket.recv_fds(self._control, 1, 4)
                if not descriptors:
                    self._kill()
                    return None
                if (command := self._fork(descriptors)) is not None:
                    return command

    def _fork(self, descriptors: list[int]) -> Command | None:
        """Return the command in the fork, None in this process."""
        answer = socket.socket(fileno=descriptors[0])
        command = Command(**json.loads(answer.recv(LARGEST_REQUEST)))
        # What arrives before the fork has its own handlers waits until it has them.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            answer.close()
            self._leave()
            _become(command, descriptors[1:])
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            return command
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        self._answers[pid] = answer
        _send(answer, pid)
        return None

    def _leave(self) -> None:
        """Take from a fork what belongs to this process only."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self._interrupt)
        for one in (self._control, self._woken, self._wakes, *self._answers.values()):
            one.close()

    def _report(self) -> None:
        for pid, answer in list(self._answers.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _send(answer, os.waitstatus_to_exitcode(status))
                self._answers.pop(pid).close()

    def _kill(self) -> None:
        for pid in self._answers:
            os.kill(pid, signal.SIGKILL)


def _send(answer: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # a test that does not wait for its command
        answer.send(b"%d" % number)


def _become(command: Command, streams: list[int]) -> None:
    """Make this fork what a new process for the command would be."""
    if command.starts_session:
        os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(getattr(sys, name), number)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(command.directory)
    sys.path[0] = command.directory
    sys.argv = [command.module, *command.arguments]
    # Python itself sets LC_CTYPE where the environment names no locale.
    locale = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(locale | command.environment)


def _stream(like: Any, descriptor: int) -> io.TextIOWrapper:
    """Open a standard stream as Python does at its start."""
    mode = "r" if descriptor == 0 else "w"
    # Path.open would not take a descriptor.
    binary: Any = open(descriptor, f"{mode}b", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


def import_all() -> list[str]:
    """Import what the worker needs; return the names of the variables that were read meanwhile."""
    read = set()
    kind = type(os.environ)
    get = kind.__getitem__

    def recorded(environment: Any, name: Any) -> Any:
        read.add(os.fsdecode(name))
        return get(environment, name)

    with mock.patch.object(kind, "__getitem__", recorded):
        for module in pkgutil.walk_packages(worker.__path__, "worker."):
            if module.name != "worker.__main__":
                importlib.import_module(module.name)
        for library in LIBRARIES:
            importlib.import_module(library)
    return sorted(read)


def main() -> Command | None:
    """Serve the socket whose descriptor is the argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    read = import_all()
    gc.collect()
    gc.freeze()  # forks share these objects as long as they leave them alone
    control.sendall(json.dumps(read).encode() + b"\n")
    return ForkServer(control).serve()


if __name__ == "__main__":
    found = main()
    if found is not None:
        runpy.run_module(found.module, run_name="__main__", alter_sys=True)
