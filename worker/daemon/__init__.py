"""The daemon: repeats scans, through outages, and prunes and adopts in between."""
