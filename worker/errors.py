"""The few exceptions, each with what it ends. What is no fault is a return value instead."""


class WorkerError(Exception):
    """End the command with the message as its explanation; the message says what to do."""


class SettingsError(WorkerError):
    """End the process before it begins: settings are missing or wrong."""


class Unavailable(WorkerError):
    """End the pass, touching no row: a service does not answer, or not as it should.

    `reason` is one word for log and metric. It passes by itself; the worker asks again, less and
    less often.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def needs_operator(self) -> bool:
        """Whether it goes on until somebody does something."""
        return False


class MuxUnavailable(Unavailable):
    """Mux is down, limits us, or answers what is no answer.

    `retry_after_seconds` is Mux's own wish, if it had one.
    """

    def __init__(self, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_rate_limit(self) -> bool:
        """Whether Mux limits us (429), which is never the fault of one id."""
        return self.reason == "rate_limited"


class MuxUnauthorized(Unavailable):
    """Mux does not take the credentials (401, 403): somebody has to look at the token."""

    @property
    def needs_operator(self) -> bool:
        """Yes: a token does not mend itself."""
        return True


class SupabaseUnavailable(Unavailable):
    """Supabase does not answer, or not as it should."""


class SupabaseBusy(SupabaseUnavailable):
    """The database undid the call, or PostgREST's clock is behind: the same call passes soon."""


class SupabaseNeedsOperator(SupabaseUnavailable):
    """Supabase does not serve the worker until an operator acts; the message says how."""

    @property
    def needs_operator(self) -> bool:
        """Yes: it does not pass by itself."""
        return True


class SchemaOutdated(SupabaseNeedsOperator):
    """The database lacks files of sql/ that this worker needs."""


class StatementTimeout(SupabaseUnavailable):
    """The database cut a call off (57014): the same work in smaller pieces may pass."""


def explain(error: Exception) -> str:
    """Say what went wrong in one sentence, and what to do."""
    said = str(error).rstrip().removesuffix(".") + "."
    match error:
        case MuxUnauthorized():
            return "Mux refuses the access token: set a good MUX_TOKEN_ID and MUX_TOKEN_SECRET."
        case SchemaOutdated():
            return said
        case SupabaseUnavailable() if not error.needs_operator:
            return f"{said} Check SUPABASE_URL and status.supabase.com, then try again."
        case Unavailable() if not error.needs_operator:
            return f"{said} See status.mux.com, then try again."
        case WorkerError():
            return said
        case _:
            return f"{type(error).__name__}: {said} LOG_LEVEL=debug tells where."
