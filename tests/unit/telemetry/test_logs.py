import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.log_lines import logged
from worker.telemetry import logs


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Configure JSON logs into a buffer, with two secrets; restore the configuration afterwards."""
    root = logging.getLogger()
    before = root.handlers, root.level
    stream = io.StringIO()
    logs.configure(form="json", level="debug", secrets=["s3cret", "s3cret-longer"], stream=stream)
    yield stream
    root.handlers, level = before
    root.setLevel(level)


def test_a_line_is_one_object_that_begins_with_timestamp_level_and_event(out: io.StringIO) -> None:
    """They come before the other fields; the time is UTC."""
    logs.get_logger().info("lesson.published", lesson_id="l1", waited_seconds=1.5)
    line = json.loads(out.getvalue())
    assert list(line) == ["timestamp", "level", "event", "lesson_id", "waited_seconds"]
    assert line["timestamp"].endswith("Z")
    assert logged(out) == [
        {"level": "info", "event": "lesson.published", "lesson_id": "l1", "waited_seconds": 1.5}
    ]


def test_libraries_log_json_too_and_only_warnings_and_errors(out: io.StringIO) -> None:
    """A warning of a library is a line like ours; lower levels are dropped."""
    logging.getLogger("httpx").info("HTTP Request: GET https://example.org")
    logging.getLogger("httpx").warning("odd: %s", "thing")
    assert logged(out) == [{"level": "warning", "event": "odd: thing", "logger": "httpx"}]


def test_no_secret_gets_into_a_line(out: io.StringIO) -> None:
    """Not in the text, a field, a nested field, a library's line or a traceback."""
    log = logs.get_logger()
    log.info(
        "said s3cret", key="x s3cret-longer y", nested={"a": ["s3cret"]}, error=OSError("s3cret")
    )
    logging.getLogger("urllib3").error("with s3cret")
    try:
        raise ValueError("holds s3cret")
    except ValueError:
        log.exception("worker.crashed")
    assert "s3cret" not in out.getvalue()
    assert logged(out)[0]["key"] == "x *** y"


def test_a_traceback_is_a_field_of_its_line(out: io.StringIO) -> None:
    """A crash is one line as well."""
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get_logger().exception("worker.crashed")
    (line,) = logged(out)
    assert (line["level"], line["event"]) == ("error", "worker.crashed")
    assert "ValueError: broken" in line["exception"]


def test_of_a_long_traceback_the_end_is_kept(out: io.StringIO) -> None:
    """The end says what went wrong; a platform would split the whole."""
    try:
        raise ValueError("y" * 2 * logs.MAX_TRACEBACK + "the reason")
    except ValueError:
        logs.get_logger().exception("worker.crashed")
    text = logged(out)[0]["exception"]
    assert len(text) == logs.MAX_TRACEBACK + 1
    assert text.endswith("the reason")


def test_a_long_text_is_cut(out: io.StringIO) -> None:
    """No field is so long that a platform would split the line."""
    logs.get_logger().info("x", message="y" * 50_000)
    assert len(logged(out)[0]["message"]) == logs.MAX_TEXT + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"message": "\x01" * 2000},
        {"message": "日" * 2000, "reason": "\x7f\u2028" * 900},
        {"nested": {"a": ["\x02" * 1500, "\x03" * 1500]}},
        {f"field_{n}": "y" * 1900 for n in range(8)},
    ],
)
def test_a_line_is_under_8000_bytes_as_it_is_written(
    out: io.StringIO, fields: dict[str, Any]
) -> None:
    """However many bytes JSON needs for a character, and however many fields are long."""
    logs.get_logger().warning("lesson.failed", lesson_id="l1", **fields)
    (written,) = out.getvalue().splitlines()
    line = json.loads(written)
    assert 3000 < len(written.encode()) < 8000
    assert (line["event"], line["lesson_id"]) == ("lesson.failed", "l1")
    assert line.keys() >= fields.keys()


def test_a_repeated_line_of_asyncio_is_written_once_a_minute(out: io.StringIO) -> None:
    """Without file descriptors left it logs thousands a second, each about another socket."""
    for number in range(1000):
        logging.getLogger("asyncio").error("socket.accept() out of resource\nsocket: %d", number)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert [line["event"].splitlines()[0] for line in logged(out)] == [
        "socket.accept() out of resource",
        "Task exception was never retrieved",
    ]


def test_a_slow_pipe_gets_whole_lines(out: io.StringIO) -> None:
    """One that does not block takes parts of a line; the rest follows before the next line."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    read: list[bytes] = []

    def drain() -> None:
        while piece := os.read(reading, 4096):
            read.append(piece)

    slow = threading.Thread(target=drain)
    with os.fdopen(writing, "w") as stream:
        logs.configure(form="json", stream=stream)
        beginning = threading.Timer(0.2, slow.start)
        beginning.start()
        for number in range(50):
            logs.get_logger().info("scan.finished", number=number, message="y" * 1999)
        beginning.join()
    slow.join()
    os.close(reading)
    lines = [json.loads(line) for line in b"".join(read).splitlines()]
    assert [line["number"] for line in lines] == list(range(50))


def test_the_level_is_the_settings(out: io.StringIO) -> None:
    """Lines below it are not written."""
    logs.configure(form="json", level="warning", stream=out)
    logs.get_logger().info("scan.finished")
    assert out.getvalue() == ""


def test_a_console_line_is_no_json(out: io.StringIO) -> None:
    """Without a terminal it has no colours either."""
    logs.configure(form="console", stream=out)
    logs.get_logger().info("lesson.published", lesson_id="l1")
    assert "lesson.published" in out.getvalue()
    assert "lesson_id=l1" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_key_is_allowed_again_only_after_its_time() -> None:
    """An event is allowed once per key and period, by the clock given."""
    now = 0.0
    throttle = logs.LogThrottle(60, clock=lambda: now)
    assert [throttle.allow("a"), throttle.allow("a"), throttle.allow("b")] == [
        True,
        False,
        True,
    ]
    now = 59.0
    assert throttle.allow("c")
    now = 60.0
    assert [throttle.allow(what) for what in "aabc"] == [True, False, True, False]
    now = 120.0
    assert [throttle.allow(what) for what in "cab"] == [True, True, True]
