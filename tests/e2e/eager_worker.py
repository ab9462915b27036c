"""Run the worker with an adoption every few scans, and check the schema as often.

The first pruning of the audit is at once. So a test waits neither for a minute nor for an hour.
"""

from worker.__main__ import main
from worker.daemon import adoption, loop, retention

if __name__ == "__main__":
    adoption.EVERY = 4
    loop.SCHEMA_CHECK_SECONDS = 0.2
    retention.FIRST_AFTER_SECONDS = (0, 0)
    main()
