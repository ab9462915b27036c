"""Run the worker with an adoption every few scans, so that a test does not wait for a minute's."""

from worker.__main__ import main
from worker.daemon import adoption

if __name__ == "__main__":
    adoption.EVERY = 4
    main()
