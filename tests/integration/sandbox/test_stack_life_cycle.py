"""However a local stack ends, no process and no file stays behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox.supabase.run_directory import PREFIX, RECORD, RunDirectory, remove_abandoned
from sandbox.supabase.service_user import service_user

pytestmark = pytest.mark.stack

CHECKOUT = Path(__file__).parents[3]
# Runs a stack until a word comes, which says how to end. The request shows that the servers are
# there when the block is being left. An argument is the file of a shared Postgres.
OWNER = """
import sys, httpx
from pathlib import Path
from sandbox.supabase.stack import LocalSupabase
shared = Path(sys.argv[1]) if sys.argv[1:] else None
with LocalSupabase(apply_sql=False, shared_postgres=shared) as stack:
    try:
        print("running", flush=True)
        if sys.stdin.readline() == "raise\\n":
            raise RuntimeError("on purpose")
    finally:
        url, key = stack.url + "/rest/v1/lessons", stack.anon_key
        print(httpx.get(url, headers={"apikey": key}).status_code, flush=True)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a temporary directory that all users can enter, and set TMPDIR to it.

    With `tmp_path`, so that pytest's own directory is not created in it.
    """
    path = Path(tempfile.mkdtemp(prefix="life-", dir="/tmp"))
    path.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    remove_abandoned(service_user())
    shutil.rmtree(path)


def start_owner(shared_postgres: Path | None = None) -> subprocess.Popen[str]:
    """Start a process that owns a stack."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, *([str(shared_postgres)] if shared_postgres else [])],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process group of its own, so that Ctrl-C can be sent as a terminal does: to all of it.
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def wait_until_running(owner: subprocess.Popen[str]) -> None:
    """Wait until the owner's stack runs."""
    assert owner.stdout is not None
    assert owner.stdout.readline() == "running\n"


def recorded(temporary: Path) -> list[psutil.Process]:
    """Return the recorded processes that run."""
    return [process for path in temporary.glob(f"{PREFIX}*") for process in recorded_in(path)]


def recorded_in(directory: Path) -> list[psutil.Process]:
    """Return the recorded processes of one run directory that run."""
    record = directory / RECORD
    lines = record.read_text().splitlines() if record.exists() else []
    pids = [int(line.split()[0]) for line in lines]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def names(processes: list[psutil.Process]) -> list[str]:
    """Return the programs that the processes run."""
    return [process.name() for process in processes]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that have not ended; zombies have ended."""
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize(
    ("word", "exit_status"), [("return\n", 0), ("raise\n", 1), ("ctrl-c", -signal.SIGINT)]
)
def test_nothing_stays_when_the_block_is_left(temporary: Path, word: str, exit_status: int) -> None:
    """A return, an exception and Ctrl-C stop the servers, in order, and remove their files."""
    with start_owner() as owner:
        wait_until_running(owner)
        processes = recorded(temporary)
        assert names(processes) == ["postgres", "postgrest"]
        if word == "ctrl-c":
            os.killpg(owner.pid, signal.SIGINT)
        output, _ = owner.communicate(None if word == "ctrl-c" else word)
    assert (output, owner.returncode) == ("200\n", exit_status)
    assert (alive(processes), list(temporary.iterdir())) == ([], [])


@pytest.mark.parametrize("started", [1, 2, 3])
def test_nothing_stays_when_the_start_is_interrupted(temporary: Path, started: int) -> None:
    """Ctrl-C during the start of initdb, Postgres or PostgREST leaves nothing behind."""

    def has_started() -> bool:
        records = list(temporary.glob(f"{PREFIX}*/{RECORD}"))
        return bool(records) and records[0].read_text().count("\n") >= started

    with start_owner() as owner:
        wait_until(has_started)
        processes = recorded(temporary)
        os.killpg(owner.pid, signal.SIGINT)
        owner.communicate()
    assert owner.returncode != 0
    assert (alive(processes), list(temporary.iterdir())) == ([], [])


def test_the_next_start_cleans_up_after_a_killed_owner(temporary: Path) -> None:
    """The servers of a killed owner run until the next stack starts."""
    with start_owner() as killed:
        wait_until_running(killed)
        processes = recorded(temporary)
        directories = list(temporary.iterdir())
        killed.kill()
    assert names(alive(processes)) == ["postgres", "postgrest"]
    with start_owner() as owner:
        wait_until_running(owner)
        assert (alive(processes), [path for path in directories if path.exists()]) == ([], [])
        assert owner.communicate("return\n")[0] == "200\n"
    assert list(temporary.iterdir()) == []


def test_the_cleanup_touches_neither_a_running_stack_nor_a_reused_pid(temporary: Path) -> None:
    """A process that has a recorded PID but another creation time is not killed."""
    with start_owner() as owner:
        wait_until_running(owner)
        assert remove_abandoned(service_user()) == []
        abandoned = Path(tempfile.mkdtemp(prefix=PREFIX))
        postgres = recorded(temporary)[0]
        long_ago = postgres.create_time() - 3600
        ourselves = psutil.Process()
        (abandoned / RECORD).write_text(
            f"{postgres.pid} {long_ago}\n{ourselves.pid} {ourselves.create_time()}\n12"
        )
        assert remove_abandoned(service_user()) == [abandoned]
        assert owner.communicate("return\n")[0] == "200\n"


def test_only_the_servers_can_enter_their_directory(temporary: Path) -> None:
    """Only the servers' user can enter the directory of the sockets."""
    directory = RunDirectory.create(service_user())
    status = directory.server_path.stat()
    directory.leave()
    assert (status.st_mode & 0o777, status.st_uid) == (0o700, service_user().uid)


