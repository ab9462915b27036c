"""The HTTP server, where PORT is set: health, metrics, webhooks, dashboard."""
