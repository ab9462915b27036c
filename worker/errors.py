"""Define the exceptions of the worker, and explain them to a person."""

import os
import re


class WorkerError(Exception):
    """End the command, with the message as its explanation; the message says what to do."""


class SettingsError(WorkerError):
    """End the process before it starts: settings are missing or wrong."""


class UsageError(WorkerError):
    """End the command before it starts: its options are wrong, or do not go together."""


class Unavailable(WorkerError):
    """End the scan, touching no row: a service does not answer, or not properly.

    `reason` is one word for log and metric. The worker retries, with a growing backoff, and not
    before `retry_after_seconds`, if the response has a Retry-After header.
    """

    needs_operator = False
    """Whether it lasts until an operator acts."""

    retry_after_seconds: float | None = None

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class MuxUnavailable(Unavailable):
    """Mux is down, limits the rate, or sends an unreadable response."""

    def __init__(self, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_rate_limit(self) -> bool:
        """Whether Mux limits the rate (429), which is never the fault of one id."""
        return self.reason == "rate_limited"


class MuxUnauthorized(Unavailable):
    """Mux refuses the credentials (401, 403) until an operator replaces the token."""

    needs_operator = True


class SupabaseUnavailable(Unavailable):
    """Supabase does not answer, or not properly."""


class SupabaseBusy(SupabaseUnavailable):
    """The database rolled the call back, or PostgREST's clock is behind: a retry succeeds soon."""


class SupabaseNeedsOperator(SupabaseUnavailable):
    """Supabase does not serve the worker until an operator acts; the message says how."""

    needs_operator = True


class SchemaOutdated(SupabaseNeedsOperator):
    """The database lacks files of sql/ that this worker needs."""


class SchemaRefused(SchemaOutdated):
    """This worker must not use the database until an operator applies files: `run` stops."""


class StatementTimeout(SupabaseUnavailable):
    """The call exceeded the statement timeout (57014): a smaller batch may succeed."""


def explain(error: Exception) -> str:
    """Return what went wrong and what to do, for a person."""
    message = str(error).rstrip().removesuffix(".") + "."
    match error:
        case MuxUnauthorized():
            return "Mux refuses the access token. Set a valid MUX_TOKEN_ID and MUX_TOKEN_SECRET."
        case SchemaOutdated():
            return message
        case SupabaseUnavailable() if not error.needs_operator:
            return f"{message} Check SUPABASE_URL and status.supabase.com, then try again."
        case Unavailable() if not error.needs_operator:
            return f"{message} See status.mux.com, then try again."
        case WorkerError():
            return message
        case _:
            return f"An unexpected error: {message} Set LOG_LEVEL=debug to see the traceback."


def error_text(error: BaseException) -> str:
    """Return why a connection failed, in the words of the system or the library."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error)
    if refused := re.search(r"\[Errno (\d+)\] Connect call failed", text):  # asyncio's own words
        return os.strerror(int(refused[1]))
    return re.sub(r"^\[Errno -?\d+\] ", "", text) or "the connection was closed"
