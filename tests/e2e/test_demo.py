import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from sandbox.demo.screen import Lines
from sandbox.demo.worker_process import DemoWorker
from sandbox.supabase.errors import LocalStackError

pytestmark = pytest.mark.stack

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sandbox.demo", "--speed", "4"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}


def started(*more: str, out: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """Start the demo in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [*COMMAND, *more],
        env={**ENVIRONMENT, **environment},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT if out == subprocess.PIPE else out,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> set[int]:
    """Give the ids of the live processes that descend from one, as /proc has them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found |= {child} | children(child)
    return found


def assert_gone(pids: set[int]) -> None:
    """See within some seconds that none of the processes is there any more."""
    deadline = time.monotonic() + 10
    while left := {pid for pid in pids if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def test_through_a_pipe_it_tells_the_story_line_by_line(tmp_path: Path) -> None:
    """Every lesson comes out right, each trouble is told, and no file is left."""
    demo = started(TMPDIR=str(tmp_path))
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    for told in (
        r"app     Anna uploads “A second take” a second time",
        r"app     Mux goes down",
        r"app     Mux is back",  # so quick, it may be before the worker has asked anything
        r"worker  lesson\.failed .* error_type=asset_errored",
        r"worker  worker\.stopped signal=SIGTERM",
        r"app     Mux's webhooks are pointed at the worker",
        r"What was published came .*3 by webhook\.",
        r"All 12 lessons came out right\.",
    ):
        assert re.search(told, output), told
    assert len(re.findall(r"worker  lesson\.published", output)) == 10
    assert "\x1b" not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_in_the_middle_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Stopped while the worker is at work, it ends worker and stack and removes their files."""
    demo = started(TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    for line in demo.stdout:
        if "lesson.published" in line:
            break
    processes = children(demo.pid)
    assert len(processes) >= 3
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == status, output
    assert "Traceback" not in output
    assert_gone(processes)
    assert list(tmp_path.iterdir()) == []


def plain(drawn: bytes) -> str:
    """Give what was drawn without what only steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace"))


def test_on_a_terminal_it_draws_a_table(tmp_path: Path) -> None:
    """With a terminal the lessons stand in a table that is drawn anew, within 80 columns."""
    ours, theirs = pty.openpty()
    demo = started(
        out=theirs, TMPDIR=str(tmp_path), TERM="xterm-256color", COLUMNS="80", LINES="30"
    )
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + 30
    row = re.compile(r"Welcome +Anna +published +ready")
    while not row.search(plain(drawn)) and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.5)[0]:
            drawn += os.read(ours, 65536)
    demo.send_signal(signal.SIGINT)
    while True:
        try:
            if not os.read(ours, 65536):
                break
        except OSError:  # the other end is closed
            break
    assert demo.wait(30) == 130
    os.close(ours)
    text = plain(drawn)
    assert "mux-worker demo" in text
    assert row.search(text)
    assert max(len(line.rstrip()) for line in text.replace("\r", "\n").splitlines()) <= 80


def addresses(lines: Iterable[str]) -> dict[str, str]:
    """Read on to the worker's token; give the two pages' addresses and the token."""
    found = {}
    for line in lines:
        assert len(line) <= 81
        if told := re.fullmatch(r"  (Instructor|Worker|its OPS)\S* .*?(\S+)\n", line):
            found[told[1]] = told[2]
        if "its OPS" in found:
            break
    return found


def test_it_prints_where_to_take_part(tmp_path: Path) -> None:
    """While it plays, both pages answer at the printed addresses, the worker's for its token."""
    demo = started(TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    printed = addresses(demo.stdout)
    page = httpx.get(printed["Instructor"])
    assert (page.status_code, "<title>Lessons" in page.text) == (200, True)
    for line in demo.stdout:
        if "web.listening" in line:
            break
    status = httpx.get(printed["Worker"], follow_redirects=True)
    assert (status.status_code, "<title>Log in" in status.text) == (200, True)
    metrics = f"{printed['Worker']}metrics"
    assert httpx.get(metrics).status_code == 401
    token = {"Authorization": f"Bearer {printed['its OPS']}"}
    assert httpx.get(metrics, headers=token).status_code == 200
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=30)
    assert demo.returncode == 130
    with pytest.raises(httpx.ConnectError):
        httpx.get(printed["Instructor"])


class Bert:
    """Plays an instructor, by the page's own server and by Supabase, as the page does."""

    def __init__(self, home: str, supabase_url: str) -> None:
        self._page = httpx.Client(base_url=home, headers={"Origin": home.rstrip("/")})
        session = self._page.post("session", json={"instructor": "Bert"}).json()
        self._token = {"Authorization": f"Bearer {session['token']}"}
        self._user = session["user"]["id"]
        apikey = self._page.get("config").json()["publishableKey"]
        self._rest = httpx.Client(
            base_url=f"{supabase_url}/rest/v1",
            headers={"apikey": apikey, "Prefer": "return=representation", **self._token},
        )

    def upload(self) -> str:
        """Create a lesson and upload its video; give the lesson's id."""
        lesson = {"title": "After the story", "creator_id": self._user}
        (made,) = self._rest.post("/lessons", json=lesson).raise_for_status().json()
        asked = {"lessonId": made["id"], "fate": "plays"}
        upload = self._page.post("uploads", json=asked, headers=self._token).json()
        track = {"lesson_id": made["id"], "upload_id": upload["id"]}
        self._rest.post("/rpc/track_upload", json=track).raise_for_status()
        httpx.put(upload["url"], content=b"a video").raise_for_status()
        return str(made["id"])

    def sources(self, lesson_id: str) -> list[str]:
        """Say by which roads the lesson was published."""
        asked = {"lesson_id": f"eq.{lesson_id}", "event": "eq.published"}
        events = self._rest.get("/mux_asset_events", params=asked).json()
        return [event["observation"]["source"] for event in events]

    def close(self) -> None:
        """Close the connections."""
        self._page.close()
        self._rest.close()


def test_kept_everything_stays_up(tmp_path: Path) -> None:
    """With --keep pages, worker and webhooks go on, and the .env it prints is good for more."""
    demo = started("--keep", TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    printed = addresses(demo.stdout)
    settings = {}
    for line in demo.stdout:
        if found := re.fullmatch(r"([A-Z_]+)=(\S+)\n", line):
            settings[found[1]] = found[2]
        if line.startswith("The database:"):
            break
    scan = subprocess.run(
        [sys.executable, "-m", "worker", "scan"],
        env={**ENVIRONMENT, **settings},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (scan.returncode, scan.stderr) == (0, "")
    assert "Now 0 processing (0 due, 0 stuck), 2 failed." in scan.stdout
    with closing(Bert(printed["Instructor"], settings["SUPABASE_URL"])) as bert:
        lesson = bert.upload()
        for line in demo.stdout:
            if f"lesson.published lesson_id={lesson[:8]}" in line:
                break
        assert bert.sources(lesson) == ["webhook"]
    processes = children(demo.pid)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 0
    assert "Stopping ..." in output
    assert_gone(processes)
    assert list(tmp_path.iterdir()) == []


def test_kept_without_its_worker_it_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """If the worker ends by itself, waiting for a signal ends too, with its status and its log."""
    screen = Lines(Console(soft_wrap=True))
    with (
        DemoWorker({}, screen) as worker,
        pytest.raises(LocalStackError, match=r"ended with status 2; its log is above\."),
    ):
        worker.wait()
    assert "SUPABASE_URL" in capfd.readouterr().out
