"""What can go wrong with the local servers."""


class LocalStackError(RuntimeError):
    """The local stack could not be started, or one of its servers gave up.

    The message says what is missing or what the server wrote last, and what to do about it.
    """
