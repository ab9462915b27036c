"""The adapter: the one SQL file that knows the app's table of lessons, rendered for its columns."""
