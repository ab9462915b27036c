"""Measurements of the running worker, each beside what it is compared to."""
