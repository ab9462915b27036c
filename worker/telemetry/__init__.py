"""What the process reports about itself: logs, metrics, scan history, liveness."""
