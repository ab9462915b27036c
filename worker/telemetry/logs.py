"""Configure structured logging: one JSON object a line, or coloured text on a console."""

import json
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import Processor

MAX_TEXT = 2000
MAX_TRACEBACK = 6000
"""Characters of a field, at most."""

MAX_LINE_BYTES = 7999
"""Limit of a line as JSON, where a character may take six bytes: `\\u0000`. Heroku splits lines
over 10,000 bytes."""

MIN_HALF_CHARACTERS = 50
"""A field shorter than twice this is not halved: that would hardly shorten the line."""

LIBRARY_LINE_SECONDS = 60.0
"""How often asyncio may log the same line: without file descriptors left, it logs thousands of them
a second."""

HOUR_SECONDS = 3600.0
"""How often a lasting problem is logged."""

Event = MutableMapping[str, Any]


def configure(
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every log line, ours and the libraries', to `stream` (standard output by default).

    `secrets` are replaced in every field, as a last line of defence.
    """
    out = stream or sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # stdout is closed
    is_console = form == "console" or (form == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
        _Redactor(secrets),
        _order_fields,
    ]
    handler = _LineHandler(out)
    handler.setFormatter(_formatter(shared, is_console=is_console, has_colors=out.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # of libraries, only warnings and errors
    logging.getLogger("worker").setLevel(level.upper())
    logging.getLogger("asyncio").filters = [_LibraryThrottle()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _formatter(
    shared: Sequence[Processor], *, is_console: bool, has_colors: bool
) -> ProcessorFormatter:
    """Return the formatter of all lines; those of libraries have not been processed yet."""
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=has_colors)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    return ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[ProcessorFormatter.remove_processors_meta, _limit_line, renderer],
    )


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return the worker's logger, which takes an event and its fields."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("worker")
    return logger


def flush() -> None:
    """Write out what is buffered. Never raises: the process is about to end."""
    for handler in logging.getLogger().handlers:
        try:
            handler.flush()
        except (OSError, ValueError):
            continue


class _LineHandler(logging.StreamHandler[TextIO]):
    """Write whole lines, past Python's buffers; drop a line that cannot be written.

    Over a full pipe that does not block, Python's buffers lose part of a line and join the rest
    with the next one.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        try:
            self._descriptor: int | None = stream.fileno()
        except OSError:  # a stream in memory has no descriptor
            self._descriptor = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; wait while the pipe is full."""
        if self._descriptor is None:
            super().emit(record)
            return
        try:
            rest = f"{self.format(record)}\n".encode(self.stream.encoding, "replace")
            while rest:
                rest = rest[self._write(self._descriptor, rest) :]
        except Exception:  # noqa: BLE001  # as logging itself: a log line never ends the program
            self.handleError(record)

    def _write(self, descriptor: int, data: bytes) -> int:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            select.select([], [descriptor], [])
            return 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _LibraryThrottle(logging.Filter):
    """Pass a library's line once a minute; lines with the same first line count as one."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = LogThrottle(LIBRARY_LINE_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may be written."""
        return self._throttle.allow(record.getMessage().partition("\n")[0])


def _limit_line(_logger: Any, _method: str, event: Event) -> Event:
    """Halve the longest field until the line is within its limit; a traceback keeps its end."""
    while len(json.dumps(event)) > MAX_LINE_BYTES:
        name = max(event, key=lambda field: len(json.dumps(event[field])))
        text = str(event[name])
        half = len(text) // 2
        if half < MIN_HALF_CHARACTERS:
            break
        event[name] = f"…{text[-half:]}" if name == "exception" else f"{text[:half]}…"
    return event


def _order_fields(_logger: Any, _method: str, event: Event) -> Event:
    """Put timestamp, level and event first, for people who read the raw lines."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**head, **event}


class _Redactor:
    """Replace secrets in a line, and cut each text to its limit."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((s for s in secrets if s), key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        return {name: self._field(name, value) for name, value in event.items()}

    def _field(self, name: str, value: Any) -> Any:
        if name.startswith("_"):  # structlog's own, and removed before rendering
            return value
        if name == "exception":  # the end of a traceback says what went wrong
            text = self._redact(str(value))
            return text if len(text) <= MAX_TRACEBACK else f"…{text[-MAX_TRACEBACK:]}"
        return self._limit_value(value)

    def _limit_value(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {self._limit_text(str(k)): self._limit_value(v) for k, v in value.items()}
            case list() | tuple():
                return [self._limit_value(item) for item in value]
            case _:
                return self._limit_text(str(value))

    def _limit_text(self, text: str) -> str:
        text = self._redact(text)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if not text.isascii():
            text = text.encode(errors="replace").decode()  # a lone surrogate cannot be encoded
        return text


class LogThrottle:
    """Allow an event once within a time, by its key."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._allowed_at: dict[object, float] = {}

    def allow(self, key: object) -> bool:
        """Return whether `key` was not allowed within the time given, and record it if so."""
        now = self._clock()
        while self._allowed_at and now - next(iter(self._allowed_at.values())) >= self._seconds:
            del self._allowed_at[next(iter(self._allowed_at))]  # the oldest comes first
        if key in self._allowed_at:
            return False
        self._allowed_at[key] = now
        return True
