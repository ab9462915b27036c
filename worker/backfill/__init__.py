"""Adopt and publish what is older than the worker: in bulk, or one lesson by hand."""
