"""One scan: claim rows, observe them, decide, settle."""
