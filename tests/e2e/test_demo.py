import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from sandbox.demo.screen import PlainLines
from sandbox.demo.worker_process import DemoWorker
from sandbox.supabase.errors import LocalStackError

pytestmark = pytest.mark.stack

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sandbox.demo", "--speed", "4"]
TO_THE_END = ("--speed", "2")
"""Slower where lessons must be published by webhooks, which on a busy machine take a moment."""

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


def kept(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    """Yield lines, and keep those that were read."""
    for line in lines:
        read.append(line)
        yield line


def children(pid: int) -> set[int]:
    """Return the PIDs of a process's descendants, from /proc."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(file.parent.name)
            found |= {child} | children(child)
    return found


def assert_gone(pids: set[int]) -> None:
    """Assert that the processes end."""
    deadline = time.monotonic() + 60
    while left := {pid for pid in pids if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def test_through_a_pipe_it_prints_lines(tmp_path: Path) -> None:
    """Every lesson ends as planned, every step is printed, and no file is left.

    Both pages answer at the printed URLs, the worker's with its token.
    """
    demo = started(*TO_THE_END, TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    read: list[str] = []
    lines = kept(demo.stdout, read)
    printed = addresses(lines)
    page = httpx.get(printed["Instructor"])
    assert (page.status_code, "<title>Lessons" in page.text) == (200, True)
    assert any("web.listening" in line for line in lines)
    assert_dashboard_needs_token(printed)
    output, _ = demo.communicate(timeout=180)
    output = "".join(read) + output
    assert demo.returncode == 0, output
    with pytest.raises(httpx.ConnectError):
        httpx.get(printed["Instructor"])
    for pattern in (
        r"app     Anna uploads “A second take” a second time",
        r"app     Mux is down",
        r"app     Mux is up again",  # at this speed, perhaps before the worker sent a request
        r"The worker publishes lessons as a simulated Mux encodes their videos\.",
        r"worker  lesson\.failed “A broken file” error_type=asset_errored",
        r"worker  lesson\.published “Goodbye” waited_seconds=",
        r"worker  worker\.stopped signal=SIGTERM",
        r"app     Mux starts to send webhooks",
        r"Published: .*3 by webhook\.",
        r"All 12 lessons ended as planned\.",
    ):
        assert re.search(pattern, output), pattern
    assert len(re.findall(r"worker  lesson\.published", output)) == 10
    assert "\x1b" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C stops the worker and the stack, and their files are removed; SIGTERM: see below."""
    demo = started(TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    for line in demo.stdout:
        if "lesson.published" in line:
            break
    processes = children(demo.pid)
    assert len(processes) >= 3
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert_gone(processes)
    assert list(tmp_path.iterdir()) == []


def plain(drawn: bytes) -> str:
    """Return the output without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace"))


def test_on_a_terminal_it_draws_a_table_and_stays_until_it_is_stopped(tmp_path: Path) -> None:
    """The lessons are a live table within 80 columns, and what is published is green.

    At the end everything keeps running until Ctrl-C, which leaves nothing.
    """
    ours, theirs = pty.openpty()
    demo = started(
        *TO_THE_END,
        out=theirs,
        TMPDIR=str(tmp_path),
        TERM="xterm-256color",
        COLUMNS="80",
        LINES="30",
    )
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + 180
    while b"psql" not in drawn and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.5)[0]:
            drawn += os.read(ours, 65536)
    processes = children(demo.pid)
    assert len(processes) >= 3
    demo.send_signal(signal.SIGINT)
    with suppress(OSError):  # the other end is closed
        while rest := os.read(ours, 65536):
            drawn += rest
    assert demo.wait(120) == 0
    assert_gone(processes)
    assert list(tmp_path.iterdir()) == []
    os.close(ours)
    assert re.search(rb"\x1b\[1;32m *\d+\.\d s  lesson\.published \xe2\x80\x9cWelcome", drawn)
    live, _, after = plain(drawn).partition("All 12 lessons ended as planned.")
    assert "mux-worker demo" in live
    assert re.search(r"Welcome +Anna +published +ready", live)
    assert "Everything keeps running until Ctrl-C." in after
    assert "Traceback" not in live + after
    _, _, table = live.partition("mux-worker demo")
    assert max(len(line.rstrip()) for line in table.replace("\r", "\n").splitlines()) <= 80


def addresses(lines: Iterable[str]) -> dict[str, str]:
    """Read until the token; return the URLs of the two pages and the token."""
    found = {}
    for line in lines:
        assert len(line) <= 81
        if match := re.fullmatch(r"  (Instructor|Worker|OPS_TOKEN)\S* .*?(\S+)\n", line):
            found[match[1]] = match[2]
        if "OPS_TOKEN" in found:
            break
    return found


def assert_dashboard_needs_token(printed: dict[str, str]) -> None:
    """Assert that the worker's page and its metrics are for who has the printed token."""
    assert httpx.get(printed["Worker"]).status_code == 401
    dashboard = httpx.get(printed["Worker"], auth=("anna", printed["OPS_TOKEN"]))
    assert (dashboard.status_code, "<title>" in dashboard.text) == (200, True)
    metrics = f"{printed['Worker']}metrics"
    assert httpx.get(metrics).status_code == 401
    token = {"Authorization": f"Bearer {printed['OPS_TOKEN']}"}
    assert httpx.get(metrics, headers=token).status_code == 200


class Bert:
    """An instructor who sends the requests of the page to its server and to Supabase."""

    def __init__(self, page_url: str, supabase_url: str) -> None:
        self._page = httpx.Client(base_url=page_url, headers={"Origin": page_url.rstrip("/")})
        session = self._page.post("session", json={"instructor": "Bert"}).json()
        self._token = {"Authorization": f"Bearer {session['token']}"}
        self._user = session["user"]["id"]
        apikey = self._page.get("config").json()["publishableKey"]
        self._rest = httpx.Client(
            base_url=f"{supabase_url}/rest/v1",
            headers={"apikey": apikey, "Prefer": "return=representation", **self._token},
        )

    def upload(self) -> str:
        """Create a lesson and upload its video; return the lesson's id."""
        lesson = {"title": "After the demo", "creator_id": self._user}
        (made,) = self._rest.post("/lessons", json=lesson).raise_for_status().json()
        body = {"lessonId": made["id"], "scenario": "plays"}
        upload = self._page.post("uploads", json=body, headers=self._token).json()
        track = {"lesson_id": made["id"], "upload_id": upload["id"]}
        self._rest.post("/rpc/track_upload", json=track).raise_for_status()
        httpx.put(upload["url"], content=b"a video").raise_for_status()
        return str(made["id"])

    def sources(self, lesson_id: str) -> list[str]:
        """Return the sources of the observations that published the lesson."""
        params = {"lesson_id": f"eq.{lesson_id}", "event": "eq.published"}
        events = self._rest.get("/mux_asset_events", params=params).json()
        return [event["observation"]["source"] for event in events]

    def close(self) -> None:
        """Close the connections."""
        self._page.close()
        self._rest.close()


def test_kept_everything_stays_up(tmp_path: Path) -> None:
    """With --keep everything keeps running, and the printed command works with the settings.

    They are in a file that only the user can read.
    """
    demo = started("--keep", *TO_THE_END, TMPDIR=str(tmp_path))
    assert demo.stdout is not None
    printed = addresses(demo.stdout)
    output = []
    for line in demo.stdout:
        output.append(line)
        if line.startswith("  Database"):
            break
    text = "".join(output)
    file, command = (
        re.findall(rf"^  {name} +(.*)$", text, re.MULTILINE)[-1]
        for name in ("Worker's settings", "Use them")
    )
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    settings = dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
    assert settings["OPS_TOKEN"] == printed["OPS_TOKEN"]
    assert printed["Worker"] == f"http://{settings['HOST']}:{settings['PORT']}/"
    assert len(settings["MUX_WEBHOOK_SECRET"]) == 32
    status = subprocess.run(
        ["bash", "-c", command],
        env=ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (status.returncode, status.stderr) == (0, "")
    assert re.search(r"^ *2 +failed$", status.stdout, re.MULTILINE)
    with closing(Bert(printed["Instructor"], settings["SUPABASE_URL"])) as bert:
        lesson = bert.upload()
        for line in demo.stdout:
            if "lesson.published “After the demo” " in line:
                break
        assert bert.sources(lesson) == ["webhook"]
    processes = children(demo.pid)
    demo.send_signal(signal.SIGTERM)
    rest, _ = demo.communicate(timeout=120)
    assert demo.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    assert_gone(processes)
    assert list(tmp_path.iterdir()) == []


def test_kept_it_reports_the_end_of_its_worker(capfd: pytest.CaptureFixture[str]) -> None:
    """If the worker ends by itself, the demo ends with its exit status and its log."""
    screen = PlainLines(Console(soft_wrap=True), title_of=str)
    with (
        DemoWorker({}, screen) as worker,
        pytest.raises(LocalStackError, match=r"ended with exit status 2\. See its log above\."),
    ):
        worker.wait()
    assert "SUPABASE_URL" in capfd.readouterr().out