def end(owner: subprocess.Popen[str], word: str) -> None:
    """End an owner with a word, Ctrl-C or SIGKILL."""
    if word == "ctrl-c":
        os.killpg(owner.pid, signal.SIGINT)
    if word == "kill":
        owner.kill()
    owner.communicate(word if word.endswith("\n") else None)


@pytest.mark.parametrize("word", ["ctrl-c", "kill"])
def test_a_shared_postgres_runs_until_its_last_stack_ends(
    temporary: Path, tmp_path: Path, word: str
) -> None:
    """However the process ends that started it, the others go on, and the last one stops it."""
    file = tmp_path / "postgres"
    with start_owner(file) as first, start_owner(file) as second:
        wait_until_running(first)
        wait_until_running(second)
        directory = Path(file.read_text())
        servers = recorded_in(directory)
        assert names(servers) == ["postgres"]
        starter, other = (first, second) if servers[0].ppid() == first.pid else (second, first)
        end(starter, word)
        assert alive(servers) == servers
        assert other.communicate("return\n")[0] == "200\n"
    assert (alive(servers), directory.exists()) == ([], False)
    remove_abandoned(service_user())  # what the killed one had for itself
    assert (recorded(temporary), list(temporary.iterdir())) == ([], [])


def test_a_shared_postgres_whose_users_were_killed_is_replaced(
    temporary: Path, tmp_path: Path
) -> None:
    """The next stack stops it, and starts another one under the same name."""
    file = tmp_path / "postgres"
    with start_owner(file) as killed:
        wait_until_running(killed)
        directory = Path(file.read_text())
        servers = recorded_in(directory)
        killed.kill()
    assert alive(servers) == servers
    with start_owner(file) as owner:
        wait_until_running(owner)
        assert (alive(servers), directory.exists()) == ([], False)
        assert Path(file.read_text()) != directory
        assert owner.communicate("return\n")[0] == "200\n"


def test_a_directory_is_in_memory_where_there_is_room(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is little, as in a container by default, it is in the temporary directory."""
    memory = temporary / "memory"
    memory.mkdir(mode=0o755)
    monkeypatch.setattr("sandbox.supabase.run_directory.MEMORY", memory)
    parents = []
    for needed in (1, 2**62):
        monkeypatch.setattr("sandbox.supabase.run_directory.MIN_MEMORY_BYTES", needed)
        directory = RunDirectory.create(service_user(), in_memory=True)
        parents.append(directory.path.parent)
        directory.leave()
    assert parents == [memory, temporary]
