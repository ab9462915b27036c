"""The sample app: an instructor's page and its server."""
