import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
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


def test_a_checkout_prints_the_files_of_sql() -> None:
    """Where nothing but the dependencies is installed."""
    assert run(sys.executable, "-m", "worker", "sql", cwd=CHECKOUT) == SCRIPT
