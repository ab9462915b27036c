import http.client
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.http_server import HOST, free_port
from sandbox.mux.server import MuxSimulator
from tests.course import Course
from tests.e2e.evidence import assert_published
from tests.worker_process import WorkerProcess

CHECKOUT = Path(__file__).parents[2]
UNDO = b"".join(
    file.read_bytes() for file in sorted((CHECKOUT / "sql" / "down").glob("*.sql"), reverse=True)
)
COMMANDS = ("run", "scan", "backfill", "publish x", "retry x", "status", "doctor", "health")
"""All but `sql`, which needs no settings."""

SCRIPT = b"".join(file.read_bytes() for file in sorted((CHECKOUT / "sql").glob("*.sql")))


def run(*command: str | Path, cwd: Path) -> bytes:
    """Run a program in another folder than the checkout, and return what it prints."""
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; b.build_wheel(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=CHECKOUT)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a fresh environment, and return the folder of its commands."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    packages = Path(
        run(python, "-c", "import site; print(*site.getsitepackages())", cwd=folder)
        .decode()
        .strip()
    )
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "-q",
    ]
    run(*pip, wheel, cwd=folder)
    return python.parent


def test_the_wheel_has_neither_sandbox_nor_bench(wheel: Path) -> None:
    """It has the worker, with sql/ in it, and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"worker"}


@pytest.mark.parametrize("program", [["mux-worker"], ["python", "-m", "worker"]])
def test_the_installed_command_prints_the_files_of_sql(
    installed: Path, tmp_path: Path, program: list[str]
) -> None:
    """In the order of their names, unchanged, from any folder."""
    name, *arguments = program
    assert run(installed / name, *arguments, "sql", cwd=tmp_path) == SCRIPT


def test_the_installed_command_prints_how_to_undo_them(installed: Path, tmp_path: Path) -> None:
    """The last file first, also without a checkout."""
    assert run(installed / "mux-worker", "sql", "--undo", cwd=tmp_path) == UNDO


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_an_empty_folder_asks_for_settings(
    installed: Path, tmp_path: Path, command: str
) -> None:
    """It names what is missing and exits with 2, without a traceback, and leaves nothing there."""
    result = subprocess.run(
        [installed / "mux-worker", *command.split()],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "SUPABASE_URL" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


class InstalledWorker(WorkerProcess):
    """The worker of the wheel, in an empty folder."""

    def __init__(self, environment: dict[str, str], program: Path, folder: Path) -> None:
        super().__init__(environment)
        self._program, self._folder = program, folder

    def start(self, *arguments: str, **settings: str) -> "InstalledWorker":
        """Start a command, `run` by default."""

        def starting(*words: str, module: str, **options: Any) -> "subprocess.Popen[str]":
            assert module == "worker"
            return subprocess.Popen([self._program, *words], cwd=self._folder, text=True, **options)

        self._start(starting, arguments, settings)
        return self


@pytest.fixture
def worker(
    environment: dict[str, str], installed: Path, tmp_path: Path
) -> Iterator[InstalledWorker]:
    """Yield the installed worker, not yet started, which cannot see the checkout."""
    without = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    process = InstalledWorker(without, installed / "mux-worker", tmp_path)
    yield process
    process.kill()


@pytest.mark.stack
def test_the_installed_worker_publishes_and_shows_its_pages(
    worker: InstalledWorker, course: Course, mux: MuxSimulator
) -> None:
    """With the templates and files of the dashboard, which are in the wheel as well."""
    port, token = free_port(), "token-of-the-operator"
    worker.start(PORT=str(port), HOST=HOST, OPS_TOKEN=token)
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    assert_published(worker, course, mux, lesson, upload_id)
    connection = http.client.HTTPConnection(HOST, port, timeout=90)
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/", f"/lessons/{lesson}", "/assets/page.js"):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        assert (response.status, len(response.read()) > 500) == (200, True), path
    connection.close()
    assert worker.stop() == 0


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution and unpack it."""
    folder = tmp_path_factory.mktemp("sdist")
    build = "import sys, hatchling.build as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=CHECKOUT)
    (file,) = folder.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    return folder / file.name.removesuffix(".tar.gz")


def test_the_source_distribution_has_every_file(unpacked: Path) -> None:
    """What the tests of a checkout use is there, and what belongs to one machine is not."""
    ours = {"worker", "sandbox", "bench", "tests", "sql", "docs", "deploy", "bin", ".ci"}
    for folder in ours:
        wanted = {file for file in (CHECKOUT / folder).rglob("*") if is_source(file)}
        names = {file.relative_to(CHECKOUT) for file in wanted}
        assert names == {
            f.relative_to(unpacked) for f in (unpacked / folder).rglob("*") if f.is_file()
        }
    assert not (unpacked / ".env").exists()


def is_source(file: Path) -> bool:
    """Whether a file of a checkout was written by a person."""
    made = {"__pycache__", "node_modules"}
    return file.is_file() and not made & set(file.parts)


def test_the_source_distribution_passes_its_own_tests(unpacked: Path) -> None:
    """Those that read its files; without the checkout, which is not on the path."""
    tests = sorted(str(file) for file in (unpacked / "tests" / "unit").glob("test_*.py"))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=unpacked,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_a_checkout_prints_the_files_of_sql() -> None:
    """Where nothing but the dependencies is installed."""
    assert run(sys.executable, "-m", "worker", "sql", cwd=CHECKOUT) == SCRIPT
