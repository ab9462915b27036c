"""What the image promises, without Docker: another user, and a machine that cannot be written."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.http_server import HOST, free_port
from sandbox.mux.server import MuxSimulator
from tests.commands import CHECKOUT
from tests.course import Course
from tests.e2e.evidence import assert_published
from tests.worker_process import Line, WorkerProcess

pytestmark = pytest.mark.stack

USER = 10001
SEAL = f"""
while read -r _ point _ options _; do
  case $point:$options in
    /proc*|/sys*) ;;
    *:rw*) mount -o remount,bind,ro "$point" ;;
  esac
done </proc/self/mounts 2>/dev/null
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs "$@"
"""
"""Makes every file system read-only for one process, which then gives up root."""

CONTAINED = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SEAL, "sh"]
WRITABLE = """
import json, os, tempfile

def is_writable(folder):
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False

folders = ["/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/home", os.path.expanduser("~"), "."]
print(json.dumps([os.getuid(), [folder for folder in folders if is_writable(folder)]]))
"""


def contained(*arguments: str, module: str = "worker", **options: Any) -> "subprocess.Popen[str]":
    """Start a command of the worker as the image's user, where nothing can be written."""
    command = [*CONTAINED, sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, cwd="/", text=True, **options)


def what_can_be_written() -> Any:
    """Return the user inside, and the folders that it can write; None where that is impossible."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return None
    result = subprocess.run(
        [*CONTAINED, sys.executable, "-c", WRITABLE],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if result.returncode else json.loads(result.stdout)


class ContainedWorker(WorkerProcess):
    """A worker in the place of the image's."""

    def start(self, *arguments: str, **settings: str) -> "ContainedWorker":
        """Start a command, `run` by default."""
        self._start(contained, arguments, settings)
        return self


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[ContainedWorker]:
    """Yield a worker, not yet started, with the environment that the image gives it."""
    process = ContainedWorker({**environment, **image_environment(), "HOST": HOST})
    yield process
    process.kill()


def image_environment() -> dict[str, str]:
    """Read what the image sets, but for the port, which may be in use here."""
    dockerfile = (CHECKOUT / "Dockerfile").read_text()
    block = re.search(r"^ENV (PATH=.*?)\n(?! )", dockerfile, re.MULTILINE | re.DOTALL)
    assert block is not None
    variables = dict(pair.split("=", 1) for pair in block[1].replace("\\\n", " ").split())
    python = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    assert variables.keys() == {"PATH", "PORT", "MALLOC_MMAP_THRESHOLD_", *python}
    return {**variables, "PATH": "/usr/bin:/bin", "PORT": str(free_port())}


def test_it_works_as_another_user_where_nothing_can_be_written(
    worker: ContainedWorker, course: Course, mux: MuxSimulator
) -> None:
    """It publishes, is healthy by the image's check, and stops at SIGTERM, without one warning."""
    inside = what_can_be_written()
    if inside is None:
        pytest.skip("needs root, unshare and setpriv, and a Python that other users may run")
    assert inside == [USER, []]
    worker.start()
    worker.wait_for("web.listening")
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    assert_published(worker, course, mux, lesson, upload_id)
    check = contained("health", env=worker.environment, stdout=subprocess.PIPE)
    assert check.communicate()[0] == "The worker works.\n"
    assert worker.stop() == 0
    warnings: list[Line] = [line for line in worker.lines if line["level"] != "info"]
    assert [line["event"] for line in warnings] == ["webhook.off"]
