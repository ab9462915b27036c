"""Report what the process does: the log, metrics, scan history and liveness."""
