"""Adopt and publish lessons that are older than the worker, in bulk or by hand."""
