"""Structured logs: one JSON object a line, or a console's colours, for us and for libraries."""

import json
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

LONGEST_TEXT = 2000
LONGEST_TRACEBACK = 6000
"""Characters of a field."""

LONGEST_LINE_BYTES = 7999
"""Of a line as JSON writes it, `\\u0000` for one character: beyond 10,000 Heroku splits it."""

SHORTEST_HALF = 50
"""Below which cutting a field in half does not shorten its line: no line has so many fields."""

SAME_COMPLAINT_SECONDS = 60.0
"""How often asyncio may log the same: out of descriptors, it would thousands of times a second."""

Event = MutableMapping[str, Any]


def configure(
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every log line, ours and the libraries', to `stream` (standard output by default).

    `secrets` are replaced wherever they turn up: the last line of defence, not the first.
    """
    out = stream or sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # stdout is closed
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
        _Redact(secrets),
        _head_first,
    ]
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    handler = _Lines(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _bounded,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up only when something is wrong
    logging.getLogger("worker").setLevel(level.upper())
    logging.getLogger("asyncio").filters = [_Seldom()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_logger() -> structlog.stdlib.BoundLogger:
    """Give the worker's logger, which speaks in events with fields."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("worker")
    return logger


def flush() -> None:
    """Write out what is buffered; never raises, since it is called when all else is over."""
    for handler in logging.getLogger().handlers:
        try:
            handler.flush()
        except (OSError, ValueError):
            continue


class _Lines(logging.StreamHandler[TextIO]):
    """Write whole lines; one that cannot be written is lost in silence: there is no better place.

    Past Python's buffers: when a pipe that does not block is full, they lose part of a line, and
    the next one is glued to the rest.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        try:
            self._descriptor: int | None = stream.fileno()
        except OSError:  # a stream in memory has none
            self._descriptor = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, waiting for a full pipe as if it blocked."""
        if self._descriptor is None:
            super().emit(record)
            return
        try:
            left = f"{self.format(record)}\n".encode(self.stream.encoding, "replace")
            while left:
                left = left[self._written(self._descriptor, left) :]
        except Exception:  # noqa: BLE001  # logging's own rule: no log line ends the program
            self.handleError(record)

    def _written(self, descriptor: int, data: bytes) -> int:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            select.select([], [descriptor], [])
            return 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Seldom(logging.Filter):
    """Pass a library's line once a minute; lines that begin alike are the same."""

    def __init__(self) -> None:
        super().__init__()
        self._said = Sparingly(SAME_COMPLAINT_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may be written."""
        return self._said.may_say(record.getMessage().partition("\n")[0])


def _bounded(_logger: Any, _method: str, event: Event) -> Event:
    """Halve the longest field until the line is short enough; a traceback keeps its end."""
    while len(json.dumps(event)) > LONGEST_LINE_BYTES:
        name = max(event, key=lambda field: len(json.dumps(event[field])))
        text = str(event[name])
        half = len(text) // 2
        if half < SHORTEST_HALF:
            break
        event[name] = f"…{text[-half:]}" if name == "exception" else f"{text[:half]}…"
    return event


def _head_first(_logger: Any, _method: str, event: Event) -> Event:
    """Put when, how grave and what before the fields, for those who read the lines raw."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**head, **event}


class _Redact:
    """Keep secrets out of a line, and each text within bounds."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((s for s in secrets if s), key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        return {name: self._field(name, value) for name, value in event.items()}

    def _field(self, name: str, value: Any) -> Any:
        if name.startswith("_"):  # structlog's own, and removed before rendering
            return value
        if name == "exception":  # a traceback tells at its end what went wrong
            text = self._redacted(str(value))
            return text if len(text) <= LONGEST_TRACEBACK else f"…{text[-LONGEST_TRACEBACK:]}"
        return self._cleaned(value)

    def _cleaned(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {self._clean(str(k)): self._cleaned(v) for k, v in value.items()}
            case list() | tuple():
                return [self._cleaned(item) for item in value]
            case _:
                return self._clean(str(value))

    def _clean(self, text: str) -> str:
        text = self._redacted(text)
        return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if not text.isascii():
            text = text.encode(errors="replace").decode()  # a lone surrogate would lose the line
        return text


class Sparingly:
    """Remember what was said, so that the same thing is not said again for a while."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._said: dict[object, float] = {}

    def may_say(self, what: object) -> bool:
        """Tell whether `what` was not said for the time given, and note that it is said now."""
        now = self._clock()
        while self._said and now - next(iter(self._said.values())) >= self._seconds:
            del self._said[next(iter(self._said))]  # the first was said first
        if what in self._said:
            return False
        self._said[what] = now
        return True
