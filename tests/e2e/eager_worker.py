"""Run the worker with an adoption every few scans, and with its first pruning of the audit at once.

So a test waits neither for a minute nor for an hour.
"""

from worker.__main__ import main
from worker.daemon import adoption, retention

if __name__ == "__main__":
    adoption.EVERY = 4
    retention.FIRST_AFTER_SECONDS = (0, 0)
    main()
