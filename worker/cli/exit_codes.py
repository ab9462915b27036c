"""The exit codes of all commands."""

DONE = 0
FAILED = 1
WRONG_USE = 2
"""Wrong arguments or wrong settings."""
