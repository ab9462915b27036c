"""The demo: the real worker in the sandbox."""
