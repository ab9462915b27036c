"""The adapter: the SQL files that know the app's table of lessons, rendered for its columns."""
