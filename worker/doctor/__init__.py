"""The doctor: checks whether everything is in place."""
