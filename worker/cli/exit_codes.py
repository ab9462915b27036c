"""The exit codes of all commands."""

DONE = 0
FAILED = 1
WRONG_USE = 2
"""Wrong arguments or wrong settings."""

WRONG_SCHEMA = 3
"""The database lacks files of sql/ that this version needs."""
