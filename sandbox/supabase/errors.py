"""The exception of the local Supabase."""


class LocalStackError(RuntimeError):
    """The local stack could not be started, or one of its servers ended.

    The message says what is missing and what to do, or what the server logged last.
    """
