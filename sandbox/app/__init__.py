"""The sample app: the instructor's page and its server."""
