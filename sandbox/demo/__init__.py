"""The demo: the worker at work in the sandbox."""
