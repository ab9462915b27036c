"""Structured logs: one JSON object a line, or a console's colours, for us and for libraries."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

LONGEST_TEXT = 2000
LONGEST_TRACEBACK = 6000
"""Characters of a field; a line beyond 10,000 bytes is split by Heroku."""

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
    out = stream or sys.stdout
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up only when something is wrong
    logging.getLogger("worker").setLevel(level.upper())
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
    """Write lines; one that cannot be written is lost in silence: there is no better place."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


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
