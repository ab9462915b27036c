"""Measurements of the running worker, each with what it is compared to."""
